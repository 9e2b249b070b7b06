//! One endpoint: its queue, its workers, and everything that is asked of it.
//!
//! All changes happen under one lock and end in [`Supervisor::pump`], which gives work to workers
//! and makes their number right. Nothing waits while the lock is held.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::client_api::Rates;
use super::clock::Moment;
use super::process::prepare_for_routes;
use super::queue::{Abandoned, Target, Work, WorkKind};
use super::record::Change;
use super::shared::Shared;
use super::spec::EndpointSpec;
use super::state::State;
use crate::endpoint::EndpointKind;
use crate::requirements::{EnvironmentState, HostPython};
use crate::wire::backend::JobView;
use crate::wire::message::{ErrorReport, Failure};

/// An endpoint that is served.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) state: Mutex<State>,
    /// Its number among those that use the machine.
    pub(super) claimant: u64,
    /// Whether it is one of an app's, which come and go together.
    pub(super) is_of_app: bool,
    /// What clients asked of it lately.
    pub(super) rates: Rates,
    wake: Notify,
}

impl Supervisor {
    /// Starts to serve an endpoint; jobs of it that the store holds are queued again.
    pub(super) fn new(spec: EndpointSpec, shared: Arc<Shared>, is_of_app: bool) -> Arc<Self> {
        let name = spec.id.clone();
        if spec.kind == EndpointKind::LoadBalanced {
            prepare_for_routes(&shared);
        }
        let state = State::new(spec, Arc::clone(&shared.options.store));
        let claimant = shared.claims.enter();
        let supervisor = Arc::new(Self {
            name,
            shared,
            state: Mutex::new(state),
            claimant,
            is_of_app,
            rates: Rates::default(),
            wake: Notify::new(),
        });
        let weak = Arc::downgrade(&supervisor);
        supervisor.shared.handle.spawn(keep_time(weak));
        supervisor.pump(&mut supervisor.lock());
        supervisor
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Moment {
        self.shared.options.clock.now()
    }

    /// Does what is due.
    pub(super) fn tick(self: &Arc<Self>) {
        self.pump(&mut self.lock());
    }

    /// Wakes the time keeper: what it waits for has changed.
    pub(super) fn rouse(&self) {
        self.wake.notify_one();
    }

    /// Takes a new specification; another fingerprint makes a new generation.
    pub(super) fn update(self: &Arc<Self>, spec: EndpointSpec) {
        let mut state = self.lock();
        if state.spec.fingerprint != spec.fingerprint {
            self.next_generation(&mut state);
        }
        state.spec = spec;
        self.pump(&mut state);
        self.rouse();
    }

    pub(super) fn next_generation(&self, state: &mut State) {
        state.generation += 1;
        state.is_warming = !state.workers.is_empty();
        state.failure = None;
        state.unhealthy = None;
        state.crashes = 0;
        state.start_not_before = Moment::ZERO;
        tracing::debug!(endpoint = self.name, generation = state.generation, "new generation");
    }

    /// Stops to serve the endpoint: what waits is cancelled, what runs is finished.
    pub(super) fn remove(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_removed = true;
        self.pump(&mut state);
    }

    /// Starts a worker if there is none, so that the endpoint describes itself.
    pub(super) fn warm(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_warming = state.ready.is_none();
        self.pump(&mut state);
    }

    /// Puts work in the queue, unless it has no future.
    pub(super) fn enqueue(self: &Arc<Self>, kind: WorkKind) -> u64 {
        let mut state = self.lock();
        let key = state.take_key();
        state.queue.push_back(Work { key, since: self.now(), kind });
        self.pump(&mut state);
        key
    }

    /// Nobody waits for this call any more.
    pub(super) fn abandon(self: &Arc<Self>, key: u64) {
        let mut state = self.lock();
        if state.queue.remove(|work| work.key == key).is_none() {
            self.release(&mut state, key, false);
        }
        self.pump(&mut state);
    }

    /// Tells the worker that nobody waits for a call; it is killed if it goes on for too long.
    pub(super) fn release(&self, state: &mut State, key: u64, is_timeout: bool) {
        let Some(worker) = state.worker_of(key) else { return };
        let now = self.now();
        let kill_at = now + self.shared.options.cancel_grace + worker.farewell();
        if let Some(running) = worker.running.get_mut(&key)
            && running.abandoned.is_none()
        {
            running.abandoned = Some(Abandoned { kill_at, is_timeout });
            running.deadline = None;
            running.target = Target::Nobody;
            worker.tell_cancelled(key, now);
        }
    }

    /// Cancels a job.
    pub(super) fn cancel(self: &Arc<Self>, job: &str) -> Option<JobView> {
        let mut state = self.lock();
        if self.change_job(&mut state, job, Change::Cancelled) {
            if state.queue.remove_job(job).is_none()
                && let Some(key) = state.key_of_job(job)
            {
                self.release(&mut state, key, false);
            }
            self.pump(&mut state);
        }
        self.view(&state, job)
    }

    /// Lets a job that failed or timed out run again.
    pub(super) fn retry(self: &Arc<Self>, job: &str) -> Result<Option<JobView>, Box<ErrorReport>> {
        let mut state = self.lock();
        let Some(before) = self.view(&state, job) else { return Ok(None) };
        if state.is_removed || self.shared.is_shutting_down() {
            return Err(Box::new(stopping_report(&self.name, state.is_removed)));
        }
        if !self.change_job(&mut state, job, Change::Retried) {
            let text = format!("job `{job}` is {}: only a failed one can run again", before.status.as_str());
            return Err(Box::new(ErrorReport::new(Failure::InvalidInput, "", text)));
        }
        let low_priority = self
            .shared
            .options
            .store
            .look(&self.name, job)
            .is_ok_and(|job| job.is_some_and(|job| job.request.low_priority));
        let key = state.take_key();
        let kind = WorkKind::Job { id: job.to_owned(), low_priority };
        state.queue.push_back(Work { key, since: self.now(), kind });
        self.pump(&mut state);
        Ok(self.view(&state, job))
    }

    /// Cancels all waiting jobs; returns how many there were.
    pub(super) fn purge(self: &Arc<Self>) -> u64 {
        let mut state = self.lock();
        let ended = self.end_waiting(&mut state, &Change::Cancelled);
        self.pump(&mut state);
        ended
    }

    /// Applies a change to all waiting jobs and takes them out of the queue.
    pub(super) fn end_waiting(&self, state: &mut State, change: &Change) -> u64 {
        let ended = match self.shared.options.store.end_waiting(&self.name, change, self.now()) {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(endpoint = self.name, %error, "waiting jobs could not be ended");
                0
            }
        };
        if matches!(change, Change::Failed(..) | Change::TimedOut(_)) {
            state.failed += ended;
        }
        state.queue.clear_jobs();
        // Those who watch a job that goes on look at it and wait again.
        for (_, watcher) in state.watchers.drain() {
            watcher.notify_waiters();
        }
        ended
    }

