//! `.flash/resources.json`: the endpoints on Runpod that were made from this folder.
//!
//! Versioned JSON for people and programs, readable by its owner alone. It holds no key and no
//! value of a variable, only what tells whether one changed. Every change is made under a lock on a
//! file beside it and written by renaming, so that processes in one folder lose nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::input::digest;
use super::legacy;
use super::owner::{Liveness, Run};
use crate::runpod::control::{EndpointInput, VolumeInput};
use crate::runpod::error::{ErrorKind, RunpodError};

/// Format that this program reads and writes.
const VERSION: u32 = 1;
const FILE: &str = "resources.json";
const ABOUT: &str = "endpoints on Runpod that were made from this folder; written by flash";

/// The file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    about: String,
    /// Goes into digests of variables, so that equal values in two folders do not look alike.
    salt: String,
    /// Endpoints.
    pub endpoints: Vec<Tracked>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    /// Class of 1.21's resource, such as `LiveServerless`: an endpoint cannot change it.
    pub class: String,
    /// Name on Runpod.
    pub name: String,
    /// Control plane that knows it.
    pub api: String,
    /// ID; `None` while the answer to its creation is not known.
    pub id: Option<String>,
    /// Its template's ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// When it was made, in UTC.
    pub made: String,
    /// Whether it goes when the last of its runs ends.
    pub is_temporary: bool,
    /// Runs that use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// While its ID is not known: endpoints of this name that were there before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_before: Vec<String>,
    /// US dollars per worker and hour, where Runpod said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<f64>,
    /// What Runpod was told last, variables as digests; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<EndpointInput>,
    /// Its volumes as declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeInput>,
}

impl Tracked {
    /// Whether it is the one that `other` is.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is(&other.api, &other.class, &other.name)
    }

    /// Whether it has this control plane, class and name.
    pub fn is(&self, api: &str, class: &str, name: &str) -> bool {
        self.api == api && self.class == class && self.name == name
    }

    /// Whether it is temporary and no run that lives uses it.
    pub fn is_left_behind(&self) -> bool {
        self.is_temporary && self.runs.iter().all(|run| run.liveness() != Liveness::Alive)
    }
}

impl State {
    fn new() -> Self {
        Self {
            version: VERSION,
            about: ABOUT.to_owned(),
            salt: uuid::Uuid::new_v4().simple().to_string(),
            endpoints: Vec::new(),
        }
    }

    /// Returns an endpoint.
    pub fn find(&self, api: &str, class: &str, name: &str) -> Option<&Tracked> {
        self.endpoints.iter().find(|tracked| tracked.is(api, class, name))
    }

    /// Adds an endpoint, or replaces the same one.
    pub fn put(&mut self, tracked: Tracked) {
        match self.endpoints.iter_mut().find(|other| other.is_same(&tracked)) {
            Some(known) => *known = tracked,
            None => self.endpoints.push(tracked),
        }
    }

    /// Forgets an endpoint.
    pub fn drop(&mut self, tracked: &Tracked) {
        self.endpoints.retain(|other| !other.is_same(tracked));
    }

    /// Returns a configuration as it is kept: values of variables as digests.
    pub fn kept(&self, input: &EndpointInput) -> EndpointInput {
        let mut input = input.clone();
        // Chosen anew for each template that is made.
        if let Some(template) = &mut input.template {
            template.name.clear();
            for variable in &mut template.env {
                let text = format!("{}\0{}\0{}", self.salt, variable.key, variable.value);
                variable.value = format!("sha256:{}", digest(&text));
            }
        }
        input.template_id = None;
        input.volumes.clear();
        input
    }
}

