//! Runpod on this machine: job store, queues, scaler, worker supervisor, and the HTTP API.
//!
//! The only room that holds queues and workers. Must never know the cloud client.
//! [`Platform`] has one supervisor per endpoint; a worker process is started by the spawner,
//! served by `worker`, and known to its supervisor by number.

pub mod access;
mod adjustable;
mod answers;
pub mod app;
mod artifact;
mod backend;
pub mod balance;
mod callable;
mod claims;
mod client_api;
pub mod client_env;
pub mod clock;
mod command;
pub mod directory;
mod dispatch;
mod ends;
pub mod error;
pub mod event;
mod exit;
mod flashboot;
mod front;
mod guardian;
pub mod health;
pub mod images;
mod kill;
mod launch;
mod leftover;
mod limits;
pub mod logs;
pub mod management;
mod nested;
pub mod options;
mod output;
mod pod;
mod polling;
mod polls;
mod process;
pub mod provision;
mod queue;
pub mod record;
pub mod running;
mod scale;
pub mod scaler;
mod shared;
mod spawner;
pub mod spec;
pub mod standalone;
mod start;
mod state;
pub mod store;
mod supervisor;
#[cfg(test)]
mod tests;
mod webhook;
mod worker;
mod worker_api;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

pub(crate) use client_api::refusal::Refusal;
pub(crate) use client_api::shapes as routes;
pub use ends::give_up_inherited;
pub use event::{Event, Observer};
pub use health::{WorkerStatus, WorkerView};
pub use options::PlatformOptions;
pub use spec::EndpointSpec;

use self::directory::{Directories, Directory};
use self::logs::WorkerLog;
use self::shared::{Shared, Shutdown};
use self::supervisor::Supervisor;
use crate::endpoint::EndpointKind;
use crate::wire::backend::Backend;
use crate::wire::message::{ErrorReport, Failure, ReadyHead};

/// Runpod on this machine.
pub struct Platform {
    shared: Arc<Shared>,
    endpoints: RwLock<BTreeMap<String, Arc<Supervisor>>>,
    /// Endpoints that were removed; their workers may still finish something.
    removed: Mutex<Vec<Arc<Supervisor>>>,
    directories: Directories,
    way_out: OnceLock<Weak<dyn Backend>>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Platform").field("endpoints", &self.known_names()).finish_non_exhaustive()
    }
}

