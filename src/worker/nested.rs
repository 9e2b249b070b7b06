//! Calls that user code makes inside a worker: up its own socket to the parent, which routes them.
//!
//! A worker needs no port, no key and no URL: the parent knows every endpoint's queue and checks
//! depth and cycles by the chain in the head.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::link::{Link, Segment};
use crate::wire::backend::{Call, Health, HttpReply, HttpRequest, JobRequest, JobView, Reply};
use crate::wire::frame::FROM_WORKER;
use crate::wire::message::{AnswerHead, EnvironmentHead, ErrorReport, Failure};
use crate::wire::{Backend, BoxFuture, Frame, FrameKind};

/// The calls of this worker that wait for an answer.
pub struct Nested {
    link: Arc<Link>,
    pending: Mutex<Pending>,
    next: AtomicU64,
}

#[derive(Default)]
struct Pending {
    waiting: HashMap<u64, Waiting>,
    is_closed: bool,
}

type Item = Result<Vec<Bytes>, ErrorReport>;

enum Waiting {
    /// For a JSON text: the interpreter of an environment.
    Json(oneshot::Sender<Result<Bytes, ErrorReport>>),
    First(oneshot::Sender<Result<Reply, ErrorReport>>),
    Items(mpsc::Sender<Item>),
}

impl Nested {
    /// Makes the table of calls that go out over `link`.
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link, pending: Mutex::new(Pending::default()), next: AtomicU64::new(1) })
    }

    /// Hands on a frame that the parent sent for a call of this worker.
    pub fn receive(&self, frame: &Frame) {
        match frame.kind {
            FrameKind::Answer => {
                let head = frame
                    .parse_head::<AnswerHead>()
                    .unwrap_or_else(|error| AnswerHead::Failed(Box::new(internal(&error.to_string()))));
                self.finish(frame.call_id, head, frame.buffers.clone());
            }
            FrameKind::Chunk => self.chunk(frame.call_id, frame.buffers.clone()),
            _ => {}
        }
    }

    /// Asks the parent for an environment with these packages, and blocks until it is there;
    /// returns its interpreter.
    ///
    /// # Errors
    /// Why there is none.
    pub fn environment(&self, dependencies: Vec<String>) -> Result<String, Box<ErrorReport>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.lock();
            if pending.is_closed {
                return Err(Box::new(parent_gone()));
            }
            pending.waiting.insert(id, Waiting::Json(sender));
        }
        self.link
            .send(FrameKind::Environment, FROM_WORKER, id, &EnvironmentHead { dependencies }, Vec::new())
            .map_err(|error| Box::new(internal(&error.to_string())))?;
        let answer = receiver.blocking_recv().map_err(|_| Box::new(parent_gone()))?.map_err(Box::new)?;
        serde_json::from_slice(&answer).map_err(|error| Box::new(internal(&error.to_string())))
    }

    /// Fails every waiting call: the parent is gone.
    pub fn close(&self) {
        let waiting: Vec<Waiting> = {
            let mut pending = self.lock();
            pending.is_closed = true;
            pending.waiting.drain().map(|(_, waiting)| waiting).collect()
        };
        for waiting in waiting {
            finish_with(waiting, AnswerHead::Failed(Box::new(parent_gone())), Vec::new());
        }
    }

    fn finish(&self, id: u64, head: AnswerHead, buffers: Vec<Bytes>) {
        let waiting = self.lock().waiting.remove(&id);
        if let Some(waiting) = waiting {
            finish_with(waiting, head, buffers);
        }
    }

    fn chunk(&self, id: u64, buffers: Vec<Bytes>) {
        let mut pending = self.lock();
        let waiting = match pending.waiting.remove(&id) {
            Some(Waiting::First(sender)) => {
                // Never full: the reader must not wait for a consumer that itself may wait for
                // another answer.
                let (items, receiver) = mpsc::channel(Semaphore::MAX_PERMITS);
                if sender.send(Ok(Reply::Stream(receiver))).is_err() {
                    return;
                }
                items
            }
            Some(Waiting::Items(items)) => items,
            Some(Waiting::Json(_)) | None => return,
        };
        if waiting.try_send(Ok(buffers)).is_ok() {
            pending.waiting.insert(id, Waiting::Items(waiting));
        } else {
            drop(pending);
            self.cancel(id);
        }
    }

    fn cancel(&self, id: u64) {
        // A closed link needs no cancelling.
        let _ = self.link.send_empty(FrameKind::Cancel, FROM_WORKER, id, Vec::new());
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn finish_with(waiting: Waiting, head: AnswerHead, buffers: Vec<Bytes>) {
    match (waiting, head) {
        (Waiting::Json(sender), AnswerHead::Failed(report)) => {
            let _ = sender.send(Err(*report));
        }
        (Waiting::Json(sender), _) => {
            let answer = buffers.into_iter().next();
            let _ = sender.send(answer.ok_or_else(|| internal("the answer is empty")));
        }
        (Waiting::First(sender), AnswerHead::Failed(report)) => {
            let _ = sender.send(Err(*report));
        }
        (Waiting::First(sender), AnswerHead::Python) => {
            let _ = sender.send(Ok(Reply::Value(buffers)));
        }
        (Waiting::First(sender), AnswerHead::End) => {
            let (_, receiver) = mpsc::channel(1);
            let _ = sender.send(Ok(Reply::Stream(receiver)));
        }
        (Waiting::First(sender), AnswerHead::Json | AnswerHead::Http) => {
            let _ = sender.send(Err(internal("the answer to a Python call was not a pickle")));
        }
        (Waiting::Items(items), AnswerHead::Failed(report)) => {
            let _ = items.try_send(Err(*report));
        }
        // The end: dropping the sender ends the stream.
        (Waiting::Items(_), _) => {}
    }
}

fn internal(message: &str) -> ErrorReport {
    ErrorReport::new(Failure::Internal, "WorkerError", message)
}

fn parent_gone() -> ErrorReport {
    ErrorReport::new(Failure::WorkerDied, "ConnectionError", "the worker lost the connection to its parent")
}

fn not_from_worker() -> ErrorReport {
    ErrorReport::new(Failure::Internal, "NotImplementedError", "a worker can only call functions and methods")
        .with_hint(
            "call the decorated function or method itself; jobs and HTTP requests go to the server's URL",
        )
}

/// Tells the parent when the caller stops waiting before the answer came.
struct CancelOnDrop<'a> {
    nested: &'a Nested,
    id: u64,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let is_waiting = {
            let mut pending = self.nested.lock();
            let is_first = matches!(pending.waiting.get(&self.id), Some(Waiting::First(_)));
            if is_first {
                pending.waiting.remove(&self.id);
            }
            is_first
        };
        if is_waiting {
            self.nested.cancel(self.id);
        }
    }
}

