//! The state of one endpoint; [`super::supervisor`] changes it, always under one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::clock::Moment;
use super::kill::KillSwitch;
use super::polling::SILENCE;
use super::polls::Polls;
use super::queue::{Queue, Running, Target};
use super::scaler::{Observation, Policy};
use super::spec::{EndpointSpec, Scaling};
use super::store::JobStore;
use super::workers::{Terms, Workers};
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
    /// Was stopped by signal while it was idle, to be resumed at the next need; killed at this moment
    /// at the latest.
    Asleep(Moment),
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
    /// Since when its health check has failed, and how.
    pub(super) ailing: Option<(Moment, String)>,
    /// Why it was killed from here; says more than the signal.
    pub(super) killed_because: Option<String>,
    /// Why it cannot work, as it said or as its silence says.
    pub(super) unhealthy: Option<String>,
}

impl Worker {
    /// Tells it that nobody waits for a call any more.
    pub(super) fn tell_cancelled(&mut self, key: u64, now: Moment) {
        match &mut self.link {
            // One that is gone already will be noticed by its end.
            Link::Frames(frames) => drop(frames.send(Frame::empty(FrameKind::Cancel, key))),
            Link::Polls(polls) => {
                polls.stop_call(key, now);
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

    /// Whether it can be stopped by signal while it is idle, and go on later as if nothing had been.
    pub(super) fn can_sleep(&self) -> bool {
        match &self.link {
            Link::Frames(_) | Link::Polls(_) => true,
            // Its health is asked for all the time.
            Link::Port(_) => false,
        }
    }

    /// Whether a call can be sent to it now.
    pub(super) fn is_free(&self, capacity: usize) -> bool {
        match &self.link {
            Link::Frames(_) | Link::Port(_) => {
                self.phase == Phase::Ready && self.ailing.is_none() && self.running.len() < capacity
            }
            Link::Polls(polls) => self.phase == Phase::Ready && polls.is_asking(),
        }
    }

    /// When something about it is due.
    pub(super) fn moments(&self, init_timeout: Duration) -> impl Iterator<Item = Moment> {
        let phase = match self.phase {
            Phase::Starting => Some(self.since.saturating_add(init_timeout)),
            Phase::Stopping(moment) | Phase::Asleep(moment) => Some(moment),
            Phase::Ready | Phase::Draining | Phase::Lost => None,
        };
        let calls = self.running.values().flat_map(|running| {
            [running.deadline, running.abandoned.map(|abandoned| abandoned.kill_at)].into_iter().flatten()
        });
        let ailing = self.ailing.as_ref().map(|(since, _)| since.saturating_add(init_timeout));
        let silence = match &self.link {
            Link::Polls(polls) => polls
                .held
                .values()
                .flat_map(|held| [Some(held.seen + SILENCE), held.repeat_stop])
                .flatten()
                .min(),
            Link::Frames(_) | Link::Port(_) => None,
        };
        phase.into_iter().chain(ailing).chain(calls).chain(silence)
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
    pub(super) workers: Workers,
    pub(super) ready: Option<Arc<ReadyHead>>,
    pub(super) failure: Option<LoadFailure>,
    /// Why its workers fail again and again, until one is ready.
    pub(super) unhealthy: Option<String>,
    /// Workers that died in a row without an answer between.
    pub(super) crashes: u32,
    pub(super) start_not_before: Moment,
    /// When workers were added last because calls waited for too long.
    pub(super) grown: Option<Moment>,
    /// When free memory was looked at last for workers that sleep.
    pub(super) memory_checked: Moment,
    /// When the scaler wants to be asked again.
    pub(super) look_again: Option<Moment>,
    /// A worker is wanted although nothing waits: after a reload, or to describe itself.
    pub(super) is_warming: bool,
    pub(super) is_removed: bool,
    pub(super) throttled: usize,
    /// Workers that were stopped for want of work, the latest last.
    pub(super) resumable: VecDeque<String>,
    /// Idle workers that get no work while others wait for the machine.
    pub(super) held_back: usize,
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
            workers: Workers::default(),
            ready: None,
            failure: None,
            unhealthy: None,
            crashes: 0,
            start_not_before: Moment::ZERO,
            grown: None,
            look_again: None,
            memory_checked: Moment::ZERO,
            is_warming: false,
            is_removed: false,
            throttled: 0,
            resumable: VecDeque::new(),
            held_back: 0,
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

    /// Calls that one worker takes at a time.
    pub(super) fn capacity(&self) -> usize {
        if self.spec.kind == EndpointKind::LoadBalanced {
            return REQUESTS_PER_WORKER;
        }
        let calls = self.spec.flash().map_or(1, |flash| flash.max_concurrency);
        usize::try_from(calls).unwrap_or(1).max(1)
    }

    /// What its settings ask of the scaler.
    pub(super) fn policy(&self) -> Policy {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let scaling = match self.spec.scaling {
            // A worker takes no more requests than that, so no more can be meant for one.
            Scaling::RequestCount(calls) if self.spec.kind == EndpointKind::LoadBalanced => {
                Scaling::RequestCount(calls.min(u32::try_from(REQUESTS_PER_WORKER).unwrap_or(u32::MAX)))
            }
            scaling => scaling,
        };
        Policy {
            min: count(self.spec.workers.min),
            max: count(self.spec.workers.max),
            capacity: self.capacity(),
            scaling,
        }
    }

    /// Brings the index of its workers up to date.
    pub(super) fn settle(&mut self, now: Moment, init_timeout: Duration) {
        let terms = Terms {
            generation: self.generation,
            capacity: self.capacity(),
            idle_timeout: self.spec.idle_timeout,
            init_timeout: self.init_timeout(init_timeout),
        };
        self.workers.settle(terms, now);
    }

    /// How long a worker may take to load: the endpoint's `RUNPOD_INIT_TIMEOUT`, in seconds, else
    /// what holds for all (`platform.md` 4.1).
    pub(super) fn init_timeout(&self, general: Duration) -> Duration {
        let own = self.spec.env.get("RUNPOD_INIT_TIMEOUT").and_then(|text| text.trim().parse::<u64>().ok());
        own.filter(|seconds| *seconds > 0).map_or(general, Duration::from_secs)
    }

    /// What the scaler sees; after [`State::settle`].
    pub(super) fn observe(&self, now: Moment) -> Observation {
        let counts = self.workers.counts();
        let idle = self.workers.idle();
        Observation {
            now,
            asking: self.queue.asking(),
            oldest: self.queue.oldest_asking(),
            running: counts.running,
            starting: counts.starting,
            ready: counts.ready,
            idle: idle.len(),
            rested: idle.rested(),
            next_rested: idle.next_rested(self.spec.idle_timeout),
            grown: self.grown,
        }
    }

    /// The worker that runs a call.
    pub(super) fn worker_of(&mut self, key: u64) -> Option<&mut Worker> {
        let number = self.workers.find(|worker| worker.running.contains_key(&key))?;
        self.workers.get_mut(&number)
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
