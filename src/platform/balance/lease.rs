//! Requests that wait for a worker of a load-balanced endpoint, and the places they take on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::affinity::Affinity;
use crate::endpoint::EndpointKind;
use crate::platform::clock::Moment;
use crate::platform::queue::{Work, WorkKind};
use crate::platform::state::{Link, Phase, State, Worker};
use crate::platform::supervisor::{Supervisor, stopping_report};
use crate::wire::message::{ErrorReport, Failure};

/// How long a request waits for the one worker that it wants, as on Runpod.
const AFFINITY_WAIT: Duration = Duration::from_mins(5);
/// Error types of requests that got no worker; clients see them as the reason.
pub(in crate::platform) const NO_WORKERS: &str = "NoWorkersAvailable";
pub(super) const WORKER_GONE: &str = "affinity_worker_gone";
pub(super) const WORKER_TIMEOUT: &str = "worker_timeout";
/// Stopped workers that are remembered, so that a request may want one back.
const REMEMBERED: usize = 64;

/// Where a worker listens that has a place for a request.
#[derive(Debug)]
pub(in crate::platform) struct Granted {
    number: u64,
    address: SocketAddr,
    worker: String,
}

/// A place on a worker, or in the queue for one; given up when dropped.
#[derive(Debug)]
struct Place {
    supervisor: Arc<Supervisor>,
    key: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.supervisor.end_lease(self.key);
    }
}

/// A place on a worker that listens.
#[derive(Debug)]
pub(super) struct Lease {
    _place: Place,
    /// The worker's number.
    pub(super) number: u64,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its ID.
    pub(super) worker: String,
}

impl WorkKind {
    /// Which worker it wants.
    fn affinity(&self) -> &Affinity {
        match self {
            Self::Http { affinity, .. } | Self::Lease { affinity, .. } => affinity,
            Self::Job { .. } | Self::Call { .. } => &Affinity::Any,
        }
    }

    /// When it stops to wait.
    pub(in crate::platform) fn gives_up(&self) -> Option<Moment> {
        match self {
            Self::Http { give_up, .. } | Self::Lease { give_up, .. } => Some(*give_up),
            Self::Job { .. } | Self::Call { .. } => None,
        }
    }
}

impl Supervisor {
    /// When a request that comes now stops to wait.
    pub(in crate::platform) fn patience(&self, affinity: &Affinity) -> Moment {
        let wait = match affinity {
            Affinity::Only { .. } => AFFINITY_WAIT,
            _ => self.shared.options.request_wait,
        };
        self.now().saturating_add(wait)
    }

    /// Waits for a place on a worker that listens.
    pub(super) async fn lease(
        self: &Arc<Self>,
        affinity: Affinity,
        give_up: Moment,
    ) -> Result<Lease, ErrorReport> {
        let (reply, answer) = oneshot::channel();
        let key = self.enqueue(WorkKind::Lease { reply, affinity, give_up });
        let place = Place { supervisor: Arc::clone(self), key };
        match answer.await {
            Ok(Ok(Granted { number, address, worker })) => {
                Ok(Lease { _place: place, number, address, worker })
            }
            Ok(Err(report)) => Err(report),
            Err(_) => Err(stopping_report(&self.name, false)),
        }
    }

    fn end_lease(self: &Arc<Self>, key: u64) {
        let now = self.now();
        let mut state = self.lock();
        if state.queue.remove(|work| work.key == key).is_none()
            && let Some(worker) = state.worker_of(key)
        {
            worker.running.remove(&key);
            worker.since = now;
        }
        self.pump(&mut state);
    }

    /// Answers requests that waited for too long, or for a worker that will not come.
    pub(in crate::platform) fn refuse_requests(&self, state: &mut State, now: Moment) {
        if state.spec.kind != EndpointKind::LoadBalanced || state.queue.is_empty() {
            return;
        }
        let wanted = |work: &Work| match work.kind.affinity() {
            Affinity::Only { worker, resume } => Some((worker.clone(), *resume)),
            _ => None,
        };
        let gone: Vec<String> = state
            .queue
            .iter()
            .filter_map(wanted)
            .filter(|(worker, resume)| {
                state.named(worker).is_none() && !(*resume && state.is_resumable(worker))
            })
            .map(|(worker, _)| worker)
            .collect();
        let is_gone = |work: &Work| wanted(work).is_some_and(|(worker, _)| gone.contains(&worker));
        let is_late = |work: &Work| work.kind.gives_up().is_some_and(|give_up| give_up <= now);
        for work in state.queue.take_calls(|work| is_late(work) || is_gone(work)) {
            let report = match work.kind.affinity() {
                Affinity::Only { worker, .. } if is_gone(&work) => {
                    let text = format!("worker `{worker}` is gone");
                    ErrorReport::new(Failure::NotFound, WORKER_GONE, text)
                }
                Affinity::Only { .. } => {
                    ErrorReport::new(Failure::TimedOut, WORKER_TIMEOUT, "timed out waiting for worker")
                }
                _ => {
                    let text = format!("no workers available for endpoint `{}`", self.name);
                    ErrorReport::new(Failure::TimedOut, NO_WORKERS, text)
                }
            };
            self.fail(state, work, &report);
        }
    }

