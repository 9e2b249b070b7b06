//! What an endpoint is: configuration, validation, naming, routes, job states, where a call goes.
//!
//! One validation serves the Python constructor and the static scan, so that both refuse the same
//! input with the same words. Knows the catalog; must never know HTTP, files or Python.

pub mod config;
#[cfg(test)]
mod config_tests;
pub mod error;
pub mod hardware;
pub mod job;
pub mod name;
pub mod parameters;
pub mod pattern;
pub mod reader;
pub mod route;
pub mod storage;
pub mod target;
pub mod template;
pub mod value;

pub use config::{EndpointConfig, EndpointKind, GpuChoice, Hardware, Workers};
pub use error::ConfigError;
pub use job::{JobEvent, JobStatus};
pub use name::{bare_name, check_name, normalize_name};
pub use route::{Method, Route};
pub use template::Template;
pub use value::Value;