impl Backend for Nested {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, ErrorReport>> {
        Box::pin(async move {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            {
                let mut pending = self.lock();
                if pending.is_closed {
                    return Err(parent_gone());
                }
                pending.waiting.insert(id, Waiting::First(sender));
            }
            let _guard = CancelOnDrop { nested: self, id };
            let segments =
                call.buffers.into_iter().map(|buffer| Box::new(buffer) as Box<dyn Segment>).collect();
            self.link
                .send(FrameKind::Call, FROM_WORKER, id, &call.head, segments)
                .map_err(|error| internal(&error.to_string()))?;
            match receiver.await {
                Ok(answer) => answer,
                Err(_) => Err(parent_gone()),
            }
        })
    }

    fn request<'a>(
        &'a self,
        _endpoint: &'a str,
        _request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpReply, ErrorReport>> {
        Box::pin(async { Err(not_from_worker()) })
    }

    fn submit<'a>(
        &'a self,
        _endpoint: &'a str,
        _job: JobRequest,
    ) -> BoxFuture<'a, Result<JobView, ErrorReport>> {
        Box::pin(async { Err(not_from_worker()) })
    }

    fn wait<'a>(
        &'a self,
        _endpoint: &'a str,
        _job: &'a str,
        _wait: Duration,
    ) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async { None })
    }

    fn status<'a>(&'a self, _endpoint: &'a str, _job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async { None })
    }

    fn cancel<'a>(&'a self, _endpoint: &'a str, _job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async { None })
    }

    fn retry<'a>(
        &'a self,
        _endpoint: &'a str,
        _job: &'a str,
    ) -> BoxFuture<'a, Result<Option<JobView>, ErrorReport>> {
        Box::pin(async { Err(not_from_worker()) })
    }

    fn purge<'a>(&'a self, _endpoint: &'a str) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async { None })
    }

    fn recent<'a>(&'a self, _endpoint: &'a str, _limit: usize) -> BoxFuture<'a, Option<Vec<JobView>>> {
        Box::pin(async { None })
    }

    fn stream<'a>(
        &'a self,
        _endpoint: &'a str,
        _job: &'a str,
        _wait: Duration,
    ) -> BoxFuture<'a, Option<(JobView, Vec<Bytes>)>> {
        Box::pin(async { None })
    }

    fn health<'a>(&'a self, _endpoint: &'a str) -> BoxFuture<'a, Option<Health>> {
        Box::pin(async { None })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::wire::message::{CallHead, ChunkHead, Input};

    fn call(stream: bool) -> Call {
        Call {
            head: CallHead {
                endpoint: "other".to_owned(),
                callable: "f".to_owned(),
                input: Input::Python { constructor: None, function: None },
                job: None,
                chain: vec!["own".to_owned()],
                stream,
            },
            buffers: vec![Bytes::from_static(b"pickle")],
        }
    }

    fn connect() -> (tokio::net::UnixStream, Arc<Nested>) {
        let (parent, worker) = UnixStream::pair().unwrap();
        parent.set_nonblocking(true).unwrap();
        let parent = tokio::net::UnixStream::from_std(parent).unwrap();
        (parent, Nested::new(Link::start(Arc::new(worker), || ()).unwrap()))
    }

    #[tokio::test]
    async fn nested_call_is_flagged_and_its_answer_comes_back() {
        let (mut parent, nested) = connect();
        let caller = Arc::clone(&nested);
        let waiting = tokio::spawn(async move { caller.call(call(false)).await });
        let frame = Frame::read_from(&mut parent).await.unwrap();
        assert_eq!((frame.kind, frame.flags), (FrameKind::Call, FROM_WORKER));
        assert_eq!(frame.parse_head::<CallHead>().unwrap().chain, ["own"]);
        let answer = Frame::new(
            FrameKind::Answer,
            frame.call_id,
            &AnswerHead::Python,
            vec![Bytes::from_static(b"result")],
        );
        nested.receive(&answer.unwrap());
        let Reply::Value(buffers) = waiting.await.unwrap().unwrap() else { panic!("not a value") };
        assert_eq!(buffers, [Bytes::from_static(b"result")]);
    }

    #[tokio::test]
    async fn nested_call_dropped_by_its_caller_is_cancelled() {
        let (mut parent, nested) = connect();
        let caller = Arc::clone(&nested);
        let waiting = tokio::spawn(async move { caller.call(call(false)).await });
        let sent = Frame::read_from(&mut parent).await.unwrap();
        waiting.abort();
        let cancel = Frame::read_from(&mut parent).await.unwrap();
        assert_eq!(
            (cancel.kind, cancel.flags, cancel.call_id),
            (FrameKind::Cancel, FROM_WORKER, sent.call_id)
        );
    }

    #[tokio::test]
    async fn nested_stream_gives_its_items_and_then_its_error() {
        let (mut parent, nested) = connect();
        let caller = Arc::clone(&nested);
        let waiting = tokio::spawn(async move { caller.call(call(true)).await });
        let id = Frame::read_from(&mut parent).await.unwrap().call_id;
        for item in [&b"1"[..], &b"2"[..]] {
            let chunk = Frame::new(FrameKind::Chunk, id, &ChunkHead::Python, vec![Bytes::from_static(item)]);
            nested.receive(&chunk.unwrap());
        }
        let failed = AnswerHead::Failed(Box::new(ErrorReport::new(Failure::Raised, "ValueError", "boom")));
        nested.receive(&Frame::new(FrameKind::Answer, id, &failed, Vec::new()).unwrap());
        let Reply::Stream(mut items) = waiting.await.unwrap().unwrap() else { panic!("not a stream") };
        assert_eq!(items.recv().await.unwrap().unwrap(), [Bytes::from_static(b"1")]);
        assert_eq!(items.recv().await.unwrap().unwrap(), [Bytes::from_static(b"2")]);
        assert_eq!(items.recv().await.unwrap().unwrap_err().message, "boom");
        assert!(items.recv().await.is_none());
    }

    #[tokio::test]
    async fn closed_connection_fails_waiting_and_later_calls() {
        let (mut parent, nested) = connect();
        let caller = Arc::clone(&nested);
        let waiting = tokio::spawn(async move { caller.call(call(false)).await });
        Frame::read_from(&mut parent).await.unwrap();
        nested.close();
        assert_eq!(waiting.await.unwrap().unwrap_err().failure, Failure::WorkerDied);
        assert_eq!(nested.call(call(false)).await.unwrap_err().failure, Failure::WorkerDied);
    }
}
