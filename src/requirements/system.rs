//! System packages: looked for, never installed on the user's machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A system package that was not found here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Name as declared in `system_dependencies`.
    pub name: String,
    /// Command that installs it here.
    pub install: String,
}

/// Returns which of an endpoint's `system_dependencies` are not on this machine.
///
/// A package counts as present when the package manager knows it, when it is a program on `PATH`,
/// or when it names a library that the loader finds. Where none of these can tell, it is reported.
pub fn check_system(names: &[String]) -> Vec<Missing> {
    let mut libraries = None;
    names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .filter(|name| !is_present(name, &mut libraries))
        .map(|name| Missing { name: name.to_owned(), install: install_command(name) })
        .collect()
}

fn is_present(name: &str, libraries: &mut Option<String>) -> bool {
    // `package=version` and `package:arch` are Debian's.
    let bare = name.split(['=', ':']).next().unwrap_or(name);
    if find_on_path(bare).is_some() || is_known_to_manager(bare) {
        return true;
    }
    let Some(library) = library_name(bare) else { return false };
    let listing = libraries.get_or_insert_with(|| output_of("ldconfig", &["-p"]).unwrap_or_default());
    listing.lines().any(|line| line.trim_start().starts_with(library.as_str()))
}

/// `libgl1`, `libsndfile1-dev` → `libGL`-like prefix of a shared object, compared as it stands.
fn library_name(package: &str) -> Option<String> {
    let stem = package.strip_prefix("lib")?.trim_end_matches("-dev");
    let stem =
        stem.trim_end_matches(|character: char| character.is_ascii_digit() || "-.".contains(character));
    (!stem.is_empty()).then(|| format!("lib{stem}.so"))
}

fn is_known_to_manager(name: &str) -> bool {
    if name.starts_with('-') {
        return false;
    }
    if let Some(status) = output_of("dpkg-query", &["-W", "-f=${Status}\n", name]) {
        return status.lines().any(|line| line.ends_with(" installed"));
    }
    succeeds("rpm", &["-q", name])
        || succeeds("apk", &["info", "-e", name])
        || succeeds("brew", &["list", name])
}

fn install_command(name: &str) -> String {
    let managers = [
        ("apt-get", "sudo apt-get install"),
        ("dnf", "sudo dnf install"),
        ("apk", "sudo apk add"),
        ("brew", "brew install"),
    ];
    let command = managers
        .iter()
        .find(|(program, _)| find_on_path(program).is_some())
        .map_or("sudo apt-get install", |(_, command)| command);
    format!("{command} {}", super::shell_quote(name))
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    output_of(program, arguments).is_some()
}

/// Standard output of a program that ended well; `None` where it is missing or failed.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let program = find_on_path(program).or_else(|| in_sbin(program))?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `ldconfig` is often not on a user's `PATH`.
fn in_sbin(program: &str) -> Option<PathBuf> {
    ["/sbin", "/usr/sbin"].iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// Finds a program on `PATH`; a name with a slash is not looked for.
pub(super) fn find_on_path(program: &str) -> Option<PathBuf> {
    if program.is_empty() || program.contains('/') {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| is_executable(path))
}

/// Whether a file can be run.
pub(super) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_package_that_is_a_program_is_present() {
        assert_eq!(check_system(&["sh".to_owned(), " ".to_owned()]), vec![]);
    }

    #[test]
    fn system_package_unknown_is_reported_with_a_command() {
        let missing = check_system(&["no-such-package-here".to_owned(), "--version".to_owned()]);
        let names: Vec<&str> = missing.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["no-such-package-here", "--version"]);
        assert!(missing[0].install.ends_with("no-such-package-here"));
    }
}
