//! A body on its way to Runpod, which can be taken back until its last byte is given to the connection.
//!
//! A server that has not got all of a body has accepted no job. So a call that nobody wants any more
//! ends at once until then, and is seen to its end from there on: its job has to be cancelled.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::wire::payload::{Payload, PayloadBody};

/// What is to be sent, for all attempts. Clones are the same parcel.
#[derive(Clone)]
pub(super) struct Parcel {
    shared: Arc<Shared>,
    length: u64,
}

struct Shared {
    state: Mutex<State>,
    reopened: Notify,
}

struct State {
    /// Released when nobody wants the call any more.
    payload: Option<Payload>,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The server has not got all of it, or said that it did nothing with it.
    Open,
    /// All of it was given to the connection.
    Sent,
    /// It is not sent any more.
    TakenBack,
}

impl Parcel {
    pub(super) fn new(payload: &Payload) -> Self {
        let state = State { payload: Some(payload.clone()), progress: Progress::Open };
        Self {
            shared: Arc::new(Shared { state: Mutex::new(state), reopened: Notify::new() }),
            length: payload.len(),
        }
    }

    /// Returns the length of the body in bytes.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Returns the body for another attempt; `None` once nobody wants the call any more.
    pub(super) fn body(&self) -> Option<ParcelBody> {
        let mut state = self.shared.lock();
        let payload = state.payload.as_ref()?;
        let body = payload.body();
        state.progress = Progress::Open;
        Some(ParcelBody { body, left: self.length, parcel: Arc::clone(&self.shared) })
    }

    /// Takes note that the server has done nothing with what was sent.
    pub(super) fn reopen(&self) {
        let mut state = self.shared.lock();
        if state.progress == Progress::Sent {
            state.progress = Progress::Open;
            drop(state);
            self.shared.reopened.notify_one();
        }
    }

    /// Releases the memory, and takes the body back where that is possible; returns whether the
    /// server has certainly accepted nothing.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.shared.lock();
        state.payload = None;
        if state.progress == Progress::Open {
            state.progress = Progress::TakenBack;
        }
        state.progress == Progress::TakenBack
    }

    /// Ends when nobody wants the call any more, as `unwanted` tells, and nothing was accepted.
    pub(super) async fn taken_back(&self, unwanted: impl Future<Output = ()>) {
        unwanted.await;
        while !self.give_up() {
            self.shared.reopened.notified().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of one attempt.
pub(super) struct ParcelBody {
    body: PayloadBody,
    left: u64,
    parcel: Arc<Shared>,
}

/// The body was taken back before its end.
#[derive(Debug, thiserror::Error)]
#[error("the call was given up while it was sent")]
pub(super) struct TakenBack;

impl ParcelBody {
    /// Says whether a piece may be given to the connection.
    fn may_send(&mut self, length: u64) -> bool {
        let mut state = self.parcel.lock();
        self.left = self.left.saturating_sub(length);
        if state.progress == Progress::TakenBack {
            return false;
        }
        if self.left == 0 {
            state.progress = Progress::Sent;
        }
        true
    }
}

impl Body for ParcelBody {
    type Data = Bytes;
    type Error = TakenBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TakenBack>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else { return Poll::Pending };
        let Some(Ok(frame)) = frame else { return Poll::Ready(None) };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        Poll::Ready(Some(if self.may_send(length) { Ok(frame) } else { Err(TakenBack) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parcel").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::wire::payload::Part;

    fn parcel() -> Parcel {
        let parts = vec![Part::Text("one".into()), Part::Text("two".into())];
        Parcel::new(&Payload::new(parts, Vec::new()))
    }

    fn next(body: &mut ParcelBody) -> Option<Result<Bytes, TakenBack>> {
        let frame = body.frame().now_or_never().expect("never waits")?;
        Some(frame.map(|frame| frame.into_data().expect("data")))
    }

    #[test]
    fn body_is_taken_back_until_its_last_piece_is_given() {
        let parcel = parcel();
        let mut body = parcel.body().expect("wanted");
        assert_eq!(next(&mut body).expect("a piece").expect("given"), "one");
        assert!(parcel.give_up() && parcel.give_up());
        assert!(next(&mut body).expect("an end").is_err());
        assert!(parcel.body().is_none(), "it is not sent again");
    }

    #[test]
    fn body_that_was_given_is_not_taken_back_until_the_server_says_that_it_did_nothing() {
        let parcel = parcel();
        let mut body = parcel.body().expect("wanted");
        while let Some(piece) = next(&mut body) {
            piece.expect("given");
        }
        let mut waiting = Box::pin(parcel.taken_back(std::future::ready(())));
        assert!(waiting.as_mut().now_or_never().is_none());
        parcel.reopen();
        assert!(waiting.now_or_never().is_some());
    }
}
