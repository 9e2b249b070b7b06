//! Why the dev server could not start.

use std::io;
use std::path::PathBuf;

use crate::endpoint::target::TargetError;

/// Why `flash run` stopped before it served anything.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
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
    /// The project folder cannot be read.
    #[error("cannot read the folder `{path}`")]
    Root {
        /// Folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The async runtime could not start.
    #[error("cannot start the server's threads")]
    Runtime(#[source] io::Error),
    /// `FLASH_TARGET` cannot be followed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is nothing to serve; the terminal has been told how to change that.
    #[error("no endpoints found")]
    NoEndpoints,
}

impl DevError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFreePort { last, .. } => {
                Some(format!("choose another one with `--port {}`", last.saturating_add(1)))
            }
            Self::Listen { .. } => {
                Some("choose another address with `--host` or another port with `--port`".to_owned())
            }
            Self::Target(error) => Some(error.hint().to_owned()),
            Self::Root { .. } | Self::Runtime(_) | Self::NoEndpoints => None,
        }
    }
}
