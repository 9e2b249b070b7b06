//! Reads a project's endpoints without importing it.
//!
//! User code never runs here: syntax trees are read, so a missing GPU library on a laptop cannot
//! break `flash run`. Every finding keeps its span. Must never know Runpod or servers.

mod decode;
pub mod diagnostic;
pub mod model;
mod syntax;
mod tree;

pub use diagnostic::{Diagnostic, Label, Severity, Span};
pub use model::{Callable, DeclaredEndpoint, Project, ProjectFile};
