//! One environment for each set of requirements, made beside the server.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::cache::Cache;
use super::error::EnvironmentError;
use super::host::HostPython;
use super::index::IndexSettings;
use super::install::{self, Made, Recipe, Steps};
use super::installed;
use super::mode::DepsMode;
use super::process::Children;
use super::progress::{Progress, ProgressKind, Reporter};
use super::requirement::RequirementSet;
use super::{EnvironmentState, Interpreter};

/// How many environments are made at a time; `uv` itself uses all cores.
const AT_A_TIME: usize = 4;

/// Makes and hands out environments.
///
/// Equal sets of requirements share one environment, between endpoints of this process (which then
/// share one installation under way) and, through the cache folder, between runs and projects.
pub struct Environments {
    shared: Arc<Shared>,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    /// Kept, so that a receiver of it does not find its channel closed.
    host: watch::Sender<EnvironmentState>,
    /// As above, by endpoint, for what was refused before anything was made.
    refused: Mutex<HashMap<String, watch::Sender<EnvironmentState>>>,
}

struct Shared {
    host: HostPython,
    mode: DepsMode,
    reporter: Arc<dyn Reporter>,
    settings: IndexSettings,
    /// `None`: located when it is first needed.
    cache: Option<Cache>,
    children: Children,
    free: Mutex<usize>,
    freed: Condvar,
}

/// One environment being made, or made.
struct Job {
    request: String,
    set: RequirementSet,
    cache: Cache,
    state: watch::Sender<EnvironmentState>,
    endpoints: Mutex<Vec<String>>,
}

impl Environments {
    /// Environments based on `host`. Reads pip's settings once; makes nothing yet.
    pub fn new(host: HostPython, mode: DepsMode, reporter: Arc<dyn Reporter>) -> Arc<Self> {
        let prefix = host.executable.parent().and_then(Path::parent);
        let settings = IndexSettings::read(prefix);
        Self::with(host, mode, reporter, settings, None)
    }

    /// As [`Environments::new`], with a cache folder of its own.
    #[cfg(test)]
    pub fn with_cache(
        host: HostPython,
        mode: DepsMode,
        reporter: Arc<dyn Reporter>,
        cache: &Path,
    ) -> Arc<Self> {
        Self::with(host, mode, reporter, IndexSettings::read(None), Some(Cache::at(cache)))
    }

    fn with(
        host: HostPython,
        mode: DepsMode,
        reporter: Arc<dyn Reporter>,
        settings: IndexSettings,
        cache: Option<Cache>,
    ) -> Arc<Self> {
        let shared = Shared {
            host,
            mode,
            reporter,
            settings,
            cache,
            children: Children::default(),
            free: Mutex::new(AT_A_TIME),
            freed: Condvar::new(),
        };
        let host = watch::Sender::new(shared.host_ready());
        Arc::new(Self { shared: Arc::new(shared), jobs: Mutex::default(), host, refused: Mutex::default() })
    }

    /// Prepares the environment of an endpoint and returns at once.
    ///
    /// The state is `Ready` from the start where the environment is cached or the host's is used.
    /// A set that failed is tried again when it is asked for again.
    pub fn prepare(
        &self,
        endpoint: &str,
        dependencies: &[String],
        project: &[String],
    ) -> watch::Receiver<EnvironmentState> {
        match self.decide(endpoint, dependencies, project) {
            Ok(receiver) => receiver,
            Err(error) => {
                self.shared.tell_failure(&[endpoint.to_owned()], &error);
                let (sender, receiver) = watch::channel(failed(&error));
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.insert(endpoint.to_owned(), sender);
                receiver
            }
        }
    }

    /// The interpreter that environments are based on.
    pub fn host(&self) -> &HostPython {
        &self.shared.host
    }

    /// The folder of everything that is kept for a next time.
    ///
    /// # Errors
    /// [`EnvironmentError::Cache`] where there is no place for one.
    pub fn cache_folder(&self) -> Result<PathBuf, EnvironmentError> {
        let cache = self.shared.cache.clone().map_or_else(Cache::locate, Ok)?;
        Ok(cache.root().to_path_buf())
    }

    /// Ends installations under way; nothing is started any more.
    pub fn close(&self) {
        self.shared.children.close();
    }

    fn decide(
        &self,
        endpoint: &str,
        dependencies: &[String],
        project: &[String],
    ) -> Result<watch::Receiver<EnvironmentState>, EnvironmentError> {
        let shared = &self.shared;
        if shared.mode == DepsMode::None {
            return Ok(self.host.subscribe());
        }
        let set = RequirementSet::merge(dependencies, project)?;
        match shared.mode {
            DepsMode::Host => {
                installed::check_host(&shared.host, &set)
                    .map_err(|lacking| installed::host_lacks(&lacking))?;
                Ok(self.host.subscribe())
            }
            DepsMode::Auto | DepsMode::None if set.is_empty() => Ok(self.host.subscribe()),
            DepsMode::Auto | DepsMode::None | DepsMode::Isolated => self.isolated(endpoint, set),
        }
    }

