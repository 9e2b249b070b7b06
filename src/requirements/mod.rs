//! Requirements and the environments they install into.
//!
//! PEP 508 requirements are merged and checked here; environments are made by `uv`, keyed by
//! their resolved content and the interpreter, and shared between endpoints, runs and projects.
//! Must never know HTTP servers.

pub mod cache;
pub mod environment;
pub mod error;
pub mod host;
pub mod index;
pub mod install;
pub mod installed;
pub mod mode;
pub mod process;
pub mod progress;
pub mod requirement;
pub mod size;
pub mod system;
pub mod uv;

use std::path::PathBuf;

pub use cache::Cache;
pub use environment::Environments;
pub use host::HostPython;
pub use installed::shell_quote;
pub use mode::DepsMode;
pub use progress::{Progress, ProgressKind, Reporter};
pub use system::{Missing, check_system};

/// An interpreter that can run a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The `python` executable.
    pub python: PathBuf,
    /// Whether it is the one `flash` itself runs in, with nothing added (the host environment).
    pub is_host: bool,
}

/// How far an endpoint's environment is; workers start when it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentState {
    /// Being resolved or installed; jobs wait and say this text.
    Preparing {
        /// Such as `installing numpy, pandas`.
        message: String,
    },
    /// Ready.
    Ready(Interpreter),
    /// Cannot be made: this endpoint alone fails, with this text.
    Failed {
        /// Names the requirement and the resolver's reason.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}
