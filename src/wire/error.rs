//! Errors of the wire.

use std::io;

/// Why a frame or message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("the worker connection failed")]
    Io(#[from] io::Error),
    /// The other side closed the connection between two frames.
    #[error("the worker connection was closed")]
    Closed,
    /// A header or head does not have the form expected.
    #[error("the worker connection carried a malformed frame: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
}
