//! `flash run`: project routes on top of a backend, OpenAPI, docs page, watch and reload.
//!
//! Holds no queue, worker or job code: it is tested on a fake backend as well. Must never know
//! GraphQL.

mod answer;
mod app;
mod balanced;
mod console;
mod dotenv;
mod error;
mod guard;
mod keep;
mod listen;
mod openapi;
mod pages;
mod pattern;
mod queue;
mod specs;
mod table;
#[cfg(test)]
mod tests;
mod watch;

pub use app::{App, Describe};
pub use console::{Console, Terminal};
pub use error::DevError;
