//! HTTP servers: sockets, TLS, who may call (Host, Origin, token), signals and a graceful stop.
//!
//! Knows nothing of what is served: an [`Answer`] answers the requests.

pub mod answer;
pub mod connect;
pub mod error;
pub mod guard;
pub mod listen;
pub mod signals;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;

pub use error::ServerError;

use crate::wire::BoxFuture;

/// Answers requests.
pub trait Answer: Send + Sync + 'static {
    /// Answers one request of `peer`.
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>>;
}
