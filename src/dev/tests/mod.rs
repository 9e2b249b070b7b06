//! The dev server over real HTTP, on a fake backend.

pub(in crate::dev) mod fake;
mod requests;
