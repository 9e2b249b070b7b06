//! Live endpoints: made for a run, fed with source text, removed when it ends (`wire.md` 1, 5).

mod drift;
mod flight;
pub mod input;
mod legacy;
mod owner;
pub mod provision;
pub mod remove;
pub mod state;
#[cfg(test)]
mod tests;

pub use input::{endpoint_name, input_of, input_with};
pub use owner::{Liveness, Run};
pub use provision::{Provisioner, ProvisionerOptions, Say};
pub use state::{Store, Tracked};

use super::control::EndpointInput;
use super::error::RunpodError;
use crate::wire::BoxFuture;

/// A live endpoint that is ready to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// ID.
    pub id: String,
    /// Whether this call made it.
    pub is_new: bool,
}

/// Makes live endpoints, each once.
pub trait Provision: Send + Sync {
    /// Returns the endpoint for this configuration: found, changed or made.
    ///
    /// Calls with one name wait for each other, also those of other processes in the same folder.
    fn ensure<'a>(&'a self, input: &'a EndpointInput) -> BoxFuture<'a, Result<Live, RunpodError>>;
}
