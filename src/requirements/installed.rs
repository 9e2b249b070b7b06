//! What the host interpreter has, read from its package folders without starting it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use pep508_rs::pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, PackageName};

use super::error::EnvironmentError;
use super::host::HostPython;
use super::requirement::{Requirement, RequirementSet};

/// Packages by normalised name.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    versions: BTreeMap<String, Version>,
}

/// A requirement that the host does not meet.
#[derive(Debug, Clone)]
pub struct Lacking {
    /// As declared.
    pub requirement: String,
    /// Version that is there, if any.
    pub found: Option<String>,
}

impl Installed {
    /// Reads the `*.dist-info` and `*.egg-info` names in package folders; earlier folders win.
    pub fn read(folders: &[PathBuf]) -> Self {
        let mut versions = BTreeMap::new();
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                let file_name = entry.file_name();
                let Some((name, version)) = file_name.to_str().and_then(parse_metadata_name) else {
                    continue;
                };
                versions.entry(name).or_insert(version);
            }
        }
        Self { versions }
    }

    /// Returns which requirements are not met for this interpreter.
    pub fn lacks(&self, set: &RequirementSet, markers: Option<&MarkerEnvironment>) -> Vec<Lacking> {
        set.iter()
            .filter(|requirement| markers.is_none_or(|markers| requirement.applies_to(markers)))
            .filter_map(|requirement| self.lacking(requirement))
            .collect()
    }

    fn lacking(&self, requirement: &Requirement) -> Option<Lacking> {
        let found = self.versions.get(requirement.name());
        if found.is_some_and(|version| requirement.is_met_by(version)) {
            return None;
        }
        Some(Lacking { requirement: requirement.to_string(), found: found.map(ToString::to_string) })
    }
}

/// Checks a set against the host: `Ok` where everything is there.
pub fn check_host(host: &HostPython, set: &RequirementSet) -> Result<(), Vec<Lacking>> {
    if set.is_empty() {
        return Ok(());
    }
    let lacking = Installed::read(&host.runtime_paths).lacks(set, markers(host).as_ref());
    if lacking.is_empty() { Ok(()) } else { Err(lacking) }
}

/// The error of `--deps host` for what is lacking.
pub fn host_lacks(lacking: &[Lacking]) -> EnvironmentError {
    let arguments: Vec<String> = lacking.iter().map(|item| shell_quote(&item.requirement)).collect();
    EnvironmentError::HostLacks { missing: describe(lacking), arguments: arguments.join(" ") }
}

/// Such as `` `numpy>=2` (has 1.26.4), `six` ``.
pub fn describe(lacking: &[Lacking]) -> String {
    let describe_one = |item: &Lacking| match &item.found {
        Some(version) => format!("`{}` (has {version})", item.requirement),
        None => format!("`{}`", item.requirement),
    };
    lacking.iter().map(describe_one).collect::<Vec<_>>().join(", ")
}

/// Quotes an argument for a POSIX shell, only where it needs it.
pub fn shell_quote(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@%+,".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `numpy-2.1.0.dist-info` or `numpy-2.1.0-py3.11.egg-info` → name and version.
fn parse_metadata_name(file_name: &str) -> Option<(String, Version)> {
    let stem = file_name.strip_suffix(".dist-info").or_else(|| file_name.strip_suffix(".egg-info"))?;
    let mut parts = stem.split('-');
    let name = PackageName::from_str(parts.next()?).ok()?;
    let version = Version::from_str(parts.next()?).ok()?;
    Some((name.to_string(), version))
}

/// What environment markers of requirements see; `None` where it cannot be told.
fn markers(host: &HostPython) -> Option<MarkerEnvironment> {
    let (major, minor, patch) = host.version;
    let full = format!("{major}.{minor}.{patch}");
    let short = format!("{major}.{minor}");
    let uname = rustix::system::uname();
    let system = uname.sysname().to_string_lossy();
    let machine = uname.machine().to_string_lossy();
    let release = uname.release().to_string_lossy();
    let version = uname.version().to_string_lossy();
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: &full,
        os_name: "posix",
        platform_machine: &machine,
        platform_python_implementation: "CPython",
        platform_release: &release,
        platform_system: &system,
        platform_version: &version,
        python_full_version: &full,
        python_version: &short,
        sys_platform: if cfg!(target_os = "macos") { "darwin" } else { "linux" },
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_with(packages: &[&str]) -> (tempfile::TempDir, HostPython) {
        let folder = tempfile::tempdir().expect("folder");
        for package in packages {
            std::fs::create_dir(folder.path().join(package)).expect("metadata");
        }
        let host = HostPython {
            executable: "python".into(),
            version: (3, 11, 7),
            package: folder.path().join("runpod_flash"),
            runtime_paths: vec![folder.path().to_owned()],
        };
        (folder, host)
    }

    fn set(items: &[&str]) -> RequirementSet {
        let items: Vec<String> = items.iter().map(|item| (*item).to_owned()).collect();
        RequirementSet::merge(&items, &[]).expect("merges")
    }

    #[test]
    fn host_with_all_packages_is_enough() {
        let (_folder, host) = host_with(&["numpy-2.1.0.dist-info", "Scikit_Learn-1.5.0-py3.11.egg-info"]);
        assert!(
            check_host(&host, &set(&["numpy>=2", "scikit-learn", "pywin32; sys_platform=='win32'"])).is_ok()
        );
    }

    #[test]
    fn host_lacking_packages_lists_each_with_what_it_has() {
        let (_folder, host) = host_with(&["numpy-1.26.4.dist-info"]);
        let lacking = check_host(&host, &set(&["numpy>=2", "six"])).expect_err("lacks");
        let error = host_lacks(&lacking);
        assert_eq!(error.to_string(), "the host's Python lacks `numpy>=2` (has 1.26.4), `six`");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("`pip install 'numpy>=2' six`")));
    }
}
