//! Runpod on this machine: job store, queues, scaler, worker supervisor, and the HTTP API.
//!
//! The only room that holds queues and workers. Must never know the cloud client.

pub mod event;
pub mod spec;

pub use event::{Event, Observer};
pub use spec::EndpointSpec;
