//! What is said about an endpoint's workers: the counters of `/health` and the list of workers.

use super::clock::Moment;
use super::spec::Runtime;
use super::state::{Phase, State, Worker};
use super::supervisor::Supervisor;
use crate::wire::backend::Health;

/// State of a worker, as Runpod's list of workers names it (`platform.md` 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerStatus {
    /// Starts, or loads its code.
    Initializing,
    /// Waits for work.
    Idle,
    /// Holds work.
    Running,
    /// Sleeps after its idle timeout, to be resumed at the next need.
    Asleep,
    /// Is wanted, and the machine has no room for it.
    Throttled,
    /// Crashed or cannot load; another is started after a pause.
    Unhealthy,
    /// Is told to stop.
    Stopping,
}

/// One worker of an endpoint as management shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Worker ID. One that is throttled has no process; its ID says so.
    pub id: String,
    /// State.
    pub status: WorkerStatus,
    /// Whether it serves an older version of the endpoint.
    pub is_stale: bool,
    /// When it was started; `None` for one that has no process.
    pub started: Option<Moment>,
    /// Why it is in its state, where there is more to say.
    pub reason: Option<String>,
}

impl Worker {
    /// Returns its state as others see it.
    pub(super) fn status(&self) -> WorkerStatus {
        match self.phase {
            _ if self.unhealthy.is_some() => WorkerStatus::Unhealthy,
            Phase::Starting => WorkerStatus::Initializing,
            Phase::Ready if self.ailing.is_some() => WorkerStatus::Unhealthy,
            Phase::Ready | Phase::Draining if !self.running.is_empty() => WorkerStatus::Running,
            Phase::Ready => WorkerStatus::Idle,
            Phase::Asleep(_) => WorkerStatus::Asleep,
            Phase::Draining | Phase::Stopping(_) => WorkerStatus::Stopping,
            Phase::Lost => WorkerStatus::Unhealthy,
        }
    }
}

impl State {
    /// Returns why the endpoint is without workers although some are wanted.
    pub(super) fn trouble(&self) -> Option<&str> {
        if let Runtime::Unavailable { reason } = &self.spec.runtime {
            return Some(reason);
        }
        let failure = self.failure.as_ref().map(|failure| failure.report.message.as_str());
        failure.or(self.unhealthy.as_deref())
    }

    /// Returns the workers as management lists them, the oldest first.
    pub(super) fn worker_views(&self) -> Vec<WorkerView> {
        let living = self.workers.values().map(|worker| WorkerView {
            id: worker.id.clone(),
            status: worker.status(),
            is_stale: worker.generation != self.generation,
            started: Some(worker.started),
            reason: worker
                .unhealthy
                .clone()
                .or_else(|| worker.killed_because.clone())
                .or_else(|| worker.ailing.as_ref().map(|(_, reason)| reason.clone())),
        });
        let failed = self.trouble().map(|reason| WorkerView {
            id: "unhealthy".to_owned(),
            status: WorkerStatus::Unhealthy,
            is_stale: false,
            started: None,
            reason: Some(reason.to_owned()),
        });
        let throttled = (1..=self.throttled).map(|number| WorkerView {
            id: format!("throttled-{number}"),
            status: WorkerStatus::Throttled,
            is_stale: false,
            started: None,
            reason: Some("the machine bears no further worker".to_owned()),
        });
        living.chain(failed).chain(throttled).collect()
    }
}

impl Supervisor {
    /// Counts jobs and workers by state (`platform.md` 1.7).
    pub(super) fn health(&self) -> Health {
        let state = self.lock();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let workers = |is_it: &dyn Fn(&Worker) -> bool| {
            count(state.workers.values().filter(|worker| is_it(worker)).count())
        };
        let in_progress = state
            .workers
            .values()
            .flat_map(|worker| worker.running.values())
            .filter(|running| running.abandoned.is_none())
            .count();
        Health {
            completed: state.completed,
            failed: state.failed,
            in_progress: count(in_progress),
            in_queue: count(state.queue.len()),
            retried: state.retried,
            workers_idle: workers(&|worker| worker.status() == WorkerStatus::Idle),
            workers_initializing: workers(&|worker| worker.status() == WorkerStatus::Initializing),
            workers_running: workers(&|worker| !worker.running.is_empty()),
            workers_throttled: count(state.throttled),
            workers_unhealthy: workers(&|worker| worker.status() == WorkerStatus::Unhealthy)
                .max(u64::from(state.trouble().is_some())),
        }
    }

    /// Returns its workers.
    pub(super) fn workers(&self) -> Vec<WorkerView> {
        self.lock().worker_views()
    }
}
