//! Reads a project's endpoints without importing it.
//!
//! User code never runs here: syntax trees are read, so a missing GPU library on a laptop cannot
//! break `flash run`. Every finding keeps its span. Must never know Runpod or servers.

mod analysis;
mod app;
mod callable;
mod calls;
mod checks;
mod config;
mod declarations;
mod decode;
pub mod diagnostic;
pub mod dotenv;
mod dynamic;
mod evaluate;
mod facts;
mod ignore;
mod imports;
mod interpreter;
pub mod model;
mod operators;
mod reader;
#[cfg(test)]
mod reader_tests;
#[cfg(test)]
pub(crate) mod samples;
mod schema;
mod secrets;
mod settings;
pub mod ship;
mod source;
mod syntax;
mod tree;
mod uses;
pub mod variables;

use std::path::{Path, PathBuf};

pub use app::app_of;
pub use diagnostic::{Diagnostic, Label, Severity, Span};
pub use model::{Callable, DeclaredEndpoint, Project, ProjectFile};
pub use reader::Reader;

/// Lists the files that a build of the project ships, relative to the root and sorted.
pub fn shipped_files(root: &Path) -> Vec<PathBuf> {
    ignore::list(root, false).files
}
