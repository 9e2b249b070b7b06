//! Errors of the platform that are not a call's own: those cross as `ErrorReport`.

use std::io;
use std::path::PathBuf;

use super::management::ManagementError;
use super::record::Change;
use crate::endpoint::JobStatus;
use crate::server::ServerError;

/// Why the job store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// There is no such job, or it is no longer kept.
    #[error("there is no job `{id}`")]
    Unknown {
        /// Job ID.
        id: String,
    },
    /// The job's state does not allow the change.
    #[error("job `{id}` is {}: {change} does not apply", from.as_str())]
    Refused {
        /// Job ID.
        id: String,
        /// State it has.
        from: JobStatus,
        /// What was to happen to it.
        change: String,
    },
    /// There is no space for it on the disk.
    #[error("the disk of the state folder is full")]
    Full,
    /// The database failed.
    #[error("the job store failed: {reason}")]
    Failed {
        /// What the database said.
        reason: String,
    },
}

impl StoreError {
    /// The refusal of a change that a job's state does not allow.
    pub(super) fn refused(id: &str, from: JobStatus, change: &Change) -> Self {
        let change = change.event().map_or_else(|| "progress".to_owned(), |event| format!("{event:?}"));
        Self::Refused { id: id.to_owned(), from, change }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed { reason: error.to_string() },
        }
    }
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or a file in it cannot be made or written.
    #[error("cannot write to `{path}`")]
    NotWritable {
        /// Folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another server uses the folder.
    #[error("the state folder `{path}` is in use by {holder}")]
    Locked {
        /// Folder.
        path: PathBuf,
        /// Who uses it, in words.
        holder: String,
    },
    /// The file is no database.
    #[error("`{path}` is not a database, or is damaged")]
    NotADatabase {
        /// File.
        path: PathBuf,
    },
    /// The database belongs to another program.
    #[error("`{path}` is a database of another program")]
    Foreign {
        /// File.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("`{path}` has version {found}, this version of Flash knows up to {known}")]
    Newer {
        /// File.
        path: PathBuf,
        /// Version of the database.
        found: usize,
        /// Newest version that is known here.
        known: usize,
    },
    /// There is no space.
    #[error("the disk that `{path}` is on is full")]
    Full {
        /// File.
        path: PathBuf,
    },
    /// The database failed.
    #[error("cannot open the database `{path}`")]
    Database {
        /// File.
        path: PathBuf,
        /// What it said.
        #[source]
        source: Box<rusqlite::Error>,
    },
}

impl StateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotWritable { .. } => "name a folder that you may write to with `--state DIR`".to_owned(),
            Self::Locked { .. } => "stop that server, or name another folder with `--state DIR`".to_owned(),
            Self::NotADatabase { .. } => {
                "nothing was changed; move the file away, or name another folder with `--state DIR`".to_owned()
            }
            Self::Foreign { .. } => "nothing was changed; name another folder with `--state DIR`".to_owned(),
            Self::Newer { .. } => {
                "nothing was changed; use the newer Flash again (`pip install -U runpod-flash`), or another folder"
                    .to_owned()
            }
            Self::Full { .. } => "make space on it and start again; what is stored is whole".to_owned(),
            Self::Database { .. } => return None,
        })
    }
}

/// Why `flash platform` could not start.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// Nothing can be listened on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The token could not be kept with the state.
    #[error("cannot keep the token")]
    Token(#[from] StoreError),
    /// The async runtime could not start.
    #[error("cannot start the server's threads")]
    Runtime(#[source] io::Error),
    /// No folder for what is kept only as long as the process runs.
    #[error("cannot make a temporary folder")]
    Scratch(#[source] io::Error),
    /// What was stored about endpoints and apps cannot be used.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The app's folder cannot be read.
    #[error("cannot read the folder `{path}`")]
    App {
        /// Folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The app has errors.
    #[error("the app in `{path}` has errors:\n\n{}", problems.join("\n\n"))]
    BrokenApp {
        /// Folder.
        path: PathBuf,
        /// Located errors as text.
        problems: Vec<String>,
    },
}

impl StandaloneError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => Some(error.hint()),
            Self::State(error) => error.hint(),
            Self::Runtime(_)
            | Self::Token(_)
            | Self::Scratch(_)
            | Self::Management(_)
            | Self::App { .. }
            | Self::BrokenApp { .. } => None,
        }
    }
}
