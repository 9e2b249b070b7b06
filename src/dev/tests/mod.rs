//! The dev server over real HTTP, on a fake backend.

mod fake;
mod requests;
