//! Why requirements are refused, or an environment cannot be made.

use std::io;
use std::path::PathBuf;

/// Why requirements are refused before anything is installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// Not a PEP 508 requirement.
    #[error("`{text}` is not a requirement: {reason} (at character {column})")]
    Parse {
        /// As the user wrote it.
        text: String,
        /// Character, counted from 1, at which it stops making sense.
        column: usize,
        /// What was expected there.
        reason: String,
    },
    /// An option of pip's requirement files that has no meaning here.
    #[error("`{text}` is not supported among requirements")]
    Option {
        /// As the user wrote it.
        text: String,
    },
    /// Two requirements that no version can meet.
    #[error("`{first}` ({first_origin}) and `{second}` ({second_origin}) cannot both be met")]
    Conflict {
        /// First requirement.
        first: String,
        /// Where the first was declared.
        first_origin: &'static str,
        /// Second requirement.
        second: String,
        /// Where the second was declared.
        second_origin: &'static str,
    },
}

impl RequirementError {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Self::Parse { .. } => {
                "write a name, optionally with versions: `numpy`, `numpy>=2,<3`, `uvicorn[standard]`, \
                 `package @ https://…/package.whl`"
                    .to_owned()
            }
            Self::Option { .. } => "supported are `--index-url`, `--extra-index-url`, `--find-links`, \
                 `--no-index` and `--pre`"
                .to_owned(),
            Self::Conflict { .. } => {
                "keep one of the two, or widen the versions of one; endpoints may differ \
                 from each other, but not from the project's own requirements"
                    .to_owned()
            }
        }
    }
}

/// Why an environment cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The requirements themselves are wrong.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// There is no `uv`.
    #[error("`uv`, which installs packages, was not found (looked at {looked})")]
    UvMissing {
        /// Places, joined by commas.
        looked: String,
    },
    /// `uv` is too old, or is something else.
    #[error("`{path}` is {found}, but {minimum} or later is needed")]
    UvVersion {
        /// The program.
        path: PathBuf,
        /// What it says of itself.
        found: String,
        /// Oldest version that will do.
        minimum: String,
    },
    /// A program could not be started.
    #[error("cannot start `{path}`: {source}")]
    Start {
        /// The program.
        path: PathBuf,
        /// Reason of the operating system.
        source: io::Error,
    },
    /// No set of versions meets the requirements.
    #[error("cannot install {requirements}: {reason}")]
    Unsatisfiable {
        /// Requirements that the reason speaks of, in backticks, joined by commas.
        requirements: String,
        /// The resolver's own words.
        reason: String,
    },
    /// Downloading, building or installing failed.
    #[error("cannot install {requirements}: {reason}")]
    Install {
        /// Requirements that the reason speaks of, in backticks, joined by commas.
        requirements: String,
        /// `uv`'s own words, shortened.
        reason: String,
    },
    /// No network, nothing cached, and the host does not have the packages.
    #[error("no network, and neither the cache nor the host's packages have {missing} ({reason})")]
    Offline {
        /// What is missing, in backticks, joined by commas.
        missing: String,
        /// How the network failed.
        reason: String,
    },
    /// `--deps host`, and the host lacks packages.
    #[error("the host's Python lacks {missing}")]
    HostLacks {
        /// What is missing, in backticks, with the version that is there, joined by commas.
        missing: String,
        /// Requirements as arguments for pip, shell-quoted.
        arguments: String,
    },
    /// The cache folder cannot be used.
    #[error("cannot use `{path}`: {source}")]
    Cache {
        /// File or folder.
        path: PathBuf,
        /// Reason of the operating system.
        source: io::Error,
    },
    /// `flash` is stopping.
    #[error("installing was interrupted")]
    Interrupted,
}

impl EnvironmentError {
    /// What to do, where something can be done.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Requirement(error) => error.hint(),
            Self::UvMissing { .. } | Self::UvVersion { .. } => {
                "`pip install -U uv`, or name one in FLASH_UV; `--deps host` installs nothing".to_owned()
            }
            Self::Unsatisfiable { .. } => {
                "check the names and versions in `dependencies=[...]` and the project's requirements"
                    .to_owned()
            }
            Self::Install { .. } => "`--deps host` runs the endpoint with the packages of the Python that \
                 `flash` runs in"
                .to_owned(),
            Self::Offline { .. } => {
                "once, with a network, `flash run` fills the cache; a mirror is named by \
                 UV_DEFAULT_INDEX or PIP_INDEX_URL, a proxy by HTTPS_PROXY"
                    .to_owned()
            }
            Self::HostLacks { arguments, .. } => {
                format!(
                    "`pip install {arguments}`, or let `--deps isolated` install it apart; `--deps none` \
                     runs without checking"
                )
            }
            Self::Cache { .. } => "name a folder that can be written in FLASH_CACHE_DIR".to_owned(),
            Self::Start { .. } | Self::Interrupted => return None,
        };
        Some(hint)
    }
}
