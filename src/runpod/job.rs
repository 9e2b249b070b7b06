//! A job as Runpod shows it (`platform.md` 1.2 to 1.5).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::value::RawValue;

use super::error::RunpodError;
use crate::wire::BoxFuture;

/// Which endpoint a request is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointRef {
    /// By ID.
    Id(String),
    /// An endpoint of a deployed app, by the `X-Flash-*` headers (`wire.md` 4).
    Deployed {
        /// App name.
        app: String,
        /// Environment name.
        environment: String,
        /// Endpoint name as declared.
        endpoint: String,
    },
}

/// State of a job as a word; one that is not known counts as not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Waits for a worker.
    InQueue,
    /// Runs.
    InProgress,
    /// Ended with an output.
    Completed,
    /// Ended with an error.
    Failed,
    /// Was cancelled.
    Cancelled,
    /// Ran or waited for too long.
    TimedOut,
    /// Another word.
    Other(String),
}

impl Status {
    /// Reads Runpod's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "IN_QUEUE" => Self::InQueue,
            "IN_PROGRESS" => Self::InProgress,
            "COMPLETED" => Self::Completed,
            "FAILED" => Self::Failed,
            "CANCELLED" => Self::Cancelled,
            "TIMED_OUT" => Self::TimedOut,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns Runpod's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InQueue => "IN_QUEUE",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Other(word) => word,
        }
    }

    /// Whether the job will not change any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
}

/// What a job gave back so far.
#[derive(Debug, Clone, Default)]
pub enum Output {
    /// Nothing.
    #[default]
    None,
    /// JSON text.
    Json(Bytes),
}

/// A job's state as one answer of Runpod shows it.
#[derive(Debug, Clone)]
pub struct JobState {
    /// Job ID.
    pub id: String,
    /// Status.
    pub status: Status,
    /// Milliseconds in the queue.
    pub delay_ms: Option<i64>,
    /// Milliseconds on the worker.
    pub execution_ms: Option<i64>,
    /// Worker ID.
    pub worker: Option<String>,
    /// Output.
    pub output: Output,
    /// JSON text of `error`.
    pub error: Option<Box<RawValue>>,
    /// How often it was given to another worker.
    pub retries: Option<i64>,
    /// Runpod's ID of the request that said so.
    pub request_id: Option<String>,
    /// The whole answer as JSON text, except where the output was taken as it arrived.
    pub raw: Bytes,
}

impl JobState {
    /// Reads a job's state from an answer of Runpod.
    ///
    /// # Errors
    /// [`super::ErrorKind::Malformed`] where it is none.
    pub fn parse(answer: Bytes) -> Result<Self, RunpodError> {
        super::answer::state(answer, None)
    }
}

/// Options of a job beside its input (`platform.md` 1.2); they become fields of the body.
#[derive(Debug, Clone, Default)]
pub struct JobOptions {
    /// URL that is told of the end.
    pub webhook: Option<String>,
    /// JSON text of `policy`.
    pub policy: Option<Box<RawValue>>,
    /// JSON text of `s3Config`.
    pub s3_config: Option<Box<RawValue>>,
}

/// How a call is to be made.
#[derive(Clone, Default)]
pub struct CallOptions {
    /// How long the whole call may take, waits between attempts included.
    pub timeout: Option<Duration>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Whether the job is cancelled when the call is dropped before its end.
    pub cancel_when_dropped: bool,
    /// Takes answers that are too large to be held whole.
    pub large: Option<std::sync::Arc<dyn LargeAnswer>>,
}

/// Pieces of an answer's body.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, RunpodError>> + Send>>;

/// Reads an answer while it arrives, so that it is never held whole.
///
/// The client gives it bodies of job answers that are longer than [`LARGE`], or of unknown length.
pub trait LargeAnswer: Send + Sync {
    /// Reads a body to its end. What it took into memory of the caller is `null` in the state.
    fn read(&self, body: BodyStream) -> BoxFuture<'static, Result<JobState, RunpodError>>;
}

/// Bytes from which on an answer is read while it arrives.
pub const LARGE: u64 = 1024 * 1024;
