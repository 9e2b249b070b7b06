//! Why a function cannot be sent to a worker.

use std::path::PathBuf;

/// Why code cannot be shipped; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// The source does not parse.
    #[error("{file}:{line}: invalid syntax: {message}")]
    Syntax {
        /// File, or what stands for it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The source has no such function or class.
    #[error("{file} has no function or class `{name}`")]
    NotFound {
        /// File, or what stands for it.
        file: String,
        /// Qualified name.
        name: String,
    },
    /// A relative import leads out of the project, or to no file.
    #[error("{file}:{line}: the relative import `{module}` leads to no module of the project")]
    Unresolved {
        /// File, or what stands for it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The import as written.
        module: String,
    },
    /// A module lies outside of the project.
    #[error("the local module `{}` lies outside of `{}`", .file.display(), .root.display())]
    Outside {
        /// The module's file.
        file: PathBuf,
        /// The project.
        root: PathBuf,
    },
    /// A local module cannot be read.
    #[error("the local module `{}` cannot be read: {reason}", .file.display())]
    Unreadable {
        /// The module's file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// More source than a live endpoint takes.
    #[error("the code of `{name}` and its local modules have {bytes} bytes; a live endpoint takes {limit}")]
    TooLarge {
        /// Function or class.
        name: String,
        /// Bytes of UTF-8.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
}

impl ShipError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "correct the file",
            Self::NotFound { .. } => {
                "define it with `def` or `class` in a file or notebook cell, as its text is what is sent"
            }
            Self::Unresolved { .. } | Self::Outside { .. } => {
                "keep what a live function imports in the folder of its project"
            }
            Self::Unreadable { .. } => "make the file readable UTF-8",
            Self::TooLarge { .. } => "use `flash deploy`, or import less",
        }
    }

    /// Returns its kind as one word, for the classes that Python has for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } | Self::Outside { .. } | Self::Unreadable { .. } => "resolution",
            Self::TooLarge { .. } => "size",
            Self::Syntax { .. } | Self::NotFound { .. } => "source",
        }
    }
}
