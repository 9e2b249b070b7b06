//! The loop inside a worker process: frames in, call, frames out.
//!
//! `reader` takes frames off the socket and hands them to an [`Interpreter`], `link` writes what
//! comes back, `nested` carries calls that user code makes up the same socket, `process` ties the
//! process to its parent. Calls Python only through that trait; must never know servers.

pub mod error;
pub mod link;
pub mod nested;
pub mod process;
pub mod reader;

pub use error::WorkerError;
pub use link::{Link, Segment};
pub use nested::Nested;
pub use reader::Interpreter;
