//! The state of one endpoint; [`super::supervisor`] changes it, always under one lock.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::clock::Moment;
use super::kill::KillSwitch;
use super::polls::Polls;
use super::queue::{Queue, Running, Target};
use super::scaler::{Limits, Load};
use super::spec::{EndpointSpec, Runtime, Scaling};
use super::store::JobStore;
use crate::endpoint::EndpointKind;
use crate::requirements::Interpreter;
use crate::wire::message::{ErrorReport, ReadyHead};
use crate::wire::{Frame, FrameKind};

/// Requests that a worker of a load-balanced endpoint takes at a time. Deployed, its application
/// takes all that come, and `max_concurrency` is not for it: a request that streams or awaits a slow
/// function must not keep others from `/health`. The bound is above what one machine's clients and
/// the application's threads (40) keep busy; what comes beyond it waits here, where it can go to
/// another worker.
const REQUESTS_PER_WORKER: usize = 100;
/// An official worker that was told to stop ends its pauses first; a web server its connections.
const COMMAND_FAREWELL: Duration = Duration::from_secs(7);

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

/// How a worker is reached.
#[derive(Debug)]
pub(super) enum Link {
    /// Our own worker program: frames over a socket pair.
    Frames(mpsc::UnboundedSender<Frame>),
    /// `runpod.serverless.start`: it asks for work, by HTTP.
    Polls(Polls),
    /// A program that listens here.
    Port(SocketAddr),
}

/// One worker process.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: String,
    pub(super) generation: u64,
    pub(super) phase: Phase,
    pub(super) link: Link,
    pub(super) switch: Arc<KillSwitch>,
    pub(super) running: BTreeMap<u64, Running>,
    pub(super) started: Moment,
    /// Since when it is in its phase, or idle.
    pub(super) since: Moment,
    pub(super) ready: Option<Arc<ReadyHead>>,
    /// Why it was killed from here; says more than the signal.
    pub(super) killed_because: Option<String>,
    /// Why it cannot work, as it said or as its silence says.
    pub(super) unhealthy: Option<String>,
}

impl Worker {
    /// Tells it that nobody waits for a call any more.
    pub(super) fn tell_cancelled(&mut self, key: u64) {
        match &mut self.link {
            // One that is gone already will be noticed by its end.
            Link::Frames(frames) => drop(frames.send(Frame::empty(FrameKind::Cancel, key))),
            Link::Polls(polls) => {
                let job = polls.held.get(&key).map(|held| held.job.clone());
                polls.stop_jobs(job);
            }
            Link::Port(_) => {}
        }
    }

    /// Tells it to finish and exit.
    pub(super) fn tell_to_stop(&mut self) {
        match &mut self.link {
            Link::Frames(frames) => drop(frames.send(Frame::empty(FrameKind::Stop, 0))),
            Link::Polls(polls) => {
                // In this order: a request that it sends before it knows would have to be held.
                self.switch.terminate();
                polls.dismiss();
            }
            Link::Port(_) => self.switch.terminate(),
        }
    }

    /// Lets it finish what it holds; it gets nothing more.
    pub(super) fn drain(&mut self) {
        self.phase = Phase::Draining;
        if let Link::Polls(polls) = &mut self.link {
            polls.dismiss();
        }
    }

    /// How much longer than our own worker program it may take to exit.
    pub(super) fn farewell(&self) -> Duration {
        match &self.link {
            Link::Frames(_) => Duration::ZERO,
            Link::Polls(_) | Link::Port(_) => COMMAND_FAREWELL,
        }
    }

    /// Whether a call can be sent to it now.
    fn is_free(&self, capacity: usize) -> bool {
        match &self.link {
            Link::Frames(_) => self.phase == Phase::Ready && self.running.len() < capacity,
            Link::Polls(polls) => self.phase == Phase::Ready && polls.is_asking(),
            Link::Port(_) => false,
        }
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
    /// How the last worker that was a command failed, until one works.
    pub(super) unhealthy: Option<String>,
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
    pub(super) next_worker: u64,
    pub(super) watchers: HashMap<String, Arc<Notify>>,
    pub(super) wake_at: Option<Moment>,
}

impl State {
    pub(super) fn new(spec: EndpointSpec, store: Arc<dyn JobStore>) -> Self {
        let counts = store.counts(&spec.id);
        Self {
            queue: Queue::new(spec.id.clone(), store),
            spec,
            generation: 1,
            interpreter: None,
            workers: BTreeMap::new(),
            ready: None,
            failure: None,
            unhealthy: None,
            crashes: 0,
            start_not_before: Moment::ZERO,
            is_warming: false,
            is_removed: false,
            throttled: 0,
            reported_active: 0,
            completed: counts.completed,
            failed: counts.failed,
            retried: counts.retried,
            next_worker: 1,
            watchers: HashMap::new(),
            wake_at: None,
        }
    }

    pub(super) fn take_key(&mut self) -> u64 {
        self.queue.take_key()
    }

    /// The endpoint's own execution timeout; zero is Runpod's default.
    pub(super) fn set_timeout(&self) -> Option<Duration> {
        self.spec.execution_timeout.filter(|limit| !limit.is_zero())
    }

    /// How long a worker may take to load its code: a command's endpoint can say so (`platform.md` 2.2).
    pub(super) fn init_timeout(&self, default: Duration) -> Duration {
        let own = match self.spec.runtime {
            Runtime::Command(_) => self.spec.env.get("RUNPOD_INIT_TIMEOUT"),
            Runtime::Flash(_) | Runtime::Unavailable { .. } => None,
        };
        own.and_then(|seconds| seconds.parse().ok()).map_or(default, Duration::from_secs)
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
            .filter(|(_, worker)| worker.is_free(capacity))
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
