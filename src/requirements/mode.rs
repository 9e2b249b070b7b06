//! Where an endpoint's packages come from.

use std::fmt;
use std::str::FromStr;

/// `--deps` and `FLASH_DEPS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DepsMode {
    /// `isolated` where packages are declared, else `host`.
    #[default]
    Auto,
    /// The endpoint's and the project's declared packages and nothing else.
    Isolated,
    /// What the host interpreter has; it is checked against what is declared.
    Host,
    /// The host interpreter, and nothing is checked.
    None,
}

/// A name that is none of the modes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a way to get packages: use `auto`, `isolated`, `host` or `none`")]
pub struct UnknownMode(pub String);

impl FromStr for DepsMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "auto" => Ok(Self::Auto),
            "isolated" => Ok(Self::Isolated),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => Err(UnknownMode(text.to_owned())),
        }
    }
}

impl fmt::Display for DepsMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Isolated => "isolated",
            Self::Host => "host",
            Self::None => "none",
        })
    }
}

impl DepsMode {
    /// What `FLASH_DEPS` says; `Auto` where it is not set.
    pub fn from_environment() -> Result<Self, UnknownMode> {
        match std::env::var("FLASH_DEPS") {
            Ok(text) => text.parse(),
            Err(_) => Ok(Self::Auto),
        }
    }
}
