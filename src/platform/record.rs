//! A job as it is stored, and the changes that can happen to it.

use std::time::Duration;

use bytes::Bytes;

use super::clock::Moment;
use crate::endpoint::JobStatus;
use crate::wire::backend::{JobRequest, JobView};
use crate::wire::message::ErrorReport;

/// How long the result of a `/run` job is kept.
pub const RETENTION: Duration = Duration::from_secs(30 * 60);
/// How long the result of a `/runsync` job is kept.
pub const RETENTION_SYNC: Duration = Duration::from_secs(60);
/// How long a job lives from its submission on when its policy says nothing.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);

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
#[derive(Debug)]
pub enum Change {
    /// A worker took it.
    Started {
        /// Worker ID.
        worker: String,
    },
    /// Its worker was lost; it waits again.
    Requeued,
    /// A progress update (JSON).
    Progress(Bytes),
    /// It finished.
    Completed(Bytes),
    /// It failed, perhaps with an output beside the error.
    Failed(Box<ErrorReport>, Option<Bytes>),
    /// It ran too long.
    TimedOut(Box<ErrorReport>),
    /// A client cancelled it, or its endpoint went away.
    Cancelled,
}

impl Change {
    /// Returns the state that the change leads to.
    pub fn target(&self) -> JobStatus {
        match self {
            Self::Started { .. } | Self::Progress(_) => JobStatus::InProgress,
            Self::Requeued => JobStatus::InQueue,
            Self::Completed(_) => JobStatus::Completed,
            Self::Failed(..) => JobStatus::Failed,
            Self::TimedOut(_) => JobStatus::TimedOut,
            Self::Cancelled => JobStatus::Cancelled,
        }
    }
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
        let target = change.target();
        let is_progress = matches!(change, Change::Progress(_));
        let allowed = match self.status {
            JobStatus::InQueue => {
                !is_progress && !matches!(target, JobStatus::InQueue | JobStatus::Completed)
            }
            JobStatus::InProgress => is_progress || target != JobStatus::InProgress,
            _ => false,
        };
        if !allowed {
            return false;
        }
        match change {
            Change::Started { worker } => {
                self.worker = Some(worker);
                self.started = Some(now);
            }
            Change::Requeued => {
                self.retries += 1;
                self.output = None;
            }
            Change::Progress(output) | Change::Completed(output) => self.output = Some(output),
            Change::Failed(error, output) => {
                self.error = Some(*error);
                self.output = output;
            }
            Change::TimedOut(error) => {
                self.error = Some(*error);
                self.output = None;
            }
            Change::Cancelled => self.output = None,
        }
        self.status = target;
        if target.is_terminal() {
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
