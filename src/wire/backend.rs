//! The one trait through which everything above calls an endpoint.
//!
//! Two backends implement it: `platform` (Runpod on this machine) and, later, `runpod`. The dev
//! server, the SDK call path and the CLI cannot tell them apart.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::message::{CallHead, ErrorReport, HttpHead, HttpStartHead};
use crate::endpoint::JobStatus;

/// A boxed future, as the object-safe trait needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A call from Python: head and buffers. Not stored; it fails at once when its worker dies.
#[derive(Debug, Clone)]
pub struct Call {
    /// Head.
    pub head: CallHead,
    /// Buffers, see [`super::message::Input`].
    pub buffers: Vec<Bytes>,
}

/// What a call gives back.
#[derive(Debug)]
pub enum Reply {
    /// A pickled result with its out-of-band buffers.
    Value(Vec<Bytes>),
    /// Items of a generator, each with its buffers; ends after an error or the last item.
    Stream(mpsc::Receiver<Result<Vec<Bytes>, ErrorReport>>),
}

/// An HTTP request for a load-balanced endpoint.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Method, path, query, headers.
    pub head: HttpHead,
    /// Body.
    pub body: Bytes,
}

/// The answer of a load-balanced endpoint; the body streams.
#[derive(Debug)]
pub struct HttpReply {
    /// Status and headers.
    pub start: HttpStartHead,
    /// Pieces of the body; ends after an error or the last piece. Dropping it cancels the call.
    pub body: mpsc::Receiver<Result<Bytes, ErrorReport>>,
    /// Worker that answers.
    pub worker: String,
}

/// A job as a client submits it.
#[derive(Debug, Clone)]
pub struct JobRequest {
    /// `function` or `Class.method`; empty where the endpoint has one callable.
    pub callable: String,
    /// JSON text of `input`, as it came.
    pub input: Bytes,
    /// Whether it came by `/runsync`: ID form and retention differ.
    pub sync: bool,
    /// `policy.executionTimeout`, if given.
    pub execution_timeout: Option<Duration>,
    /// `policy.ttl`, if given.
    pub ttl: Option<Duration>,
    /// `policy.lowPriority`.
    pub low_priority: bool,
    /// `webhook`, if given.
    pub webhook: Option<String>,
    /// JSON text of `s3Config`, if given: for the worker alone.
    pub s3_config: Option<Bytes>,
}

/// A job as a client sees it.
#[derive(Debug, Clone)]
pub struct JobView {
    /// Job ID.
    pub id: String,
    /// State.
    pub status: JobStatus,
    /// Milliseconds in the queue, once a worker took it.
    pub delay_ms: Option<u64>,
    /// Milliseconds on the worker, once finished.
    pub execution_ms: Option<u64>,
    /// Worker, once one took it.
    pub worker: Option<String>,
    /// JSON text of the output (or of the last progress update).
    pub output: Option<Bytes>,
    /// The failure, if it failed.
    pub error: Option<ErrorReport>,
    /// How often it was given to another worker.
    pub retries: u32,
    /// Why it waits, in words (`installing numpy`), while it is in the queue.
    pub waiting_for: Option<String>,
}

/// Counters of `/health`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Jobs finished with an output.
    pub completed: u64,
    /// Jobs that failed or timed out.
    pub failed: u64,
    /// Jobs on workers.
    pub in_progress: u64,
    /// Jobs waiting.
    pub in_queue: u64,
    /// Re-dispatches.
    pub retried: u64,
    /// Workers waiting for work.
    pub workers_idle: u64,
    /// Workers starting.
    pub workers_initializing: u64,
    /// Workers that work.
    pub workers_running: u64,
    /// Workers wanted but held back by the machine's limits.
    pub workers_throttled: u64,
    /// Workers that cannot start.
    pub workers_unhealthy: u64,
}

/// Where calls go.
pub trait Backend: Send + Sync + 'static {
    /// Calls a function or method and waits for its result.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, ErrorReport>>;

    /// Sends an HTTP request to a load-balanced endpoint.
    fn request<'a>(
        &'a self,
        endpoint: &'a str,
        request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpReply, ErrorReport>>;

    /// Stores a job; when this returns, it is accepted.
    fn submit<'a>(
        &'a self,
        endpoint: &'a str,
        job: JobRequest,
    ) -> BoxFuture<'a, Result<JobView, ErrorReport>>;

    /// Waits until a job is finished, at most `wait`; returns its state then.
    fn wait<'a>(&'a self, endpoint: &'a str, job: &'a str, wait: Duration) -> BoxFuture<'a, Option<JobView>>;

    /// Returns a job's state, `None` when there is no such job.
    fn status<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>>;

    /// Cancels a job; returns its state then.
    fn cancel<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>>;

    /// Lets a job that failed or timed out run again; returns its state then. A job in another
    /// state is [`crate::wire::message::Failure::InvalidInput`].
    fn retry<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Option<JobView>, ErrorReport>>;

    /// Cancels all waiting jobs of an endpoint; returns how many there were.
    fn purge<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<u64>>;

    /// Returns the jobs of an endpoint that were accepted last, the newest first.
    fn recent<'a>(&'a self, endpoint: &'a str, limit: usize) -> BoxFuture<'a, Option<Vec<JobView>>>;

    /// Takes the items that a job has yielded since the last call, waiting for one at most `wait`.
    fn stream<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Option<(JobView, Vec<Bytes>)>>;

    /// Returns an endpoint's counters, `None` when there is no such endpoint.
    fn health<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<Health>>;
}
