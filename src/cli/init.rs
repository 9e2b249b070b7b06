//! `flash init`: writes a project to start from.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use clap::CommandFactory;

use super::{Cli, ExitStatus, Printer};
use crate::requirements::shell_quote;

/// Arguments of `flash init`.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// Folder to create; `.` is the current one.
    name: Option<PathBuf>,
    /// Overwrite files that are there.
    #[arg(long, short)]
    force: bool,
}

/// A file of the template: where it goes, and its text with `{{name}}` in it.
struct Template {
    path: &'static str,
    text: &'static str,
    /// Belongs to the user from the start: left alone where it exists, even with `--force`.
    is_kept: bool,
}

macro_rules! template {
    ($path:literal, $source:literal) => {
        template!($path, $source, false)
    };
    ($path:literal, $source:literal, $is_kept:literal) => {
        Template { path: $path, text: include_str!(concat!("templates/", $source)), is_kept: $is_kept }
    };
}

const TEMPLATES: [Template; 8] = [
    template!("gpu_worker.py", "gpu_worker.py"),
    template!("lb_worker.py", "lb_worker.py"),
    template!("tests/test_workers.py", "test_workers.py"),
    template!("pyproject.toml", "pyproject.toml"),
    template!("README.md", "README.md"),
    template!(".env.example", "env.example"),
    template!(".gitignore", "gitignore.txt"),
    template!("AGENTS.md", "AGENTS.md", true),
];

/// Why a project was not written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(
        "`{name}` cannot be a project's name: letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
    )]
    Name { name: String, suggestion: Option<String> },
    #[error("these files are there already: {}", files.join(", "))]
    Conflict { files: Vec<String> },
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
}

impl InitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Name { suggestion, .. } => {
                suggestion.as_ref().map(|name| format!("did you mean `flash init {name}`?"))
            }
            Self::Conflict { .. } => Some("nothing was written; `--force` overwrites them".to_owned()),
            Self::Write { .. } => None,
        }
    }
}

/// Runs `flash init`.
pub(super) fn init(arguments: &InitArgs, printer: Printer) -> ExitStatus {
    let Some(target) = &arguments.name else {
        printer.data(help().trim_end());
        return ExitStatus::Success;
    };
    match create(target, arguments.force) {
        Ok(created) => {
            printer.message(&created.describe(target));
            ExitStatus::Success
        }
        Err(error) => {
            printer.error(&error.to_string());
            if let Some(hint) = error.hint() {
                printer.hint(&hint);
            }
            ExitStatus::Failure
        }
    }
}

/// What was written.
#[derive(Debug)]
struct Created {
    name: String,
    /// Paths relative to the project, in the template's order.
    written: Vec<&'static str>,
    kept: Vec<&'static str>,
}

impl Created {
    /// What was made, and commands that work as they stand, without a network.
    fn describe(&self, target: &Path) -> String {
        let mut text = format!("created project `{}`\n\n", self.name);
        for path in &self.written {
            text.push_str("  ");
            text.push_str(path);
            text.push('\n');
        }
        for path in &self.kept {
            text.push_str("  ");
            text.push_str(path);
            text.push_str(" (was there, left as it is)\n");
        }
        text.push_str("\nnext:\n\n");
        if !is_here(target) {
            let folder = target.to_string_lossy();
            // A name such as `-x` would be taken for an option.
            let folder = if folder.starts_with('-') { format!("./{folder}") } else { folder.into_owned() };
            text.push_str(&format_command(&format!("cd {}", shell_quote(&folder))));
        }
        text.push_str(&format_command("flash run"));
        text.push_str("\nand from another terminal, or at http://localhost:8888/docs:\n\n");
        text.push_str(&format_command(
            "curl -X POST localhost:8888/gpu_worker/runsync -d '{\"input\": {\"message\": \"hello\"}}'",
        ));
        text.truncate(text.trim_end().len());
        text
    }
}

fn format_command(command: &str) -> String {
    format!("  {command}\n")
}

fn help() -> String {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut("init") {
        Some(init) => init.render_help().to_string(),
        None => command.render_help().to_string(),
    }
}

fn create(target: &Path, is_forced: bool) -> Result<Created, InitError> {
    let name = project_name(target)?;
    let (kept, wanted): (Vec<&Template>, Vec<&Template>) =
        TEMPLATES.iter().partition(|template| template.is_kept && is_taken(&target.join(template.path)));
    if !is_forced {
        let files: Vec<String> = wanted
            .iter()
            .filter(|template| is_taken(&target.join(template.path)))
            .map(|template| template.path.to_owned())
            .collect();
        if !files.is_empty() {
            return Err(InitError::Conflict { files });
        }
    }
    for template in &wanted {
        let path = target.join(template.path);
        let text = template.text.replace("{{name}}", &name);
        write(&path, &text, is_forced).map_err(|source| InitError::Write { path, source })?;
    }
    let paths = |templates: &[&Template]| templates.iter().map(|template| template.path).collect();
    Ok(Created { name, written: paths(&wanted), kept: paths(&kept) })
}

