//! The state of one endpoint; [`super::supervisor`] changes it, always under one lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::clock::Moment;
use super::kill::KillSwitch;
use super::queue::{Queue, Running, Target};
use super::scaler::{Limits, Load};
use super::spec::{EndpointSpec, Scaling};
use crate::endpoint::EndpointKind;
use crate::requirements::Interpreter;
use crate::wire::Frame;
use crate::wire::message::{ErrorReport, ReadyHead};

/// Requests that a worker of a load-balanced endpoint takes at a time. Deployed, its application
/// takes all that come, and `max_concurrency` is not for it: a request that streams or awaits a slow
/// function must not keep others from `/health`. The bound is above what one machine's clients and
/// the application's threads (40) keep busy; what comes beyond it waits here, where it can go to
/// another worker.
const REQUESTS_PER_WORKER: usize = 100;

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Being started, or loading its code.
    Starting,
    /// Takes work.
    Ready,
    /// Finishes what it holds, then stops.
    Draining,
    /// Was told to stop; killed at this moment.
    Stopping(Moment),
    /// Was killed, or reported that it cannot load.
    Lost,
}

/// One worker process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: String,
    pub(super) generation: u64,
    pub(super) phase: Phase,
    pub(super) frames: mpsc::UnboundedSender<Frame>,
    pub(super) switch: Arc<KillSwitch>,
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) started: Moment,
    /// Since when it is in its phase, or idle.
    pub(super) since: Moment,
    pub(super) ready: Option<Arc<ReadyHead>>,
    /// Why it was killed from here; says more than the signal.
    pub(super) killed_because: Option<String>,
}

impl Worker {
    /// Sends a frame; one that is gone already will be noticed by its end.
    pub(super) fn send(&self, frame: Frame) {
        let _ = self.frames.send(frame);
    }
}

/// A failure to load, remembered so that calls are answered at once.
#[derive(Debug)]
pub(super) struct LoadFailure {
    pub(super) report: ErrorReport,
    pub(super) retry_at: Moment,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) spec: EndpointSpec,
    pub(super) generation: u64,
    pub(super) interpreter: Option<Interpreter>,
    pub(super) queue: Queue,
    pub(super) workers: BTreeMap<u64, Worker>,
    pub(super) ready: Option<Arc<ReadyHead>>,
    pub(super) failure: Option<LoadFailure>,
    /// Workers that died in a row without an answer between.
    pub(super) crashes: u32,
    pub(super) start_not_before: Moment,
    /// A worker is wanted although nothing waits: after a reload, or to describe itself.
    pub(super) is_warming: bool,
    pub(super) is_removed: bool,
    pub(super) throttled: usize,
    /// Workers that it counts as active in what all endpoints share.
    pub(super) reported_active: usize,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) retried: u64,
    pub(super) next_key: u64,
    pub(super) next_worker: u64,
    pub(super) watchers: HashMap<String, Arc<Notify>>,
    pub(super) wake_at: Option<Moment>,
}

impl State {
    pub(super) fn new(spec: EndpointSpec) -> Self {
        Self {
            spec,
            generation: 1,
            interpreter: None,
            queue: Queue::default(),
            workers: BTreeMap::new(),
            ready: None,
            failure: None,
            crashes: 0,
            start_not_before: Moment::ZERO,
            is_warming: false,
            is_removed: false,
            throttled: 0,
            reported_active: 0,
            completed: 0,
            failed: 0,
            retried: 0,
            next_key: 1,
            next_worker: 1,
            watchers: HashMap::new(),
            wake_at: None,
        }
    }

    pub(super) fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }

    /// Calls that one worker takes at a time.
    pub(super) fn capacity(&self) -> usize {
        if self.spec.kind == EndpointKind::LoadBalanced {
            return REQUESTS_PER_WORKER;
        }
        let calls = self.spec.flash().map_or(1, |flash| flash.max_concurrency);
        usize::try_from(calls).unwrap_or(1).max(1)
    }

    pub(super) fn limits(&self) -> Limits {
        let scale_at = match self.spec.scaling {
            Scaling::RequestCount(calls) => usize::try_from(calls).unwrap_or(usize::MAX),
            Scaling::QueueDelay(_) => self.capacity(),
        };
        let per_worker = match self.spec.kind {
            EndpointKind::LoadBalanced => scale_at.min(REQUESTS_PER_WORKER),
            _ => scale_at,
        };
        Limits {
            min: usize::try_from(self.spec.workers.min).unwrap_or(usize::MAX),
            max: usize::try_from(self.spec.workers.max).unwrap_or(usize::MAX),
            per_worker,
        }
    }

    /// What there is to do for workers of this generation.
    pub(super) fn load(&self) -> Load {
        let running = self.present().map(|(_, worker)| worker.running.len()).sum();
        Load { queued: self.queue.asking(), running }
    }

    /// Workers of this generation that take work, now or soon.
    pub(super) fn present(&self) -> impl Iterator<Item = (&u64, &Worker)> {
        self.workers.iter().filter(|(_, worker)| {
            worker.generation == self.generation && matches!(worker.phase, Phase::Starting | Phase::Ready)
        })
    }

    /// Workers that use a core: all but those that wait for work.
    pub(super) fn active(&self) -> usize {
        let is_active =
            |worker: &&Worker| !worker.running.is_empty() || matches!(worker.phase, Phase::Starting);
        self.workers.values().filter(is_active).count()
    }

    /// The ready worker of this generation with a free place and the least to do.
    pub(super) fn free_worker(&self) -> Option<u64> {
        let capacity = self.capacity();
        self.present()
            .filter(|(_, worker)| worker.phase == Phase::Ready && worker.running.len() < capacity)
            .min_by_key(|(number, worker)| (worker.running.len(), **number))
            .map(|(number, _)| *number)
    }

    /// The worker that runs a call.
    pub(super) fn worker_of(&mut self, key: u64) -> Option<&mut Worker> {
        self.workers.values_mut().find(|worker| worker.running.contains_key(&key))
    }

    /// The call that runs a job.
    pub(super) fn key_of_job(&self, job: &str) -> Option<u64> {
        let is_it = |running: &Running| matches!(&running.target, Target::Job { id, .. } if id == job);
        self.workers
            .values()
            .flat_map(|worker| &worker.running)
            .find(|(_, running)| is_it(running))
            .map(|(key, _)| *key)
    }
}
