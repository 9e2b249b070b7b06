//! What can go wrong between this process and Runpod.

use std::time::Duration;

/// What kind of failure it is; Python has one exception class for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting cannot be followed: a URL, a credentials file, an option.
    Configuration,
    /// There is no API key, or Runpod does not accept it (401, 403).
    Authentication,
    /// There is no such endpoint, app or route (404).
    NotFound,
    /// There is no such job (any more): expired, purged or never there.
    JobNotFound,
    /// Too many requests (429), after the waits that the deadline allowed.
    RateLimited,
    /// Runpod refused the request as it is (400, 422 and other 4xx).
    InvalidRequest,
    /// More bytes than Runpod takes; nothing was sent.
    PayloadTooLarge,
    /// Runpod failed (5xx), after the repetitions that were safe.
    Unavailable,
    /// No connection, or it broke. Where a job may have been accepted, the message says so.
    Connection,
    /// The caller's deadline passed; a job that was accepted goes on unless it was cancelled.
    DeadlineExceeded,
    /// An answer that is not what the protocol says.
    Malformed,
    /// The job ended `FAILED`.
    JobFailed,
    /// The job ended `TIMED_OUT`.
    JobTimedOut,
    /// The job ended `CANCELLED`.
    JobCancelled,
    /// The code of a function cannot be shipped; nothing was sent.
    Shipment,
    /// An endpoint could not be made, changed or removed.
    Provisioning,
}

/// Why Runpod did not do what was asked.
///
/// Cloneable, so that a hundred calls that waited for one provisioning can all report it. Holds
/// no credentials: neither `message` nor `body` may carry a key or a signed URL.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RunpodError {
    /// Kind.
    pub kind: ErrorKind,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it happened, as far as that is known.
    pub exchange: Box<Exchange>,
}

/// The request that failed.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// Endpoint ID or name.
    pub endpoint: Option<String>,
    /// Job ID.
    pub job: Option<String>,
    /// Runpod's ID of the request, from its answer's headers.
    pub request_id: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Method and URL without its query.
    pub request: Option<String>,
    /// Body of the answer, at most a few kB.
    pub body: Option<String>,
    /// Status of a job when it was last looked at, where it has not ended.
    pub last_status: Option<String>,
    /// How long Runpod asked to wait.
    pub retry_after: Option<Duration>,
    /// JSON text of a failed job's `output`.
    pub output: Option<String>,
    /// Remote exception's class, as far as the job's error says it.
    pub error_type: Option<String>,
    /// Remote traceback.
    pub traceback: Option<String>,
}

impl RunpodError {
    /// Makes an error that knows nothing of a request.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, exchange: Box::default() }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says which endpoint it was about.
    #[must_use]
    pub fn at_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.exchange.endpoint = Some(endpoint.into());
        self
    }

    /// Says which job it was about.
    #[must_use]
    pub fn about_job(mut self, job: impl Into<String>) -> Self {
        self.exchange.job = Some(job.into());
        self
    }
}
