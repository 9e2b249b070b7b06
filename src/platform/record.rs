//! A job as it is stored, and the changes that can happen to it.

use std::time::Duration;

use bytes::Bytes;

use super::clock::Moment;
use crate::endpoint::JobStatus;
use crate::endpoint::job::JobEvent;
use crate::wire::backend::{JobRequest, JobView};
use crate::wire::message::ErrorReport;

/// How long the result of a `/run` job is kept.
pub const RETENTION: Duration = Duration::from_mins(30);
/// How long the result of a `/runsync` job is kept.
pub const RETENTION_SYNC: Duration = Duration::from_mins(1);
/// How long a job lives from its submission on when its policy says nothing.
pub const DEFAULT_TTL: Duration = Duration::from_hours(24);

/// A stored job.
#[derive(Debug, Clone)]
pub struct JobRecord {
    /// Job ID.
    pub id: String,
    /// Endpoint.
    pub endpoint: String,
    /// What the client sent.
    pub request: JobRequest,
    /// State.
    pub status: JobStatus,
    /// When it was accepted.
    pub accepted: Moment,
    /// When a worker took it last.
    pub started: Option<Moment>,
    /// When it reached a terminal state.
    pub finished: Option<Moment>,
    /// Worker that took it last.
    pub worker: Option<String>,
    /// JSON text of the output, or of the last progress update.
    pub output: Option<Bytes>,
    /// The failure.
    pub error: Option<ErrorReport>,
    /// How often it went back to the queue because its worker was lost.
    pub retries: u32,
    /// When it is forgotten.
    pub expires: Moment,
}

/// Something that happens to a job.
#[derive(Debug, Clone)]
pub enum Change {
    /// A worker took it.
    Started {
        /// Worker ID.
        worker: String,
    },
    /// Its worker was lost; it waits again.
    Requeued,
    /// It did not reach the worker that was to have it; it waits again as if never taken.
    HandedBack,
    /// A progress update (JSON).
    Progress(Bytes),
    /// It finished; without an output when this is empty.
    Completed(Bytes),
    /// It failed, perhaps with an output beside the error.
    Failed(Box<ErrorReport>, Option<Bytes>),
    /// It ran too long.
    TimedOut(Box<ErrorReport>),
    /// A client cancelled it, its queue was purged, or its endpoint went away.
    Cancelled,
    /// A client asked for it to run again: same ID and input, the result is dropped.
    Retried,
}

impl Change {
    /// Returns the event that it is in the table of transitions; progress is none.
    pub fn event(&self) -> Option<JobEvent> {
        Some(match self {
            Self::Started { .. } => JobEvent::Taken,
            Self::Requeued | Self::HandedBack => JobEvent::Returned,
            Self::Progress(_) => return None,
            Self::Completed(_) => JobEvent::Succeeded,
            Self::Failed(..) => JobEvent::Failed,
            Self::TimedOut(_) => JobEvent::TimedOut,
            Self::Cancelled => JobEvent::Cancelled,
            Self::Retried => JobEvent::Retried,
        })
    }
}

/// Makes an ID for a job (`platform.md` 1.2). IDs rise with time, so that the newest jobs are
/// neighbours in the store's index of them, however many there are.
pub fn new_id(sync: bool) -> String {
    let prefix = if sync { "sync-" } else { "" };
    format!("{prefix}{}-u1", uuid::Uuid::now_v7())
}

impl JobRecord {
    /// A new job in the queue.
    pub fn new(id: String, endpoint: String, request: JobRequest, now: Moment) -> Self {
        let expires = now + request.ttl.unwrap_or(DEFAULT_TTL);
        Self {
            id,
            endpoint,
            request,
            status: JobStatus::InQueue,
            accepted: now,
            started: None,
            finished: None,
            worker: None,
            output: None,
            error: None,
            retries: 0,
            expires,
        }
    }

    /// Applies a change; a change that the state does not allow leaves the job as it is and
    /// returns `false`. Terminal states are final, so a late result cannot overwrite one.
    pub fn apply(&mut self, change: Change, now: Moment) -> bool {
        let next = match change.event() {
            Some(event) => self.status.after(event),
            None => Some(self.status).filter(|status| *status == JobStatus::InProgress),
        };
        let Some(next) = next else { return false };
        match change {
            Change::Started { worker } => {
                self.worker = Some(worker);
                self.started = Some(now);
            }
            Change::Requeued => {
                self.retries += 1;
                self.output = None;
            }
            Change::HandedBack => {
                self.worker = None;
                self.started = None;
            }
            Change::Progress(output) => self.output = Some(output),
            Change::Completed(output) => self.output = Some(output).filter(|output| !output.is_empty()),
            Change::Failed(error, output) => {
                self.error = Some(*error);
                self.output = output;
            }
            Change::TimedOut(error) => {
                self.error = Some(*error);
                self.output = None;
            }
            Change::Cancelled => self.output = None,
            Change::Retried => {
                (self.output, self.error, self.worker) = (None, None, None);
                (self.started, self.finished) = (None, None);
                self.expires = now + self.request.ttl.unwrap_or(DEFAULT_TTL);
            }
        }
        self.status = next;
        if next.is_terminal() {
            self.finished = Some(now);
            self.expires = now + if self.request.sync { RETENTION_SYNC } else { RETENTION };
        }
        true
    }

    /// Returns the job as a client sees it.
    pub fn view(&self) -> JobView {
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        JobView {
            id: self.id.clone(),
            status: self.status,
            delay_ms: self.started.map(|at| milliseconds(at.saturating_sub(self.accepted))),
            execution_ms: self
                .finished
                .zip(self.started)
                .map(|(end, start)| milliseconds(end.saturating_sub(start))),
            worker: self.worker.clone(),
            output: self.output.clone(),
            error: self.error.clone(),
            retries: self.retries,
            waiting_for: None,
        }
    }
}
