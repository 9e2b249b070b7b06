//! The loop inside a worker process: frames in, call, frames out.
//!
//! Calls Python only through a trait that `py` implements. Must never know servers.
