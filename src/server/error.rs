//! Why a server could not start.

use std::io;
use std::path::PathBuf;

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// None of the ports tried is free.
    #[error("no free port for `{host}` between {first} and {last}")]
    NoFreePort {
        /// Host that was asked for.
        host: String,
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
    /// The host name means no address here, or its address cannot be bound.
    #[error("cannot listen on `{host}:{port}`")]
    Listen {
        /// Host that was asked for.
        host: String,
        /// Port that was asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The files that TLS needs could not be made.
    #[error("cannot make certificates in `{path}`")]
    Certificate {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ServerError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoFreePort { last, .. } => {
                format!("choose another one with `--port {}`", last.saturating_add(1))
            }
            Self::Listen { .. } => {
                "choose another address with `--host` or another port with `--port`".to_owned()
            }
            Self::Certificate { .. } => {
                "the folder must be writable; `--state DIR` chooses another one".to_owned()
            }
        }
    }
}
