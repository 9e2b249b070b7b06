//! The cloud: where Runpod's APIs are, credentials, jobs, the control plane, live endpoints.
//!
//! Speaks the same protocols as `platform`, from the other side. Knows endpoints, requirements of a
//! call and what crosses (`wire`); must never know local workers or `platform`.

pub(crate) mod answer;
pub mod apps;
pub mod backend;
pub mod balanced;
mod cancel;
pub mod client;
pub mod control;
pub mod credentials;
pub mod credentials_file;
mod dial;
pub mod error;
mod exchange;
pub(crate) mod execute;
mod failure;
pub mod job;
pub mod jobs;
pub mod live;
pub mod login;
mod parcel;
mod poller;
mod refusal;
mod retry;
pub mod stream;
mod unhealthy;
mod upload;
pub mod urls;
mod watched;

pub use error::{ErrorKind, RunpodError};

#[cfg(test)]
mod tests;
