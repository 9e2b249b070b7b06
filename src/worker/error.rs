//! Errors of the worker's side of the connection.

use std::io;

use crate::wire::WireError;

/// Why a worker cannot go on with its connection.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A frame could not be read or written.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A thread could not be started, or the process could not be tied to its parent.
    #[error("the worker process could not be prepared")]
    Process(#[source] io::Error),
    /// The interpreter cannot hold a call's buffers.
    #[error("not enough memory for {bytes} bytes of a call's input")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The interpreter is shutting down; nothing can be handed to it.
    #[error("the interpreter is shutting down")]
    Finished,
    /// The connection was closed on this side.
    #[error("the connection to the parent is closed")]
    Closed,
}
