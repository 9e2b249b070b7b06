//! What can be set about the platform as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::clock::{Clock, SystemClock};
use super::store::{DocumentStore, JobStore, MemoryDocuments, MemoryStore, StateFolder};
use crate::requirements::{Environments, HostPython, Interpreter};

/// How a worker process is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Executable.
    pub program: PathBuf,
    /// Arguments.
    pub arguments: Vec<OsString>,
    /// Variables beside those that every worker gets.
    pub variables: BTreeMap<String, OsString>,
    /// Variables of the shell that would lead this interpreter astray.
    pub withheld: &'static [&'static str],
}

/// Makes the command line of a worker; the socket's descriptor is in `FLASH_WORKER_FD`.
pub trait WorkerCommand: Send + Sync + 'static {
    /// Returns the command line of a worker in `interpreter`.
    fn command(&self, interpreter: &Interpreter) -> CommandLine;
}

/// Starts the Python worker program of this package.
#[derive(Debug, Clone)]
pub struct PythonWorker {
    /// The interpreter that `flash` runs in, and where our package is.
    pub host: HostPython,
}

impl WorkerCommand for PythonWorker {
    fn command(&self, interpreter: &Interpreter) -> CommandLine {
        let paths = std::env::join_paths(&self.host.runtime_paths).unwrap_or_default();
        let mut variables = BTreeMap::from([("FLASH_RUNTIME_PATHS".to_owned(), paths)]);
        let mut withheld: &'static [&'static str] = &[];
        if !interpreter.is_host
            && let Some(scripts) = interpreter.python.parent()
        {
            // As an activated environment: programs that its packages bring are found, and the
            // shell's own packages are not.
            withheld = &["PYTHONPATH", "PYTHONHOME"];
            let shell = std::env::var_os("PATH").unwrap_or_default();
            let path = std::iter::once(scripts.to_path_buf()).chain(std::env::split_paths(&shell));
            if let Ok(path) = std::env::join_paths(path) {
                variables.insert("PATH".to_owned(), path);
            }
            if let Some(environment) = scripts.parent() {
                variables.insert("VIRTUAL_ENV".to_owned(), environment.into());
            }
        }
        CommandLine {
            program: interpreter.python.clone(),
            arguments: vec![self.host.package.join("worker").join("bootstrap.py").into_os_string()],
            variables,
            withheld,
        }
    }
}

/// How often clients may ask an endpoint (`platform.md` 1.11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RateLimits {
    /// As often as they like.
    #[default]
    Off,
    /// As often as on Runpod.
    Runpod,
}

/// Options of [`super::Platform`]; [`PlatformOptions::new`] has the defaults.
#[derive(Clone)]
pub struct PlatformOptions {
    /// The interpreter that `flash` runs in.
    pub host: HostPython,
    /// Most workers at once on this machine; `None` lets cores and memory decide.
    pub max_workers: Option<usize>,
    /// Whether one worker is started ahead for endpoints in the host interpreter.
    pub warm_spare: bool,
    /// How workers are started.
    pub command: Arc<dyn WorkerCommand>,
    /// Makes the environments that live calls ask for; none are made without it.
    pub environments: Option<Arc<Environments>>,
    /// Where jobs are kept.
    pub store: Arc<dyn JobStore>,
    /// Where all else is kept.
    pub documents: Arc<dyn DocumentStore>,
    /// Who may call; everyone until an account is admitted.
    pub access: Arc<Access>,
    /// How often clients may ask.
    pub rate_limits: RateLimits,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How long a worker may take to load its code (7 minutes, as on Runpod).
    pub init_timeout: Duration,
    /// How long a cancelled or timed-out call may go on before its worker is killed.
    pub cancel_grace: Duration,
    /// How long a worker may take to exit once it was told to stop.
    pub stop_grace: Duration,
    /// How long a failure to load answers calls before loading is tried again.
    pub load_retry_pause: Duration,
    /// Largest result, or item of one, that a worker may send by HTTP, in MiB.
    pub result_limit_mib: usize,
    /// How long a request to a load-balanced endpoint waits for a worker (2 minutes, as on Runpod).
    pub request_wait: Duration,
}

impl PlatformOptions {
    /// Keeps jobs and all else in a state folder.
    pub fn keep_in(&mut self, state: &StateFolder) {
        self.store = Arc::clone(&state.store) as Arc<dyn JobStore>;
        self.documents = Arc::clone(&state.store) as Arc<dyn DocumentStore>;
    }

    /// The defaults.
    pub fn new(host: HostPython) -> Self {
        Self {
            command: Arc::new(PythonWorker { host: host.clone() }),
            host,
            max_workers: None,
            warm_spare: false,
            environments: None,
            store: Arc::new(MemoryStore::default()),
            documents: Arc::new(MemoryDocuments::default()),
            access: Arc::default(),
            rate_limits: RateLimits::Off,
            clock: Arc::new(SystemClock::default()),
            init_timeout: Duration::from_mins(7),
            cancel_grace: Duration::from_secs(3),
            stop_grace: Duration::from_secs(3),
            load_retry_pause: Duration::from_secs(5),
            result_limit_mib: 20,
            request_wait: Duration::from_mins(2),
        }
    }
}
