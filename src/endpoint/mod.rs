//! What an endpoint is: configuration, validation, naming, routes, job states, where a call goes.
//!
//! One validation serves the Python constructor and the static scan, so that both refuse the same
//! input with the same words. Knows the catalog; must never know HTTP, files or Python.

pub mod config;
pub mod error;
pub mod job;
pub mod route;
pub mod value;

pub use config::{EndpointConfig, EndpointKind, GpuChoice, Hardware, Workers};
pub use error::ConfigError;
pub use job::JobStatus;
pub use route::{Method, Route};
pub use value::Value;
