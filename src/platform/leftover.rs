//! Reads what a handler left of its request's body. hyper closes a connection whose request was
//! answered before its body had arrived, without saying so in the answer: a client that sends head
//! and body apart finds the connection gone at its next request, or reset before it has read this
//! one's answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use super::client_api::body::discard;
use super::clock::Clock;

/// Has every route of `router` take in the rest of a request's body before its answer goes out.
pub(super) fn taken_in(router: Router, clock: Arc<dyn Clock>) -> Router {
    router.layer(from_fn_with_state(clock, take_in))
}

async fn take_in(State(clock): State<Arc<dyn Clock>>, request: Request, next: Next) -> Response {
    // A client that waits to be told to go on sends nothing once it has an answer.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (back, leftover) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body, back: Some(back) }));
    let response = next.run(request).await;
    if !response.headers().contains_key(header::CONNECTION)
        && let Ok(body) = leftover.await
    {
        discard(body, &*clock).await;
    }
    response
}

/// A body that comes back when it is dropped before its end.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}
