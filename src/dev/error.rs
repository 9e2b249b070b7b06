//! Why the dev server could not start.

use std::io;
use std::path::PathBuf;

use crate::endpoint::target::TargetError;
use crate::platform::error::StateError;
use crate::runpod::RunpodError;
use crate::server::ServerError;

/// Why `flash run` stopped before it served anything.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Nothing can be listened on.
    #[error(transparent)]
    Server(#[from] ServerError),
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
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// `FLASH_TARGET` cannot be followed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Runpod cannot be used.
    #[error(transparent)]
    Runpod(#[from] RunpodError),
    /// The run has ended, and endpoints that it made have not gone with it.
    #[error("{} on Runpod: {names}", if *count == 1 { "an endpoint stays".to_owned() } else { format!("{count} endpoints stay") })]
    Left {
        /// How many.
        count: usize,
        /// Names and IDs.
        names: String,
        /// Page that lists them.
        console: String,
    },
    /// There is nothing to serve; the terminal has been told how to change that.
    #[error("no endpoints found")]
    NoEndpoints,
}

impl DevError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => Some(error.hint()),
            Self::State(error) => error.hint(),
            Self::Target(error) => Some(error.hint().to_owned()),
            Self::Runpod(error) => error.hint.clone(),
            Self::Left { console, .. } => Some(format!(
                "they cost money while workers run: `flash run --clean` in this folder removes them (the next \
                 `flash run` offers to), or do it at {console}"
            )),
            Self::Root { .. } | Self::Runtime(_) | Self::NoEndpoints => None,
        }
    }
}
