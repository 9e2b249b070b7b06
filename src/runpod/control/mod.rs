//! The control plane: endpoints, volumes and prices, behind one trait.
//!
//! Two implementations: GraphQL as 1.21 speaks it (Runpod retires it in early 2027) and REST v2
//! (`platform.md` 5). Nothing else knows which one is used.

mod choice;
mod graphql;
mod input;
mod merge;
mod prices;
mod redact;
mod rest_v2;
mod rest_v2_fields;
mod send;
#[cfg(test)]
mod tests;
mod volumes;

pub use choice::{Chosen, choose};
pub use graphql::GraphQl;
pub(in crate::runpod) use graphql::{Graph, Operation};
pub use input::{
    EndpointInput, EnvironmentVariable, RemoteEndpoint, RemoteVolume, TemplateInput, VolumeId, VolumeInput,
};
pub use rest_v2::RestV2;
pub(in crate::runpod) use send::Sender;
pub use volumes::list_volumes;

use self::volumes::Volumes;
use super::error::RunpodError;
use crate::wire::BoxFuture;

/// What can be asked of Runpod's management API.
pub trait ControlPlane: Send + Sync {
    /// Returns what it is called in messages, `GraphQL` or `REST v2`.
    fn name(&self) -> &'static str;

    /// Makes an endpoint and the template it needs.
    fn create_endpoint<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>>;

    /// Changes an endpoint and its template to `input`. Variables that are neither in `input` nor
    /// in `before` are Runpod's own and stay.
    fn update_endpoint<'a>(
        &'a self,
        existing: &'a RemoteEndpoint,
        input: &'a EndpointInput,
        before: Option<&'a EndpointInput>,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>>;

    /// Removes an endpoint; `false` when there was none.
    fn delete_endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, RunpodError>>;

    /// Returns an endpoint, `None` when there is none (and only then).
    fn endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RemoteEndpoint>, RunpodError>>;

    /// Returns all endpoints of the account.
    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<RemoteEndpoint>, RunpodError>>;

    /// Returns the volume with this name in this data center; makes it where it is missing.
    ///
    /// Making and changing an endpoint does this for its `volumes`.
    fn ensure_volume<'a>(
        &'a self,
        volume: &'a VolumeInput,
    ) -> BoxFuture<'a, Result<RemoteVolume, RunpodError>>;

    /// Returns the most that one worker costs in US dollars per hour, where Runpod says it: the
    /// dearest of the hardware that the endpoint may get.
    fn price_per_hour<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<Option<f64>, RunpodError>>;
}

/// The same in plain async functions, for those that implement it.
trait Plane: Send + Sync {
    const NAME: &'static str;

    fn volumes(&self) -> &Volumes;

    fn create(
        &self,
        input: &EndpointInput,
    ) -> impl Future<Output = Result<RemoteEndpoint, RunpodError>> + Send;

    fn update(
        &self,
        existing: &RemoteEndpoint,
        input: &EndpointInput,
        before: Option<&EndpointInput>,
    ) -> impl Future<Output = Result<RemoteEndpoint, RunpodError>> + Send;

    fn delete(&self, id: &str) -> impl Future<Output = Result<bool, RunpodError>> + Send;

    fn find(&self, id: &str) -> impl Future<Output = Result<Option<RemoteEndpoint>, RunpodError>> + Send;

    fn list(&self) -> impl Future<Output = Result<Vec<RemoteEndpoint>, RunpodError>> + Send;

    fn price(&self, input: &EndpointInput) -> impl Future<Output = Result<Option<f64>, RunpodError>> + Send;
}

impl<T: Plane> ControlPlane for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn create_endpoint<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>> {
        Box::pin(self.create(input))
    }

    fn update_endpoint<'a>(
        &'a self,
        existing: &'a RemoteEndpoint,
        input: &'a EndpointInput,
        before: Option<&'a EndpointInput>,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>> {
        Box::pin(self.update(existing, input, before))
    }

    fn delete_endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, RunpodError>> {
        Box::pin(self.delete(id))
    }

    fn endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RemoteEndpoint>, RunpodError>> {
        Box::pin(self.find(id))
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<RemoteEndpoint>, RunpodError>> {
        Box::pin(self.list())
    }

    fn ensure_volume<'a>(
        &'a self,
        volume: &'a VolumeInput,
    ) -> BoxFuture<'a, Result<RemoteVolume, RunpodError>> {
        Box::pin(self.volumes().ensure(volume))
    }

    fn price_per_hour<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<Option<f64>, RunpodError>> {
        Box::pin(self.price(input))
    }
}
