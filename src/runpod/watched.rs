//! What is known of an endpoint's jobs in this process: those that are waited for, those that are
//! to be cancelled, and when they were submitted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use super::error::RunpodError;
use super::job::{CallOptions, JobState, Status};
use super::unhealthy::Looks;

/// Requests to cancel jobs of one endpoint at once (`platform.md` 1.11).
const CANCELLING: usize = 20;
/// How many submissions are remembered at least before old ones are forgotten, and at most.
const REMEMBERED: usize = 1024;
const MOST_REMEMBERED: usize = 8 * REMEMBERED;

/// How long it may matter when a job was submitted.
const YOUNG: Duration = Duration::from_mins(1);

/// A job that somebody waits for.
pub(super) struct Watch {
    pub(super) job: String,
    pub(super) options: CallOptions,
    /// When it was submitted, where that is known.
    pub(super) since: Option<Instant>,
    pub(super) reply: oneshot::Sender<Result<JobState, RunpodError>>,
    /// What the last look at it brought, for whoever stops waiting meanwhile.
    pub(super) seen: std::sync::Arc<Mutex<LastSeen>>,
}

/// What is known of a job that has not ended.
#[derive(Default)]
pub(super) struct LastSeen {
    pub(super) status: Option<Status>,
    /// Why the last look brought nothing.
    pub(super) trouble: Option<String>,
}

/// What is known of an endpoint.
pub(super) struct Watched {
    state: Mutex<State>,
    /// Told of each arrival.
    pub(super) arrived: Notify,
    /// Who holds one sends a request to cancel.
    pub(super) cancelling: Semaphore,
    /// What was seen of its workers.
    pub(super) looks: Looks,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            cancelling: Semaphore::new(CANCELLING),
            looks: Looks::default(),
        }
    }
}

#[derive(Default)]
struct State {
    arrivals: Vec<Watch>,
    is_watching: bool,
    unwanted: Vec<String>,
    is_cancelling: bool,
    submitted: HashMap<String, Instant>,
    /// With how many of them old ones are forgotten.
    forget_from: usize,
    has_no_sync: bool,
}

/// A task of an endpoint that must be started anew when it has ended, however it ended.
pub(super) struct Duty<'a> {
    watched: &'a Watched,
    is_watching: bool,
    is_done: bool,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers when a job was submitted.
    pub(super) fn note(&self, job: &str) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.submitted.len() >= state.forget_from.max(REMEMBERED) {
            state.submitted.retain(|_, when| now.duration_since(*when) < YOUNG);
            if state.submitted.len() >= MOST_REMEMBERED {
                state.submitted.clear();
            }
            // Twice as many as are left: forgetting costs each submission little.
            state.forget_from = state.submitted.len() * 2;
        }
        state.submitted.insert(job.to_owned(), now);
    }

    /// Returns when a job was submitted, if that was lately.
    pub(super) fn submitted(&self, job: &str) -> Option<Instant> {
        self.lock().submitted.get(job).copied()
    }

    /// Whether nothing is waited for, cancelled or young.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        let is_at_rest = !state.is_watching && !state.is_cancelling && state.unwanted.is_empty();
        is_at_rest && state.submitted.values().all(|when| when.elapsed() > YOUNG)
    }

    /// Whether a job was submitted so lately.
    pub(super) fn is_young(&self, job: &str, young: Duration) -> bool {
        self.submitted(job).is_some_and(|when| when.elapsed() < young)
    }

    /// Adds a job that is waited for; returns whether a task must be started that looks at it.
    pub(super) fn add(&self, watch: Watch) -> bool {
        let must_start = {
            let mut state = self.lock();
            state.arrivals.push(watch);
            !std::mem::replace(&mut state.is_watching, true)
        };
        self.arrived.notify_one();
        must_start
    }

    /// Takes what arrived; `is_idle` says that nothing else is looked at: with no arrival, the task
    /// ends then.
    pub(super) fn take(&self, duty: &mut Duty<'_>, is_idle: bool) -> Vec<Watch> {
        let mut state = self.lock();
        let arrivals = std::mem::take(&mut state.arrivals);
        if is_idle && arrivals.is_empty() {
            state.is_watching = false;
            duty.is_done = true;
        }
        arrivals
    }

    /// Adds a job that nobody wants any more; returns whether a task must be started that cancels.
    pub(super) fn discard(&self, job: String) -> bool {
        let mut state = self.lock();
        state.unwanted.push(job);
        !std::mem::replace(&mut state.is_cancelling, true)
    }

    /// Takes up to `most` jobs that nobody wants; without any, the task ends then unless it
    /// `is_busy`.
    pub(super) fn take_unwanted(&self, duty: &mut Duty<'_>, most: usize, is_busy: bool) -> Vec<String> {
        let mut state = self.lock();
        let from = state.unwanted.len().saturating_sub(most);
        let jobs = state.unwanted.split_off(from);
        if jobs.is_empty() && !is_busy && most > 0 {
            state.is_cancelling = false;
            duty.is_done = true;
        }
        jobs
    }

    /// Whether `/status-sync` is worth a try.
    pub(super) fn has_sync(&self) -> bool {
        !self.lock().has_no_sync
    }

    /// Remembers that there is no `/status-sync`.
    pub(super) fn set_no_sync(&self) {
        self.lock().has_no_sync = true;
    }

    /// Begins the task that looks at jobs, or the one that cancels.
    pub(super) fn duty(&self, is_watching: bool) -> Duty<'_> {
        Duty { watched: self, is_watching, is_done: false }
    }
}

impl Duty<'_> {
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }
}

impl Drop for Duty<'_> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // The runtime ends: whoever waits learns it by the end of the channel.
        let mut state = self.watched.lock();
        if self.is_watching {
            state.is_watching = false;
            state.arrivals.clear();
        } else {
            state.is_cancelling = false;
            state.unwanted.clear();
        }
    }
}
