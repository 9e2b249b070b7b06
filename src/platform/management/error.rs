//! Why the management API refuses something.

use crate::platform::error::StoreError;

/// Why something was not done; each API words it in its own shape.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// The account has no such thing; another account's counts as none.
    #[error("{what} not found")]
    NotFound {
        /// What was asked for, with its ID or name.
        what: String,
    },
    /// The request says something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// What is there already does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// This machine has no such part of Runpod.
    #[error("{0}")]
    Unsupported(String),
    /// It could not be kept.
    #[error("the change was not stored")]
    Store(#[from] StoreError),
    /// A file could not be written or read.
    #[error("cannot {action}")]
    File {
        /// What was to be done, without names of folders.
        action: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What was stored cannot be read.
    #[error("the stored {kind} `{id}` cannot be read")]
    Damaged {
        /// Kind of document.
        kind: &'static str,
        /// Its ID.
        id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl ManagementError {
    /// Says that `kind` has no `name`.
    pub(super) fn not_found(kind: &str, name: &str) -> Self {
        Self::NotFound { what: format!("{kind} `{name}`") }
    }
}