    fn isolated(
        &self,
        endpoint: &str,
        set: RequirementSet,
    ) -> Result<watch::Receiver<EnvironmentState>, EnvironmentError> {
        let request = install::request_key(&self.shared.host, &self.shared.settings, &set);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.get(&request).filter(|job| job.is_usable()) {
            job.join(endpoint);
            return Ok(job.state.subscribe());
        }
        let cache = match &self.shared.cache {
            Some(cache) => cache.clone(),
            None => Cache::locate()?,
        };
        let cached = cache.resolved(&request);
        let state = match &cached {
            Some(python) => ready(python.clone()),
            None => EnvironmentState::Preparing { message: format!("resolving {}", set.summary()) },
        };
        let (state, receiver) = watch::channel(state);
        let endpoints = Mutex::new(vec![endpoint.to_owned()]);
        let job = Arc::new(Job { request: request.clone(), set, cache, state, endpoints });
        jobs.insert(request, Arc::clone(&job));
        drop(jobs);
        if cached.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("flash-install".to_owned());
            thread
                .spawn(move || shared.run(&job))
                .map_err(|source| EnvironmentError::Start { path: "an installing thread".into(), source })?;
        }
        Ok(receiver)
    }
}

impl Shared {
    /// Makes one environment on the calling thread.
    fn run(&self, job: &Job) {
        let _slot = Slot::take(self);
        let started = Instant::now();
        let recipe = Recipe {
            host: &self.host,
            cache: &job.cache,
            settings: &self.settings,
            set: &job.set,
            request: &job.request,
            children: &self.children,
        };
        let state = match install::make(&recipe, &JobSteps { shared: self, job }) {
            Ok(Made::Environment { python, packages, was_there }) => {
                let seconds = started.elapsed().as_secs_f64();
                let text = if was_there {
                    format!("environment found in the cache in {seconds:.1} s")
                } else {
                    let plural = if packages == 1 { "package" } else { "packages" };
                    format!("installed {packages} {plural} in {seconds:.1} s")
                };
                self.tell(&job.endpoints(), ProgressKind::Done, text);
                ready(python)
            }
            Ok(Made::Host) => self.host_ready(),
            Err(error) => {
                if !matches!(error, EnvironmentError::Interrupted) {
                    self.tell_failure(&job.endpoints(), &error);
                }
                failed(&error)
            }
        };
        job.state.send_replace(state);
    }

    fn host_ready(&self) -> EnvironmentState {
        EnvironmentState::Ready(Interpreter { python: self.host.executable.clone(), is_host: true })
    }

    fn tell_failure(&self, endpoints: &[String], error: &EnvironmentError) {
        self.tell(endpoints, ProgressKind::Failed, error.to_string());
        if let Some(hint) = error.hint() {
            self.tell(endpoints, ProgressKind::Notice, format!("hint: {hint}"));
        }
    }

    fn tell(&self, endpoints: &[String], kind: ProgressKind, text: String) {
        self.reporter.report(&Progress { endpoints: endpoints.to_vec(), kind, text });
    }
}

impl Job {
    /// Whether a further endpoint can use it: a failed one is tried again, a removed one made anew.
    fn is_usable(&self) -> bool {
        match &*self.state.borrow() {
            EnvironmentState::Preparing { .. } => true,
            EnvironmentState::Ready(interpreter) => interpreter.python.exists(),
            EnvironmentState::Failed { .. } => false,
        }
    }

    fn join(&self, endpoint: &str) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if !endpoints.iter().any(|known| known == endpoint) {
            endpoints.push(endpoint.to_owned());
        }
    }

    fn endpoints(&self) -> Vec<String> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct JobSteps<'a> {
    shared: &'a Shared,
    job: &'a Job,
}

impl Steps for JobSteps<'_> {
    fn step(&self, text: String) {
        self.shared.tell(&self.job.endpoints(), ProgressKind::Step, text.clone());
        self.job.state.send_replace(EnvironmentState::Preparing { message: text });
    }

    fn notice(&self, text: String) {
        self.shared.tell(&self.job.endpoints(), ProgressKind::Notice, text);
    }
}

/// One of the places for environments being made.
struct Slot<'a> {
    shared: &'a Shared,
}

impl<'a> Slot<'a> {
    fn take(shared: &'a Shared) -> Self {
        let mut free = shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = shared.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Self { shared }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.shared.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.shared.freed.notify_one();
    }
}

fn ready(python: PathBuf) -> EnvironmentState {
    EnvironmentState::Ready(Interpreter { python, is_host: false })
}

fn failed(error: &EnvironmentError) -> EnvironmentState {
    EnvironmentState::Failed { message: error.to_string(), hint: error.hint() }
}

#[cfg(test)]
mod tests;
