//! What is known of one worker that asks for its work by HTTP (`platform.md` 2).

use crate::server::guard::new_token;

/// A `runpod.serverless.start` process, as the worker API sees it.
pub(super) struct Polls {
    /// Opens the worker API for this very process.
    pub(super) token: String,
}

impl Polls {
    pub(super) fn new() -> Self {
        Self { token: new_token() }
    }
}

impl std::fmt::Debug for Polls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Polls").finish_non_exhaustive()
    }
}
