//! Errors of the platform that are not a call's own: those cross as `ErrorReport`.

use crate::endpoint::JobStatus;

/// Why the job store refused.
#[derive(Debug, thiserror::Error)]
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
}
