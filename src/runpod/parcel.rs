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

/// Bytes that are given to the connection at once: what it has is not taken back.
const PIECE: usize = 128 * 1024;

/// What is to be sent, for all attempts. Clones are the same parcel.
#[derive(Clone)]
pub(super) struct Parcel {
    shared: Arc<Shared>,
    length: u64,
}

struct Shared {
    state: Mutex<State>,
    /// Told where nobody has to be waited for any more.
    settled: Notify,
}

struct State {
    /// Released when nobody wants the call any more.
    payload: Option<Payload>,
    /// The attempt that is on its way. Not in the connection's hands, which may keep what it has
    /// for as long as the other end does not read.
    body: Option<PayloadBody>,
    /// What is left of a piece of it.
    piece: Bytes,
    attempt: u32,
    progress: Progress,
    /// The job that was made of it, before all of the answer is there.
    job: Option<String>,
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
        let state = State {
            payload: Some(payload.clone()),
            body: None,
            piece: Bytes::new(),
            attempt: 0,
            progress: Progress::Open,
            job: None,
        };
        let shared = Shared { state: Mutex::new(state), settled: Notify::new() };
        Self { shared: Arc::new(shared), length: payload.len() }
    }

    /// Returns the length of the body in bytes.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Returns the body for another attempt; `None` once nobody wants the call any more.
    pub(super) fn body(&self) -> Option<ParcelBody> {
        let mut state = self.shared.lock();
        state.body = Some(state.payload.as_ref()?.body());
        state.piece = Bytes::new();
        state.attempt += 1;
        state.progress = Progress::Open;
        Some(ParcelBody { attempt: state.attempt, left: self.length, parcel: Arc::clone(&self.shared) })
    }

    /// Takes note that the server has done nothing with what was sent.
    pub(super) fn reopen(&self) {
        let mut state = self.shared.lock();
        if state.progress == Progress::Sent {
            state.progress = Progress::Open;
            drop(state);
            self.shared.settled.notify_one();
        }
    }

    /// Releases the memory, and takes the body back where that is possible; returns whether the
    /// server has certainly accepted nothing.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.shared.lock();
        state.payload = None;
        state.body = None;
        state.piece = Bytes::new();
        if state.progress == Progress::Open {
            state.progress = Progress::TakenBack;
        }
        state.progress == Progress::TakenBack
    }

    /// Gives the parcel up when the guard is dropped: the call has ended, or nobody wants it.
    pub(super) fn given_up_at_end(&self) -> GivenUp {
        GivenUp(self.clone())
    }

    /// Takes note of the job that a long answer is about, while it arrives.
    pub(super) fn accepted_as(&self, job: String) {
        self.shared.lock().job = Some(job);
        self.shared.settled.notify_one();
    }

    /// Ends when nobody wants the call any more, as `unwanted` tells, and its answer has not to be
    /// read: nothing was accepted, or the job's ID is known.
    pub(super) async fn taken_back(&self, unwanted: impl Future<Output = ()>) -> Option<String> {
        unwanted.await;
        loop {
            if self.give_up() {
                return None;
            }
            if let Some(job) = self.shared.lock().job.clone() {
                return Some(job);
            }
            self.shared.settled.notified().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases a parcel's memory when it is dropped.
pub(super) struct GivenUp(Parcel);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// The body of one attempt.
pub(super) struct ParcelBody {
    attempt: u32,
    left: u64,
    parcel: Arc<Shared>,
}

/// The body was taken back before its end.
#[derive(Debug, thiserror::Error)]
#[error("the call was given up while it was sent")]
pub(super) struct TakenBack;

impl Body for ParcelBody {
    type Data = Bytes;
    type Error = TakenBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TakenBack>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let parcel = Arc::clone(&self.parcel);
        let mut guard = parcel.lock();
        let state = &mut *guard;
        let Some(body) = state.body.as_mut().filter(|_| state.attempt == self.attempt) else {
            return Poll::Ready(Some(Err(TakenBack)));
        };
        if state.piece.is_empty() {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else { return Poll::Pending };
            let Some(Ok(frame)) = frame else { return Poll::Ready(None) };
            state.piece = frame.into_data().unwrap_or_default();
        }
        let piece = state.piece.split_to(state.piece.len().min(PIECE));
        self.left = self.left.saturating_sub(piece.len() as u64);
        if self.left == 0 {
            state.progress = Progress::Sent;
            state.body = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
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
    fn large_piece_is_given_bit_by_bit() {
        let text: Bytes = (0..300_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let parcel = Parcel::new(&Payload::json(text.clone()));
        let mut body = parcel.body().expect("wanted");
        let mut all = Vec::new();
        while let Some(piece) = next(&mut body) {
            let piece = piece.expect("given");
            assert!(piece.len() <= PIECE);
            all.extend_from_slice(&piece);
            assert_eq!(body.size_hint().exact(), Some((text.len() - all.len()) as u64));
        }
        assert!(all == text && body.is_end_stream());
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
        assert_eq!(waiting.now_or_never().expect("settled"), None);
    }

    #[test]
    fn answer_is_not_waited_for_once_the_job_is_known() {
        let parcel = parcel();
        let mut body = parcel.body().expect("wanted");
        while let Some(piece) = next(&mut body) {
            piece.expect("given");
        }
        let mut waiting = Box::pin(parcel.taken_back(std::future::ready(())));
        assert!(waiting.as_mut().now_or_never().is_none());
        parcel.accepted_as("j1".to_owned());
        assert_eq!(waiting.now_or_never().expect("settled").as_deref(), Some("j1"));
    }
}