    /// Returns the jobs that were accepted last, the newest first.
    pub(super) fn recent(&self, most: usize) -> Vec<JobView> {
        let jobs = self.shared.options.store.recent(&self.name, most).unwrap_or_else(|error| {
            tracing::error!(endpoint = self.name, %error, "the job store failed");
            Vec::new()
        });
        // Outputs may be large, and not all stores read them here.
        jobs.iter().map(|job| JobView { output: None, ..job.view() }).collect()
    }

    /// Completes once every change made so far is stored; nothing may be told to a client or a
    /// worker before.
    pub(super) async fn settled(&self) {
        self.shared.options.store.settled().await;
    }

    /// Applies a change to a job and tells those who wait for it. A change that its state does
    /// not allow (a late answer) is dropped; returns whether it was applied.
    pub(super) fn change_job(&self, state: &mut State, job: &str, change: Change) -> bool {
        let now = self.now();
        match self.shared.options.store.change(&self.name, job, change, now) {
            Ok(record) => {
                match record.status {
                    crate::endpoint::JobStatus::Completed => state.completed += 1,
                    crate::endpoint::JobStatus::Failed | crate::endpoint::JobStatus::TimedOut => {
                        state.failed += 1;
                    }
                    _ => {}
                }
                Self::tell(state, job, record.status.is_terminal());
                true
            }
            Err(error) => {
                tracing::debug!(endpoint = self.name, %error, "change refused");
                false
            }
        }
    }

