//! Why the dev server could not start.

use std::io;
use std::path::PathBuf;

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
    /// `FLASH_TARGET` asks for something that this version cannot do.
    #[error("`FLASH_TARGET={value}` cannot be used yet: functions run on this machine only")]
    Target {
        /// Value found.
        value: String,
    },
    /// There is nothing to serve.
    #[error("no endpoints found")]
    NoEndpoints,
}
