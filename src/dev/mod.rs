//! `flash run`: project routes on top of a backend, OpenAPI, docs page, watch and reload.
//!
//! Holds no queue, worker or job code: it is tested on a fake backend as well. Must never know
//! GraphQL.

mod answer;
mod app;
mod body;
mod cloud;
mod console;
mod cors;
mod cost;
mod describe;
mod error;
mod keep;
mod observer;
mod openapi;
mod options;
mod pages;
mod queue;
mod router;
mod serve;
mod session;
mod startup;
mod table;
mod targets;
#[cfg(test)]
mod tests;
mod v2;
mod watch;

pub use console::Terminal;
pub use error::DevError;
pub use observer::Teller;
pub use options::DevOptions;
pub use serve::serve;
pub use targets::Asked;