    /// Starts stopped workers again, and wakes sleeping ones, that requests want back.
    pub(in crate::platform) fn resume_workers(self: &Arc<Self>, state: &mut State, now: Moment) {
        if state.spec.kind != EndpointKind::LoadBalanced || state.is_removed || self.shared.is_shutting_down()
        {
            return;
        }
        let is_wanted = |work: &Work| match work.kind.affinity() {
            Affinity::Only { worker, resume: true } => Some(worker.clone()),
            _ => None,
        };
        let wanted: Vec<String> = state.queue.iter().filter_map(is_wanted).collect();
        for id in wanted {
            if state.named(&id).is_some() || state.is_ending(&id) || !self.can_start(state) {
                continue;
            }
            let is_asleep = |worker: &Worker| worker.id == id && matches!(worker.phase, Phase::Asleep(_));
            let asleep =
                state.workers.iter().find(|(_, worker)| is_asleep(worker)).map(|(number, _)| *number);
            if let Some(worker) = asleep.and_then(|number| state.workers.get_mut(&number)) {
                worker.phase = Phase::Ready;
                worker.since = now;
                worker.switch.thaw();
                continue;
            }
            self.settle(state, now);
            let counts = state.workers.counts();
            let has_room = counts.starting + counts.ready < state.policy().max;
            if let Some(interpreter) = state.interpreter.clone().filter(|_| has_room) {
                state.resumable.retain(|known| *known != id);
                self.start_worker_as(state, id, interpreter, now);
            }
        }
    }

    /// Takes note of what a worker's health check says; `reason` says why it is not well.
    pub(in crate::platform) fn worker_healthy(self: &Arc<Self>, number: u64, reason: Option<String>) {
        let now = self.now();
        let mut state = self.lock();
        let generation = state.generation;
        let Some(worker) = state.workers.get_mut(&number) else { return };
        match (reason, worker.phase) {
            (None, Phase::Starting) => {
                worker.phase = Phase::Ready;
                worker.since = now;
                if worker.generation == generation {
                    state.is_warming = false;
                    state.failure = None;
                    state.crashes = 0;
                }
            }
            (None, _) => worker.ailing = None,
            // It is told apart from one that was well before.
            (Some(_), Phase::Starting | Phase::Asleep(_)) => return,
            (Some(reason), _) => {
                worker.ailing.get_or_insert((now, reason));
            }
        }
        self.pump(&mut state);
    }
}

impl Worker {
    /// Gives a request a place.
    pub(in crate::platform) fn grant(
        &self,
        number: u64,
        reply: oneshot::Sender<Result<Granted, ErrorReport>>,
    ) -> bool {
        let Link::Port(address) = self.link else { return false };
        reply.send(Ok(Granted { number, address, worker: self.id.clone() })).is_ok()
    }
}

impl State {
    /// The next request and the worker that takes it; `any` is free.
    pub(in crate::platform) fn next_assignment(&mut self, any: u64) -> Option<(u64, Work)> {
        let capacity = self.capacity();
        let free = |id: &str| {
            self.named(id).filter(|(_, worker)| worker.is_free(capacity)).map(|(number, _)| number)
        };
        let found = self.queue.iter().find_map(|work| {
            let number = match work.kind.affinity() {
                Affinity::Any => Some(any),
                Affinity::Prefer(worker) => Some(free(worker).unwrap_or(any)),
                Affinity::Only { worker, .. } => free(worker),
            };
            Some((number?, work.key))
        });
        let (number, key) = found?;
        Some((number, self.queue.remove(|work| work.key == key)?))
    }

    /// The worker of this ID that takes work, now or soon.
    fn named(&self, id: &str) -> Option<(u64, &Worker)> {
        let mut present = self.workers.iter().filter(|(_, worker)| {
            worker.generation == self.generation && matches!(worker.phase, Phase::Starting | Phase::Ready)
        });
        present.find(|(_, worker)| worker.id == id).map(|(number, worker)| (*number, worker))
    }

    /// Whether a worker that was stopped for want of work, or sleeps, can be had again.
    fn is_resumable(&self, id: &str) -> bool {
        let is_it = |worker: &Worker| worker.id == id && matches!(worker.phase, Phase::Asleep(_));
        self.resumable.iter().any(|known| known == id)
            || self.workers.values().any(is_it)
            || self.is_ending(id)
    }

    /// Whether a worker was told to stop and has not yet ended: only then can it be started again.
    fn is_ending(&self, id: &str) -> bool {
        let is_it = |worker: &Worker| worker.id == id && matches!(worker.phase, Phase::Stopping(_));
        self.workers.values().any(is_it)
    }

    /// When the next request stops to wait.
    pub(in crate::platform) fn next_give_up(&self) -> Option<Moment> {
        if self.spec.kind != EndpointKind::LoadBalanced {
            return None;
        }
        self.queue.iter().filter_map(|work| work.kind.gives_up()).min()
    }

    /// Remembers a worker that was stopped for want of work.
    pub(in crate::platform) fn remember_stopped(&mut self, worker: &Worker) {
        if self.spec.kind == EndpointKind::LoadBalanced && worker.generation == self.generation {
            self.resumable.push_back(worker.id.clone());
            if self.resumable.len() > REMEMBERED {
                self.resumable.pop_front();
            }
        }
    }
}