/// A broken link counts: writing through it would make a file somewhere else.
fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn write(path: &Path, text: &str, is_forced: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if is_forced && path.is_symlink() {
        // The link is replaced, not what it points to.
        std::fs::remove_file(path)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if is_forced {
        options.create(true).truncate(true);
    } else {
        // Whoever made it since we looked keeps it.
        options.create_new(true);
    }
    options.open(path)?.write_all(text.as_bytes())
}

fn is_here(target: &Path) -> bool {
    target.components().all(|component| component == Component::CurDir)
}

/// The project's name: the last part of the path. A folder that exists already may be called
/// anything, so its name is made to fit; a new one is refused.
fn project_name(target: &Path) -> Result<String, InitError> {
    let absolute = target
        .canonicalize()
        .or_else(|_| std::path::absolute(target))
        .map_err(|source| InitError::Write { path: target.to_owned(), source })?;
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if is_name(&name) {
        return Ok(name);
    }
    let fitting = fit_name(&name);
    if is_here(target) || target.is_dir() {
        return Ok(fitting.unwrap_or_else(|| "app".to_owned()));
    }
    Err(InitError::Name { name, suggestion: fitting })
}

/// Whether `pyproject.toml` takes it as a project's name.
fn is_name(name: &str) -> bool {
    let is_end =
        |character: Option<char>| character.is_some_and(|character| character.is_ascii_alphanumeric());
    is_end(name.chars().next())
        && is_end(name.chars().next_back())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character))
}

/// The nearest name that is one, if anything of it can be kept.
fn fit_name(name: &str) -> Option<String> {
    let parts: Vec<&str> = name
        .split(|character: char| !(character.is_ascii_alphanumeric() || "_.".contains(character)))
        .map(|part| part.trim_matches(['_', '.']))
        .filter(|part| !part.is_empty())
        .collect();
    (!parts.is_empty()).then(|| parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_written_and_not_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("my-app");
        let created = create(&target, false).expect("creates");
        assert_eq!(created.written.len(), TEMPLATES.len());
        let project = std::fs::read_to_string(target.join("pyproject.toml")).expect("project");
        assert!(project.contains("name = \"my-app\""));

        std::fs::write(target.join("gpu_worker.py"), "mine").expect("writes");
        std::fs::remove_file(target.join("lb_worker.py")).expect("removes");
        let error = create(&target, false).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("gpu_worker.py, tests/test_workers.py"), "{text}");
        assert!(!target.join("lb_worker.py").exists());
        assert_eq!(std::fs::read_to_string(target.join("gpu_worker.py")).expect("reads"), "mine");

        std::fs::write(target.join("AGENTS.md"), "mine").expect("writes");
        let created = create(&target, true).expect("creates");
        assert_eq!(created.kept, ["AGENTS.md"]);
        assert_ne!(std::fs::read_to_string(target.join("gpu_worker.py")).expect("reads"), "mine");
        assert_eq!(std::fs::read_to_string(target.join("AGENTS.md")).expect("reads"), "mine");
    }

    #[test]
    fn name_that_is_none_is_refused_with_a_better_one() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, better) in
            [("we ird$", Some("we-ird")), ("-x-", Some("x")), ("ünicode", Some("nicode")), ("€", None)]
        {
            let error = create(&folder.path().join(name), false).expect_err(name);
            assert!(matches!(&error, InitError::Name { suggestion, .. } if suggestion.as_deref() == better));
            assert!(!folder.path().join(name).exists());
        }
    }

    #[test]
    fn existing_folder_with_an_odd_name_gets_a_fitting_project_name() {
        let folder = tempfile::tempdir().expect("folder");
        let target = folder.path().join("my first app");
        std::fs::create_dir(&target).expect("folder");
        let created = create(&target, false).expect("creates");
        assert_eq!(created.name, "my-first-app");
        assert!(created.describe(&target).contains(" first app'\n  flash run"));
    }

    #[test]
    fn link_in_the_way_is_replaced_and_its_target_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let other = folder.path().join("other");
        std::fs::write(&other, "mine").expect("writes");
        let target = folder.path().join("app");
        std::fs::create_dir(&target).expect("folder");
        std::os::unix::fs::symlink(&other, target.join(".gitignore")).expect("link");
        assert!(create(&target, false).is_err());
        create(&target, true).expect("creates");
        assert_eq!(std::fs::read_to_string(&other).expect("reads"), "mine");
    }
}
