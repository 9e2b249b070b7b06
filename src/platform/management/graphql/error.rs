//! Why a query is not answered.

use crate::platform::management::ManagementError;

/// What the client is told, in the words that such servers use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct QueryError(pub(super) String);

impl From<ManagementError> for QueryError {
    fn from(error: ManagementError) -> Self {
        match std::error::Error::source(&error) {
            Some(cause) => Self(format!("{error}: {cause}")),
            None => Self(error.to_string()),
        }
    }
}
