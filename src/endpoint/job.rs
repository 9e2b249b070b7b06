//! Job states and their transitions, in one table.

/// State of a job, spelled as Runpod spells it (`platform.md` 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Accepted, waiting for a worker.
    InQueue,
    /// On a worker.
    InProgress,
    /// Finished with an output.
    Completed,
    /// Finished with an error.
    Failed,
    /// Cancelled by a client.
    Cancelled,
    /// Ran longer than its execution timeout.
    TimedOut,
}

impl JobStatus {
    /// Returns whether nothing can follow this state except a retry.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::InQueue | Self::InProgress)
    }
}
