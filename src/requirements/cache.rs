//! The folder that keeps environments, shared between projects and processes.
//!
//! `environments/<key>` is whole or not there: it is made beside its place and renamed.
//! `resolutions/<key>.json` says which environment a set of requirements led to, so that a second
//! start needs no resolver.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::EnvironmentError;
use super::host::HostPython;

/// Raised when the meaning of anything in the folder changes; older entries are then ignored.
const FORMAT: u32 = 1;

/// In an environment: written last, so that its presence says that the environment is whole.
const MARKER: &str = "flash-environment.json";

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What `resolutions/<key>.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Resolution {
    format: u32,
    requirements: Vec<String>,
    environment: String,
}

/// What an environment says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    python: PathBuf,
    packages: Vec<String>,
}

/// Held while something in the cache is made; released when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// The folder: `FLASH_CACHE_DIR`, else `$XDG_CACHE_HOME/runpod-flash`, else
    /// `~/.cache/runpod-flash`.
    pub fn locate() -> Result<Self, EnvironmentError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("FLASH_CACHE_DIR")
            .or_else(|| {
                set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("runpod-flash"))
            })
            .or_else(|| dirs::home_dir().map(|home| home.join(".cache/runpod-flash")))
            .ok_or_else(|| EnvironmentError::Cache {
                path: PathBuf::from("~/.cache"),
                source: io::Error::new(io::ErrorKind::NotFound, "there is no home folder"),
            })?;
        let root =
            std::path::absolute(&root).map_err(|source| EnvironmentError::Cache { path: root, source })?;
        Ok(Self { root })
    }

    /// A cache at a given folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder in which running platforms say where they are.
    pub fn platforms(&self) -> PathBuf {
        self.root.join("platforms")
    }

    /// The whole environment that a set of requirements led to, if it is still there.
    pub fn resolved(&self, request: &str) -> Option<PathBuf> {
        let text = std::fs::read(self.resolution_file(request)).ok()?;
        let resolution: Resolution = serde_json::from_slice(&text).ok()?;
        (resolution.format == FORMAT).then(|| self.environment(&resolution.environment))?
    }

    /// Python of a whole environment, if it is there and its base interpreter still is.
    pub fn environment(&self, key: &str) -> Option<PathBuf> {
        let folder = self.environment_folder(key);
        let python = folder.join("bin/python");
        (folder.join(MARKER).is_file() && python.exists()).then_some(python)
    }

    /// Remembers which environment a set of requirements led to.
    pub fn remember(
        &self,
        request: &str,
        requirements: Vec<String>,
        environment: &str,
    ) -> Result<(), EnvironmentError> {
        let resolution = Resolution { format: FORMAT, requirements, environment: environment.to_owned() };
        write_whole(&self.resolution_file(request), &to_json(&resolution))
    }

    /// A fresh folder beside the environment's place; what killed processes left is removed first.
    ///
    /// The caller holds the environment's lock, so nobody else works on it.
    pub fn begin(&self, key: &str) -> Result<PathBuf, EnvironmentError> {
        let parent = self.root.join("environments");
        let prefix = format!(".{key}.");
        if let Ok(entries) = std::fs::read_dir(&parent) {
            for entry in entries.flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    // What cannot be removed only takes room; the new folder has another name.
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
        Ok(parent.join(format!("{prefix}{}", uuid::Uuid::new_v4().simple())))
    }

    /// Puts a finished environment in its place and returns its Python.
    pub fn finish(
        &self,
        key: &str,
        made: &Path,
        host: &HostPython,
        packages: &[String],
    ) -> Result<PathBuf, EnvironmentError> {
        let marker = Marker { format: FORMAT, python: host.executable.clone(), packages: packages.to_vec() };
        write_whole(&made.join(MARKER), &to_json(&marker))?;
        let place = self.environment_folder(key);
        let failed = |source| EnvironmentError::Cache { path: place.clone(), source };
        if place.exists() {
            // Not whole (its interpreter is gone), or it would have been used.
            let discarded = made.with_extension("old");
            std::fs::rename(&place, &discarded).map_err(failed)?;
            let _ = std::fs::remove_dir_all(discarded);
        }
        std::fs::rename(made, &place).map_err(failed)?;
        Ok(place.join("bin/python"))
    }

    /// Waits until no other thread or process works on `key`; `waiting` is called if it has to.
    pub fn lock(&self, folder: &str, key: &str, waiting: impl FnOnce()) -> Result<Lock, EnvironmentError> {
        let folder = self.root.join(folder);
        let path = folder.join(format!("{key}.lock"));
        let failed = |source| EnvironmentError::Cache { path: path.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(Lock { _file: file })
    }

    fn environment_folder(&self, key: &str) -> PathBuf {
        self.root.join("environments").join(key)
    }

    fn resolution_file(&self, request: &str) -> PathBuf {
        self.root.join("resolutions").join(format!("{request}.json"))
    }
}

/// A short name for content: the first 20 hexadecimal digits of its SHA-256.
pub fn key_of(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(FORMAT.to_le_bytes());
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let mut key = String::with_capacity(20);
    for byte in digest.iter().take(10) {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// What makes two interpreters able to share an environment.
pub fn interpreter_identity(host: &HostPython) -> String {
    let executable = host.executable.canonicalize().unwrap_or_else(|_| host.executable.clone());
    let (major, minor, patch) = host.version;
    let libc = if cfg!(target_env = "musl") { "musl" } else { "system" };
    format!(
        "{} {major}.{minor}.{patch} {} {} {libc}",
        executable.display(),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Writes beside and renames, so that a reader never sees half a file.
fn write_whole(path: &Path, text: &str) -> Result<(), EnvironmentError> {
    let failed = |source| EnvironmentError::Cache { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostPython {
        HostPython {
            executable: "/bin/sh".into(),
            version: (3, 11, 7),
            package: PathBuf::new(),
            runtime_paths: vec![],
        }
    }

    fn make(folder: &Path) {
        std::fs::create_dir_all(folder.join("bin")).expect("folder");
        std::os::unix::fs::symlink("/bin/sh", folder.join("bin/python")).expect("link");
    }

    #[test]
    fn environment_without_marker_is_not_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::at(folder.path());
        make(&folder.path().join("environments/k"));
        assert_eq!(cache.environment("k"), None);
        let made = cache.begin("k").expect("begins");
        make(&made);
        let python = cache.finish("k", &made, &host(), &["six==1".to_owned()]).expect("finishes");
        assert_eq!(cache.environment("k"), Some(python.clone()));
        cache.remember("r", vec!["six".to_owned()], "k").expect("remembers");
        assert_eq!(cache.resolved("r"), Some(python));
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::at(folder.path());
        let left = cache.begin("k").expect("begins");
        make(&left);
        let other = cache.begin("k2").expect("begins");
        make(&other);
        cache.begin("k").expect("begins");
        assert!(!left.exists());
        assert!(other.exists());
    }

    #[test]
    fn environment_whose_interpreter_is_gone_is_made_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::at(folder.path());
        let made = cache.begin("k").expect("begins");
        make(&made);
        let python = cache.finish("k", &made, &host(), &[]).expect("finishes");
        std::fs::remove_file(&python).expect("removes");
        std::os::unix::fs::symlink("/no/such/python", &python).expect("link");
        assert_eq!(cache.environment("k"), None);
        let made = cache.begin("k").expect("begins");
        make(&made);
        cache.finish("k", &made, &host(), &[]).expect("finishes");
        assert_eq!(cache.environment("k"), Some(python));
    }

    #[test]
    fn resolution_that_is_damaged_is_ignored() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::at(folder.path());
        std::fs::create_dir_all(folder.path().join("resolutions")).expect("folder");
        std::fs::write(folder.path().join("resolutions/r.json"), "{\"format\": 1, ").expect("writes");
        assert_eq!(cache.resolved("r"), None);
    }

    #[test]
    fn key_separates_its_parts() {
        assert_ne!(key_of(&["ab", "c"]), key_of(&["a", "bc"]));
        assert_eq!(key_of(&["a"]).len(), 20);
    }
}
