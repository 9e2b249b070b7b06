//! What the platform tells its observer (the console, tests).

use std::sync::Arc;

use crate::wire::message::{OutputStream, ReadyHead};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A worker process was started.
    WorkerStarting {
        /// Endpoint.
        endpoint: String,
        /// Worker ID.
        worker: String,
    },
    /// A worker has loaded its code.
    WorkerReady {
        /// Endpoint.
        endpoint: String,
        /// Worker ID.
        worker: String,
        /// What it serves.
        ready: Arc<ReadyHead>,
    },
    /// A worker could not load its code, or died.
    WorkerFailed {
        /// Endpoint.
        endpoint: String,
        /// Worker ID.
        worker: String,
        /// Why, with the traceback of the user's frames where there is one.
        reason: String,
    },
    /// A worker stopped as it was asked to.
    WorkerStopped {
        /// Endpoint.
        endpoint: String,
        /// Worker ID.
        worker: String,
    },
    /// A line that a worker wrote.
    Output {
        /// Endpoint.
        endpoint: String,
        /// Job, where known.
        job: Option<String>,
        /// Stream.
        stream: OutputStream,
        /// The line, without its newline.
        line: String,
    },
    /// Something to tell once, such as that fewer workers run than asked for.
    Note {
        /// Text.
        text: String,
    },
}

/// Receives events; must not block.
pub trait Observer: Send + Sync + 'static {
    /// Called from any thread, in order per worker.
    fn event(&self, event: Event);
}