/// What tells whether the rest can be read.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The file in one folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The file of a project: `.flash` below its root is made when there is something to write.
    pub fn new(root: &Path) -> Self {
        Self { folder: root.join(".flash") }
    }

    /// Returns what is known; endpoints that 1.21 tracked are taken over the first time.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where the file cannot be read, or is newer than this program.
    pub fn load(&self) -> Result<State, RunpodError> {
        let path = self.folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut state = State::new();
                state.endpoints = legacy::import(&self.folder)?;
                return Ok(state);
            }
            Err(error) => return Err(unreadable(&path, &error.to_string())),
        };
        let wrong = |error: serde_json::Error| unreadable(&path, &error.to_string());
        let version = serde_json::from_str::<Version>(&text).map_err(wrong)?.version;
        if version > VERSION {
            let message = format!("`{}` has version {version}; this program knows {VERSION}", path.display());
            return Err(RunpodError::new(ErrorKind::Configuration, message)
                .with_hint("a newer runpod_flash wrote it: install that one, or work in another folder"));
        }
        serde_json::from_str(&text).map_err(wrong)
    }

    /// Changes what is known, in one step for all processes.
    ///
    /// # Errors
    /// As [`Store::load`], and where the file cannot be written.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, RunpodError> {
        let _lock = self.lock("resources").map_err(|error| self.unwritable(&error))?;
        let mut state = self.load()?;
        let before = state.clone();
        let result = change(&mut state);
        if state != before || !self.folder.join(FILE).exists() {
            self.write(&state).map_err(|error| self.unwritable(&error))?;
        }
        Ok(result)
    }

    /// Returns a lock that other processes wait for; `Err` of kind `WouldBlock` names its holder
    /// where `wait` is false.
    ///
    /// # Errors
    /// Where the file cannot be made, or another process holds the lock.
    pub fn try_lock(&self, name: &str) -> io::Result<Result<File, String>> {
        let mut file = self.lock_file(name)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                sign(&mut file)?;
                Ok(Ok(file))
            }
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                Ok(Err(io::read_to_string(&file).unwrap_or_default().trim().to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a lock.
    ///
    /// # Errors
    /// Where the file cannot be made or locked.
    pub fn lock(&self, name: &str) -> io::Result<File> {
        let mut file = self.lock_file(name)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(error.into()),
            }
        }
        sign(&mut file)?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        let folder = self.prepared()?.join("locks");
        if !folder.is_dir() {
            make_folder(&folder)?;
        }
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        options.open(folder.join(format!("{name}.lock")))
    }

    /// The folder, made together with the file that hides it from git.
    fn prepared(&self) -> io::Result<&Path> {
        make_folder(&self.folder)?;
        let ignore = self.folder.join(".gitignore");
        if !ignore.exists() {
            fs::write(ignore, "*\n")?;
        }
        Ok(&self.folder)
    }

    fn write(&self, state: &State) -> io::Result<()> {
        write_json(self.prepared()?, FILE, state)
    }

    /// Returns a remembered answer of this project.
    pub fn setting(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("settings.json")).ok()?;
        let settings: serde_json::Value = serde_json::from_str(&text).ok()?;
        settings.get(name)?.as_str().map(str::to_owned)
    }

    /// Remembers an answer.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn remember(&self, name: &str, value: &str) -> Result<(), RunpodError> {
        let write = || {
            let _lock = self.lock("settings")?;
            let file = "settings.json";
            let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            let known: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let mut settings = known.as_object().cloned().unwrap_or_default();
            settings.entry("version").or_insert_with(|| VERSION.into());
            settings.insert(name.to_owned(), value.into());
            write_json(self.prepared()?, file, &settings)
        };
        write().map_err(|error: io::Error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> RunpodError {
        let message = format!("cannot write to `{}`: {error}", self.folder.display());
        RunpodError::new(ErrorKind::Configuration, message)
            .with_hint("endpoints that cost money are tracked there, so nothing is made without it")
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

/// Says who holds a lock, for those that wait.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    io::Seek::rewind(file)?;
    write!(file, "{}", std::process::id())
}

/// Writes a file beside its place, for its owner alone, and renames it.
fn write_json(folder: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".write-").tempfile_in(folder)?;
    serde_json::to_writer_pretty(&mut file, content)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    Ok(())
}

fn unreadable(path: &Path, reason: &str) -> RunpodError {
    let message = format!("cannot read `{}`: {reason}", path.display());
    RunpodError::new(ErrorKind::Configuration, message)
        .with_hint("mend it or move it away; the endpoints it tracks are listed in Runpod's console")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::runpod::control::{EnvironmentVariable, TemplateInput};

    fn tracked(name: &str) -> Tracked {
        Tracked {
            class: "LiveServerless".to_owned(),
            name: name.to_owned(),
            api: "https://api.example".to_owned(),
            id: Some(format!("id-{name}")),
            template_id: None,
            made: "2026-11-24T00:00:00Z".to_owned(),
            is_temporary: true,
            runs: vec![Run::new()],
            known_before: Vec::new(),
            price_per_hour: None,
            config: None,
            volumes: Vec::new(),
        }
    }

    #[test]
    fn changes_of_many_threads_are_all_kept() {
        let folder = tempfile::tempdir().expect("folder");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let store = Store::new(folder.path());
                scope.spawn(move || {
                    store.update(|state| state.put(tracked(&format!("e{number}")))).expect("written");
                });
            }
        });
        let store = Store::new(folder.path());
        assert_eq!(store.load().expect("read").endpoints.len(), 16);
        let file = folder.path().join(".flash/resources.json");
        assert_eq!(fs::metadata(file).expect("file").permissions().mode() & 0o777, 0o600);
        assert!(folder.path().join(".flash/.gitignore").exists());
    }

    #[test]
    fn newer_version_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join(".flash/resources.json");
        fs::create_dir(folder.path().join(".flash")).expect("folder");
        fs::write(&file, "{\"version\": 2, \"else\": 1}").expect("written");
        let error = Store::new(folder.path()).update(|state| state.put(tracked("a"))).unwrap_err();
        assert!(error.message.contains("version 2"), "{error}");
        assert_eq!(fs::read_to_string(file).expect("file"), "{\"version\": 2, \"else\": 1}");
    }

    #[test]
    fn values_of_variables_are_not_kept() {
        let variable = |value: &str| EndpointInput {
            template: Some(TemplateInput {
                env: vec![EnvironmentVariable { key: "TOKEN".to_owned(), value: value.to_owned() }],
                ..TemplateInput::default()
            }),
            ..EndpointInput::default()
        };
        let state = State::new();
        let kept = state.kept(&variable("hunter2"));
        let text = serde_json::to_string(&kept).expect("JSON");
        assert!(text.contains("TOKEN") && !text.contains("hunter2"), "{text}");
        assert_eq!(kept, state.kept(&variable("hunter2")));
        assert_ne!(kept, state.kept(&variable("hunter3")));
    }

    #[test]
    fn settings_are_remembered() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::new(folder.path());
        assert_eq!(store.setting("target"), None);
        store.remember("target", "runpod").expect("written");
        assert_eq!(store.setting("target").as_deref(), Some("runpod"));
    }
}
