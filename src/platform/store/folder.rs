//! A state folder: the database, the lock that names who uses it, and a note for who finds it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::recover::recover;
use super::schema::{self, MIGRATIONS};
use super::sqlite::SqliteStore;
use super::writer::{Core, Writer};
use crate::platform::clock::{Clock, SystemClock};
use crate::platform::error::StateError;

const DATABASE: &str = "platform.sqlite3";
const LOCK: &str = "lock";
const RESERVE: &str = "reserve";

const NOTE: &str = "\
State of a Runpod on this machine (`flash platform --state` with this folder).

platform.sqlite3   jobs, their inputs and results, webhooks to be called, endpoints
platform.sqlite3-* what SQLite has not yet brought into it; it belongs to it
lock               which server uses the folder
reserve            space put by, so that jobs can end when the disk is full
volumes            network volumes, if there are any

Copy or delete the folder only while no server uses it. Inputs may hold secrets.
";

/// A state folder that is open.
#[derive(Debug)]
pub struct StateFolder {
    /// Jobs and documents.
    pub store: Arc<SqliteStore>,
    /// Who uses the folder: this process.
    pub lock: FolderLock,
}

/// Who uses a state folder.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    since: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Holds a state folder until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    file: Mutex<File>,
    since: String,
}

impl FolderLock {
    /// Takes the lock, or says who has it.
    fn take(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(LOCK);
        let unwritable = |source| StateError::NotWritable { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unwritable)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(unwritable(error.into()));
            }
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let holder = match serde_json::from_str::<Holder>(&text) {
                Ok(Holder { pid, since, url: Some(url) }) => {
                    format!("the server at {url} (process {pid}, since {since})")
                }
                Ok(Holder { pid, since, url: None }) => format!("process {pid} (since {since})"),
                Err(_) => "another server".to_owned(),
            };
            return Err(StateError::Locked { path: folder.to_path_buf(), holder });
        }
        let since = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        let lock = Self { file: Mutex::new(file), since };
        lock.write(None).map_err(unwritable)?;
        Ok(lock)
    }

    fn write(&self, url: Option<String>) -> io::Result<()> {
        let holder = Holder { pid: std::process::id(), since: self.since.clone(), url };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(serde_json::to_string(&holder)?.as_bytes())?;
        file.flush()
    }

    /// Tells those who are refused where the server is.
    pub fn tell_url(&self, url: &str) {
        if let Err(error) = self.write(Some(url.to_owned())) {
            tracing::debug!(%error, "the lock file could not be written");
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Closing is not enough: a process that is being started on another thread has the file,
        // and with it the lock, until it runs its program.
        if let Err(error) = flock(&*file, FlockOperation::Unlock) {
            tracing::debug!(%error, "the lock could not be given back");
        }
    }
}

/// Opens a state folder, which is made when there is none; a job that was running when the last
/// server ended goes back to its queue's head, or fails when that happened to it before.
///
/// # Errors
/// [`StateError`] says why the folder cannot be used; nothing in it is changed then.
pub fn open(folder: &Path) -> Result<StateFolder, StateError> {
    open_with(folder, MIGRATIONS)
}

pub(super) fn open_with(folder: &Path, migrations: &[&str]) -> Result<StateFolder, StateError> {
    let unwritable = |source| StateError::NotWritable { path: folder.to_path_buf(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unwritable)?;
    let lock = FolderLock::take(folder)?;
    let path = folder.join(DATABASE);
    let mut connection = schema::open(&path, migrations)?;
    for (name, text) in [("README", NOTE), (".gitignore", "*\n")] {
        let note = folder.join(name);
        if !note.exists() {
            fs::write(&note, text).map_err(unwritable)?;
        }
    }
    let live = recover(&mut connection, SystemClock::default().now())
        .map_err(|source| schema::of_database(&path, source))?;
    let core = Arc::new(Core {
        live: Mutex::new(live),
        work: Condvar::new(),
        committed: watch::Sender::new(0),
        news: watch::Sender::new(0),
    });
    let reserve = folder.join(RESERVE);
    let writer = Writer { core: Arc::clone(&core), connection, has_reserve: reserve.exists(), reserve };
    let writer = thread::Builder::new()
        .name("flash-store".to_owned())
        .spawn(move || writer.run())
        .map_err(unwritable)?;
    Ok(StateFolder { store: Arc::new(SqliteStore::new(core, path, writer)), lock })
}
