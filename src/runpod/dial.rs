//! Opens connections one after the other where a server may speak HTTP/2: whoever waits meanwhile is
//! served by the first one. Without it a hundred first calls open a hundred connections, of which
//! ninety-nine are closed at once.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::Connection;
use reqwest::{RequestBuilder, Response, Url};
use tokio::time::{Instant, sleep, timeout};
use tower_layer::Layer;
use tower_service::Service;

/// How long one waits for another's connection before it makes its own.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the pool may take to give whoever waits the connection that there is now.
const HANDED_OVER: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// Where the request of this task goes: connectors are not told in a form that can be read.
    static PLACE: String;
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends a request; connections that it needs are made one at a time.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, reqwest::Error> {
    let (client, request) = request.build_split();
    let request = request?;
    let place = place(request.url());
    PLACE.scope(place, client.execute(request)).await
}

fn place(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// Makes connectors take turns.
#[derive(Clone, Default)]
pub(super) struct OneByOne(Arc<Mutex<HashMap<String, Arc<Place>>>>);

impl OneByOne {
    fn here(&self) -> Option<Arc<Place>> {
        PLACE
            .try_with(|place| {
                let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(places.entry(place.clone()).or_default())
            })
            .ok()
    }
}

impl<S> Layer<S> for OneByOne {
    type Service = Dialer<S>;

    fn layer(&self, inner: S) -> Dialer<S> {
        Dialer { inner, turns: self.clone() }
    }
}

/// A connector that takes turns.
#[derive(Clone)]
pub(super) struct Dialer<S> {
    inner: S,
    turns: OneByOne,
}

impl<S, R> Service<R> for Dialer<S>
where
    S: Service<R, Error = BoxError>,
    S::Response: Connection + Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.inner.call(request);
        match self.turns.here() {
            Some(place) => Box::pin(async move { place.dial(connecting).await }),
            None => Box::pin(connecting),
        }
    }
}

/// A server.
#[derive(Default)]
struct Place {
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// When a connection was made that many requests share.
    shared: Option<Instant>,
    /// When one could not be made.
    failed: Option<Instant>,
    /// Whether each request needs a connection of its own there.
    is_single: bool,
}

impl Place {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial<C: Connection>(
        &self,
        connecting: impl Future<Output = Result<C, BoxError>>,
    ) -> Result<C, BoxError> {
        let begun = Instant::now();
        let is_single = self.known().is_single;
        let mut turn = if is_single { None } else { timeout(PATIENCE, self.turn.lock()).await.ok() };
        let known = *self.known();
        if known.shared.is_some_and(|when| when >= begun) {
            drop(turn);
            // The pool is about to serve whoever waits here by that connection.
            sleep(HANDED_OVER).await;
            return Err("another connection was made meanwhile".into());
        }
        if known.is_single || known.failed.is_some_and(|when| when >= begun) {
            turn = None;
        }
        let connected = connecting.await;
        let mut known = self.known();
        match &connected {
            Ok(connection) => {
                known.is_single = !connection.connected().is_negotiated_h2();
                known.shared = (!known.is_single).then(Instant::now);
            }
            Err(_) => known.failed = Some(Instant::now()),
        }
        drop(known);
        drop(turn);
        connected
    }
}
