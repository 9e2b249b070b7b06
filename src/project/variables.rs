//! Variables for workers: the process's own, and what `.env` says now.
//!
//! Importing the package already put the nearest `.env` into this process. Workers inherit that, so
//! only what the file says differently *since* has to be handed to them, and what it no longer says
//! to be taken away.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::dotenv;

/// The variables that code can read.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    process: BTreeMap<String, String>,
    /// The file, and what it says now.
    file: Option<PathBuf>,
    now: BTreeMap<String, String>,
    /// Names that the shell set to something else than the file said at the start: the shell wins.
    shell: Vec<String>,
    /// Names that this process has from the file alone.
    from_file: Vec<String>,
}

impl Variables {
    /// Reads the process's variables and the nearest `.env` from `root` upwards.
    pub fn read(root: &Path) -> Self {
        let process = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut variables = Self { process, ..Self::default() };
        variables.reload(root);
        let said = &variables.now;
        variables.shell = said
            .iter()
            .filter(|(name, value)| variables.process.get(*name).is_some_and(|known| known != *value))
            .map(|(name, _)| name.clone())
            .collect();
        let started_with = names_at_start();
        variables.from_file = said
            .iter()
            .filter(|(name, value)| variables.process.get(*name) == Some(*value))
            .filter(|(name, _)| !started_with.contains(&OsString::from(name)))
            .map(|(name, _)| name.clone())
            .collect();
        variables
    }

    /// Variables that stand for a process's own.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let process = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { process, ..Self::default() }
    }

    /// Reads `.env` again.
    pub fn reload(&mut self, root: &Path) {
        self.file = dotenv::nearest(root);
        self.now = self.file.as_deref().map(dotenv::read).unwrap_or_default().into_iter().collect();
    }

    /// Returns a variable's value now.
    pub fn get(&self, name: &str) -> Option<String> {
        if self.is_removed(name) {
            return None;
        }
        self.changed().remove(name).or_else(|| self.process.get(name).cloned())
    }

    /// What workers inherit and must not have: variables that `.env` set and no longer names.
    pub fn removed(&self) -> Vec<String> {
        self.from_file.iter().filter(|name| self.is_removed(name)).cloned().collect()
    }

    fn is_removed(&self, name: &str) -> bool {
        !self.now.contains_key(name) && self.from_file.iter().any(|known| known == name)
    }

    /// What workers do not inherit: lines of `.env` that say something else than this process has.
    pub fn changed(&self) -> BTreeMap<String, String> {
        self.now
            .iter()
            .filter(|(name, value)| !self.shell.contains(name) && self.process.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// Names of the variables that this process was started with, before `.env` was read; none where the
/// system does not show them.
fn names_at_start() -> HashSet<OsString> {
    let bytes = std::fs::read("/proc/self/environ").unwrap_or_default();
    let names = bytes.split(|byte| *byte == 0).filter_map(|pair| pair.split(|byte| *byte == b'=').next());
    names.map(|name| OsString::from_vec(name.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Variables;

    #[test]
    fn env_file_change_is_handed_on_unless_the_shell_set_it() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join(".env");
        fs::write(&file, "PATH=/elsewhere\nSHOP_DOTENV_A=1\n").expect("write");
        let mut variables = Variables::read(folder.path());
        assert_eq!(variables.get("SHOP_DOTENV_A").as_deref(), Some("1"));
        fs::write(&file, "PATH=/again\nSHOP_DOTENV_A=2\nnot a line\n").expect("write");
        variables.reload(folder.path());
        assert_eq!(
            variables.changed().into_iter().collect::<Vec<_>>(),
            [("SHOP_DOTENV_A".to_owned(), "2".to_owned())]
        );
        assert_ne!(variables.get("PATH").as_deref(), Some("/again"));
        assert_eq!(variables.removed(), Vec::<String>::new());
    }

    #[test]
    fn line_that_is_gone_takes_away_what_the_file_alone_had_set() {
        let variables = Variables {
            process: [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())].into(),
            now: [("B".to_owned(), "2".to_owned())].into(),
            from_file: vec!["A".to_owned(), "B".to_owned()],
            ..Variables::default()
        };
        assert_eq!(variables.removed(), ["A"]);
        assert_eq!((variables.get("A"), variables.get("B").as_deref()), (None, Some("2")));
    }
}