    /// Wakes those who watch a job.
    pub(super) fn tell(state: &mut State, job: &str, is_final: bool) {
        if let Some(watcher) = state.watchers.get(job) {
            watcher.notify_waiters();
        }
        if is_final {
            state.watchers.remove(job);
        }
    }

    /// Returns a job as a client sees it.
    pub(super) fn view(&self, state: &State, job: &str) -> Option<JobView> {
        let mut view = match self.shared.options.store.look(&self.name, job) {
            Ok(record) => record?.view(),
            Err(error) => {
                tracing::error!(endpoint = self.name, %error, "the job store failed");
                return None;
            }
        };
        if view.status == crate::endpoint::JobStatus::InQueue {
            view.waiting_for = waiting_for(state, &self.shared.options.host);
        }
        Some(view)
    }

    /// Adds to a job that waits why it does.
    pub(super) fn waiting(&self, mut job: JobView) -> JobView {
        job.waiting_for = waiting_for(&self.lock(), &self.shared.options.host);
        job
    }

    /// Returns a job as it is now.
    pub(super) fn status(&self, job: &str) -> Option<JobView> {
        self.view(&self.lock(), job)
    }

    /// Returns a job and, where it is not finished, a future that completes with its next change.
    pub(super) fn watch(&self, job: &str) -> Option<(JobView, Option<tokio::sync::futures::OwnedNotified>)> {
        let mut state = self.lock();
        let view = self.view(&state, job)?;
        if view.status.is_terminal() {
            return Some((view, None));
        }
        let watcher = state.watchers.entry(job.to_owned()).or_default();
        let changed = Arc::clone(watcher).notified_owned();
        Some((view, Some(changed)))
    }
}

/// Says why a job waits.
fn waiting_for(state: &State, host: &HostPython) -> Option<String> {
    let starting = state.workers.counts().starting;
    match state.spec.environment(host) {
        EnvironmentState::Preparing { message } => Some(message),
        _ if state.spec.workers.max == 0 => Some("the endpoint may have no workers (max is 0)".to_owned()),
        _ if state.unhealthy.is_some() => state.unhealthy.clone(),
        _ if starting > 0 => Some("a worker is starting".to_owned()),
        _ if state.unhealthy.is_some() => {
            state.unhealthy.as_ref().map(|reason| format!("its workers fail and are tried again: {reason}"))
        }
        _ if state.throttled > 0 => Some("the machine bears no further worker".to_owned()),
        _ => None,
    }
}

/// The report for what is not taken any more.
pub(super) fn stopping_report(name: &str, is_removed: bool) -> ErrorReport {
    let text = if is_removed {
        format!("endpoint `{name}` was removed")
    } else {
        "Runpod on this machine is shutting down".to_owned()
    };
    ErrorReport::new(Failure::Cancelled, "CancelledError", text)
}

/// Ticks when time, the environment or the machine's capacity ask for it.
async fn keep_time(weak: Weak<Supervisor>) {
    let mut is_due = false;
    loop {
        let Some(supervisor) = weak.upgrade() else { return };
        let shared = Arc::clone(&supervisor.shared);
        // Before the tick: what happens from now on is heard.
        let capacity = shared.capacity.notified();
        if is_due {
            supervisor.tick();
        }
        let (wake_at, environment) = {
            let state = supervisor.lock();
            if state.is_removed && state.workers.is_empty() {
                return;
            }
            (state.wake_at, state.spec.flash().map(|flash| flash.environment.clone()))
        };
        let roused = supervisor.wake.notified();
        let time = async {
            match wake_at {
                Some(moment) => shared.options.clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let installed = async {
            if let Some(mut environment) = environment
                && environment.changed().await.is_ok()
            {
                return;
            }
            std::future::pending::<()>().await;
        };
        is_due = tokio::select! {
            () = time => true,
            () = roused => false,
            () = capacity => true,
            () = installed => true,
        };
    }
}
