//! Which platforms run on this machine, so that commands find one without being told where.
//!
//! Each writes a file that only its user can read, with its token in it, and removes it at its
//! end. A file that a killed platform left is known by its process, and removed by who sees it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::requirements::Cache;
use crate::server::guard::{host_name, is_loopback};

/// A platform that runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    version: u32,
    /// Its process.
    pub pid: i32,
    /// When the process started, as the system counts it: a number may be used again.
    started: u64,
    /// Where it is reached.
    pub url: String,
    /// Token of its account.
    pub token: String,
    /// Its CONNECT proxy.
    pub proxy: Option<String>,
    /// Authority of its certificates (PEM).
    pub authority: Option<PathBuf>,
    /// That authority and those of the system (PEM).
    pub bundle: Option<PathBuf>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out.
        let mut shown = formatter.debug_struct("Running");
        shown.field("pid", &self.pid).field("url", &self.url).finish_non_exhaustive()
    }
}

/// The file of a platform; it goes with this.
#[derive(Debug)]
pub struct Announcement(PathBuf);

impl Drop for Announcement {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Running {
    /// A platform of this process.
    pub fn here(url: String, token: String) -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let started = start_of(pid).unwrap_or_default();
        Self { version: 1, pid, started, url, token, proxy: None, authority: None, bundle: None }
    }

    /// Writes its file.
    pub fn announce(&self) -> io::Result<Announcement> {
        self.announce_in(&folder().ok_or(io::ErrorKind::NotFound)?)
    }

    fn announce_in(&self, folder: &Path) -> io::Result<Announcement> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(format!("{}.json", self.pid));
        let beside = folder.join(format!(".{}.new", self.pid));
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        drop(file);
        fs::rename(&beside, &path)?;
        Ok(Announcement(path))
    }

    /// Returns those that this user runs, the oldest first.
    pub fn list() -> Vec<Self> {
        folder().map_or_else(Vec::new, |folder| Self::list_in(&folder))
    }

    fn list_in(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let files =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
        let mut found: Vec<Self> = files.filter_map(|path| Self::read(&path)).collect();
        found.sort_by_key(|running| running.started);
        found
    }

    /// Reads a file; `None` where it is another user's, or its platform runs no more.
    fn read(path: &Path) -> Option<Self> {
        let data = fs::symlink_metadata(path).ok()?;
        let is_own = data.is_file() && data.uid() == rustix::process::geteuid().as_raw();
        if !is_own || data.mode() & 0o077 != 0 {
            return None;
        }
        let running: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        if running.version != 1 {
            return None;
        }
        if start_of(running.pid) != Some(running.started) {
            let _ = fs::remove_file(path);
            return None;
        }
        Some(running)
    }

    /// Whether a URL means this platform.
    pub fn is_at(&self, url: &str) -> bool {
        let place = |url: &str| -> Option<(String, String)> {
            let (_, rest) = url.split_once("://")?;
            let authority = rest.split('/').next()?;
            let host = host_name(authority);
            let host = if is_loopback(&host) { "localhost".to_owned() } else { host };
            Some((host, authority.rsplit_once(':').map_or("80", |(_, port)| port).to_owned()))
        };
        place(url).is_some_and(|wanted| place(&self.url) == Some(wanted))
    }
}

fn folder() -> Option<PathBuf> {
    Cache::locate().ok().map(|cache| cache.platforms())
}

/// When a process started; `None` when there is none.
fn start_of(pid: i32) -> Option<u64> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The name before may hold anything, blanks and parentheses too.
        Ok(stat) => stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok(),
        Err(_) if Path::new("/proc/self/stat").exists() => None,
        Err(_) => {
            let pid = rustix::process::Pid::from_raw(pid)?;
            rustix::process::test_kill_process(pid).ok().map(|()| 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn here(port: u16) -> Running {
        Running::here(format!("http://localhost:{port}"), "s3cret".to_owned())
    }

    #[test]
    fn platform_is_found_while_it_runs_and_its_file_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let announced = here(8890).announce_in(folder.path()).unwrap();
        assert_eq!(fs::metadata(&announced.0).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Running::list_in(folder.path()), [here(8890)]);
        drop(announced);
        assert_eq!(Running::list_in(folder.path()), []);
        assert!(!format!("{:?}", here(1)).contains("s3cret"));
    }

    #[test]
    fn file_of_a_dead_platform_is_removed_and_an_open_one_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        // The same process number, started at another time.
        let dead = Running { started: 1, ..here(1) };
        let file = dead.announce_in(folder.path()).unwrap();
        assert_eq!(Running::list_in(folder.path()), []);
        assert!(!file.0.exists());
        let open = here(2).announce_in(folder.path()).unwrap();
        fs::set_permissions(&open.0, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Running::list_in(folder.path()), []);
    }

    #[test]
    fn url_means_a_platform_by_any_loopback_name() {
        let running = here(8890);
        assert!(running.is_at("http://127.0.0.1:8890/") && running.is_at("https://api.localhost:8890/v2"));
        assert!(!running.is_at("http://localhost:8891") && !running.is_at("http://box:8890"));
    }
}