impl Platform {
    /// Makes a platform without endpoints, on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(options: PlatformOptions, observer: Arc<dyn Observer>) -> Arc<Self> {
        let handle = Handle::current();
        let platform = Arc::new_cyclic(|platform| Self {
            shared: Arc::new(Shared::new(options, observer, handle, platform.clone())),
            endpoints: RwLock::new(BTreeMap::new()),
            removed: Mutex::new(Vec::new()),
            directories: Directories::default(),
            way_out: OnceLock::new(),
        });
        process::refill_spare(&platform.shared);
        let options = &platform.shared.options;
        let shutdown = platform.shared.shutdown.subscribe();
        let webhooks = webhook::deliver_all(Arc::clone(&options.store), Arc::clone(&options.clock), shutdown);
        platform.shared.handle.spawn(webhooks);
        platform
    }

    /// Makes these the endpoints that are served: new ones are added, ones with another
    /// fingerprint get a new generation of workers, others are removed. Client endpoints have no
    /// workers and are left out.
    pub fn apply(&self, specs: Vec<EndpointSpec>) {
        if self.shared.is_shutting_down() {
            return;
        }
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        // What `put` added stays.
        let (mut before, kept) =
            std::mem::take(&mut *endpoints).into_iter().partition(|(_, supervisor)| supervisor.is_of_app);
        *endpoints = kept;
        for spec in specs {
            if spec.kind == EndpointKind::Client {
                continue;
            }
            let name = spec.id.clone();
            let supervisor = if let Some(known) = before.remove(&name) {
                known.update(spec);
                known
            } else {
                Supervisor::new(spec, Arc::clone(&self.shared), true)
            };
            endpoints.insert(name, supervisor);
        }
        drop(endpoints);
        self.let_go(before.into_values());
    }

    /// Serves one endpoint beside those of [`Platform::apply`], or changes one that was put.
    pub fn put(&self, spec: EndpointSpec) {
        if self.shared.is_shutting_down() {
            return;
        }
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(&spec.id) {
            known.update(spec);
        } else {
            let id = spec.id.clone();
            endpoints.insert(id, Supervisor::new(spec, Arc::clone(&self.shared), false));
        }
    }

    /// Stops to serve an endpoint: what waits is cancelled, what runs is finished.
    pub fn remove(&self, id: &str) {
        let supervisor = self.endpoints.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.let_go(supervisor.into_iter());
    }

    fn let_go(&self, supervisors: impl Iterator<Item = Arc<Supervisor>>) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.retain(|supervisor| !supervisor.lock().workers.is_empty());
        for supervisor in supervisors {
            supervisor.remove();
            removed.push(supervisor);
        }
    }

    /// Sends calls that workers make through `backend`, which knows endpoints elsewhere as well.
    pub fn send_calls_through(&self, backend: Weak<dyn Backend>) {
        // The first one stays.
        let _ = self.way_out.set(backend);
    }

    fn way_out(&self) -> Option<Arc<dyn Backend>> {
        self.way_out.get()?.upgrade()
    }

    /// What was set about the platform as a whole.
    pub fn options(&self) -> &PlatformOptions {
        &self.shared.options
    }

    /// Lets a directory say which endpoint the name of a deployed app's endpoint means.
    pub fn set_directory(&self, directory: std::sync::Weak<dyn Directory>) {
        self.directories.set(directory);
    }

    /// Sets the name of the app that [`Platform::apply`] serves: its endpoints are found by it,
    /// whatever the environment.
    pub fn set_app_name(&self, name: String) {
        self.directories.set_app(name);
    }

    /// Returns the ID of an account's endpoint by app, environment and name.
    pub fn resolve(&self, account: &str, app: &str, environment: &str, endpoint: &str) -> Option<String> {
        if let Some(id) = self.directories.resolve(account, app, environment, endpoint) {
            return Some(id);
        }
        let of_app = self.endpoint(endpoint).filter(|supervisor| supervisor.is_of_app)?;
        let is_it = self.directories.is_app(app) && of_app.lock().spec.account == account;
        is_it.then(|| of_app.name.clone())
    }

    /// Whether an endpoint has this ID.
    pub fn has(&self, endpoint: &str) -> bool {
        self.endpoint(endpoint).is_some()
    }

    /// Says where workers reach this server: commands start only once that is known.
    pub fn listens_at(&self, url: &str) {
        self.shared.set_base_url(url.trim_end_matches('/').to_owned());
        for supervisor in self.supervisors() {
            supervisor.tick();
        }
    }

    /// Builds the router of `/v2/{endpoint}/…`.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        let router = client_api::router(Arc::clone(self)).merge(worker_api::router(Arc::clone(self)));
        leftover::taken_in(router, Arc::clone(&self.shared.options.clock))
    }

    /// Returns what an endpoint's newest worker said it serves, once one has loaded.
    pub fn description(&self, endpoint: &str) -> Option<Arc<ReadyHead>> {
        self.endpoint(endpoint)?.lock().ready.clone()
    }

    /// Returns an endpoint's workers, the oldest first; `None` where there is no such endpoint.
    pub fn workers(&self, endpoint: &str) -> Option<Vec<WorkerView>> {
        Some(self.endpoint(endpoint)?.workers())
    }

    /// Returns what a worker printed lately; it is kept a while after the worker's end.
    pub fn worker_log(&self, worker: &str) -> Option<Arc<WorkerLog>> {
        self.shared.logs.get(worker)
    }

    /// Starts a worker of an endpoint that has none, so that it describes itself.
    pub fn warm(&self, endpoint: &str) {
        if let Some(supervisor) = self.endpoint(endpoint) {
            supervisor.warm();
        }
    }

    /// Lets a job be forgotten after `ttl` at the latest.
    pub fn shorten_life(&self, endpoint: &str, job: &str, ttl: Duration) {
        if let Some(supervisor) = self.endpoint(endpoint) {
            let moment = supervisor.now().saturating_add(ttl);
            if self.shared.options.store.shorten_life(endpoint, job, moment).is_ok() {
                supervisor.tick();
            }
        }
    }

    /// Finishes what runs, for `grace` at most, and ends all workers. A second call, while the
    /// first waits, ends them at once. When it returns, no worker process is left.
    pub async fn shutdown(&self, grace: Duration) {
        let mut phase = Shutdown::Finishing;
        self.shared.shutdown.send_modify(|now| {
            phase = if *now == Shutdown::Not { Shutdown::Finishing } else { Shutdown::Killing };
            *now = phase;
        });
        process::drop_spare(&self.shared);
        let supervisors = self.supervisors();
        let mut alive = self.shared.alive.subscribe();
        if phase == Shutdown::Finishing {
            for supervisor in &supervisors {
                supervisor.tick();
            }
            let clock = &self.shared.options.clock;
            let mut killing = self.shared.shutdown.subscribe();
            tokio::select! {
                _ = alive.wait_for(|count| *count == 0) => return,
                () = clock.sleep_until(clock.now().saturating_add(grace)) => {}
                _ = killing.wait_for(|phase| *phase == Shutdown::Killing) => {}
            }
            self.shared.shutdown.send_replace(Shutdown::Killing);
        }
        self.kill_all();
        // A process that cannot be killed (stuck in the kernel) must not keep us.
        let _ = tokio::time::timeout(Duration::from_secs(5), alive.wait_for(|count| *count == 0)).await;
    }

    fn kill_all(&self) {
        for supervisor in self.supervisors() {
            let mut state = supervisor.lock();
            for worker in state.workers.values_mut() {
                worker.switch.kill();
            }
            supervisor.pump(&mut state);
        }
        process::drop_spare(&self.shared);
    }

    fn supervisors(&self) -> Vec<Arc<Supervisor>> {
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.values().chain(removed.iter()).cloned().collect()
    }

    fn endpoint(&self, name: &str) -> Option<Arc<Supervisor>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn known_names(&self) -> Vec<String> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Returns an endpoint, or a report that names those that there are.
    fn known(&self, name: &str) -> Result<Arc<Supervisor>, Box<ErrorReport>> {
        self.endpoint(name).ok_or_else(|| {
            let known: Vec<String> = self.known_names().iter().map(|known| format!("`{known}`")).collect();
            let hint = if known.is_empty() {
                "there are no endpoints".to_owned()
            } else {
                format!("the endpoints here are {}", known.join(", "))
            };
            let text = format!("there is no endpoint `{name}`");
            Box::new(ErrorReport::new(Failure::NotFound, "NotFoundError", text).with_hint(hint))
        })
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shared.shutdown.send_replace(Shutdown::Killing);
        for supervisor in self.supervisors() {
            supervisor.remove();
        }
        self.kill_all();
    }
}
