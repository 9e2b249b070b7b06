//! What a project says about itself outside its Python files: name, requirements, variables.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::config::error;
use super::diagnostic::{Diagnostic, Severity, Span};
use super::dotenv;

/// `pyproject.toml` as far as it is read here.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) app: String,
    pub(super) requirements: Vec<String>,
    pub(super) problems: Vec<Diagnostic>,
}

/// Variables as the user's code would see them: the process's, then those of the nearest `.env`.
pub(super) fn environment(root: &Path) -> HashMap<String, String> {
    let mut found = HashMap::new();
    if let Some(file) = dotenv::nearest(root) {
        found.extend(dotenv::read(&file));
    }
    found.extend(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    found
}

/// Reads a project's settings.
pub(super) fn read(root: &Path, environment: &HashMap<String, String>) -> Settings {
    let mut settings = Settings::default();
    if root.join(".flashignore").is_file() {
        let place = Span { file: PathBuf::from(".flashignore"), start: 0, end: 0 };
        let hint = "move its patterns to `.gitignore`".to_owned();
        let mut warning = error("flashignore", "`.flashignore` is not read", place, "", Some(hint));
        warning.severity = Severity::Warning;
        settings.problems.push(warning);
    }
    requirements_txt(root, &mut settings);
    let table = pyproject(root, &mut settings);
    let declared = table
        .as_ref()
        .and_then(|table| table.get("project")?.get("dependencies")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str);
    for requirement in declared {
        add(&mut settings.requirements, requirement);
    }
    let named = table.as_ref().and_then(|table| table.get("tool")?.get("flash")?.get("app")?.as_str());
    settings.app = environment
        .get("FLASH_APP")
        .filter(|name| !name.is_empty())
        .cloned()
        .or_else(|| named.filter(|name| !name.is_empty()).map(str::to_owned))
        .or_else(|| root.file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "app".to_owned());
    settings
}

fn pyproject(root: &Path, settings: &mut Settings) -> Option<toml::Table> {
    let text = fs::read_to_string(root.join("pyproject.toml")).ok()?;
    match text.parse() {
        Ok(table) => Some(table),
        Err(problem) => {
            let problem: toml::de::Error = problem;
            let range = problem.span().unwrap_or(0..0);
            let place = Span { file: PathBuf::from("pyproject.toml"), start: range.start, end: range.end };
            let message = format!("`pyproject.toml` is not TOML: {}", problem.message());
            settings.problems.push(error("pyproject", message, place, "", None));
            None
        }
    }
}

fn requirements_txt(root: &Path, settings: &mut Settings) {
    let file = PathBuf::from("requirements.txt");
    let Ok(text) = fs::read_to_string(root.join(&file)) else { return };
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset + line.len() - line.trim_start().len();
        offset += line.len();
        let written = match line.find(" #") {
            Some(at) => &line[..at],
            None => line,
        }
        .trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        let is_path = written.starts_with('.') || written.starts_with('/');
        if written.starts_with('-') || is_path {
            let place = Span { file: file.clone(), start, end: start + written.len() };
            let mut warning = error(
                "requirements-option",
                format!("`{written}` in `requirements.txt` is not followed"),
                place,
                "",
                Some(if is_path {
                    "project files are found without it; other folders cannot be shipped".to_owned()
                } else {
                    "list the packages themselves; index settings are read from the environment and from pip's and uv's own settings".to_owned()
                }),
            );
            warning.severity = Severity::Warning;
            settings.problems.push(warning);
            continue;
        }
        // Hashes and line continuations belong to pip's lock form.
        let requirement = written.split(" --").next().unwrap_or(written).trim_end_matches('\\').trim();
        add(&mut settings.requirements, requirement);
    }
}

/// Adds a requirement, unless it is there already or is this package itself.
fn add(requirements: &mut Vec<String>, requirement: &str) {
    let name: String = requirement
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.'))
        .collect::<String>()
        .to_lowercase()
        .replace(['_', '.'], "-");
    if name != "runpod-flash"
        && !requirement.is_empty()
        && !requirements.iter().any(|known| known == requirement)
    {
        requirements.push(requirement.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_both_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("requirements.txt"),
            "# c\nnumpy>=1  # why\n-r other.txt\nrunpod_flash\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("pyproject.toml"),
            "[project]\nname = 'x'\ndependencies = ['runpod-flash>=1.21', 'pandas']\n[tool.flash]\napp = 'shop'\n",
        )
        .unwrap();
        let settings = read(folder.path(), &HashMap::new());
        assert_eq!(settings.requirements, ["numpy>=1", "pandas"]);
        assert_eq!(settings.app, "shop");
        assert_eq!(settings.problems.len(), 1);
        let named = HashMap::from([("FLASH_APP".to_owned(), "other".to_owned())]);
        assert_eq!(read(folder.path(), &named).app, "other");
    }
}
