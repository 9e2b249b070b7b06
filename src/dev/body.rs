//! A request's body, read to its end whoever stops reading it before.
//!
//! hyper closes a connection whose request was answered before its body had arrived, without
//! saying so in the answer; a client that sends head and body apart then finds the connection
//! gone at its next request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Bytes that are still read of a body that nobody wanted; the connection of a longer one closes.
const MOST: usize = 256 << 10;
/// How long its client may take.
const LONGEST: Duration = Duration::from_secs(1);

/// The body of a request; a second handle to it is left to read what its reader did not.
#[derive(Debug, Clone)]
pub(super) struct RequestBody(Arc<Mutex<Incoming>>);

impl RequestBody {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Reads the rest, within limits.
    pub(super) async fn drain(mut self) {
        let mut read = 0;
        let rest = async {
            while read < MOST
                && let Some(Ok(frame)) = self.frame().await
            {
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // A slow client loses its connection, as it would have before.
        let _ = tokio::time::timeout(LONGEST, rest).await;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
