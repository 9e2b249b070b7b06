//! What workers say: answers, items, and their end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::dispatch::{NULL, stop};
use super::queue::{Running, Target, WorkKind};
use super::record::Change;
use super::state::{Link, LoadFailure, Phase, State};
use super::supervisor::Supervisor;
use crate::wire::backend::{HttpReply, Reply};
use crate::wire::job::split_error;
use crate::wire::message::{AnswerHead, ChunkHead, ErrorReport, Failure, HttpStartHead, ReadyHead};
use crate::wire::{Frame, WireError};

/// Items that wait for a slow reader before its worker has to.
const STREAM_BACKLOG: usize = 256;
/// Workers that may fail in a row before the endpoint counts as unhealthy.
pub(super) const START_ATTEMPTS: u32 = 2;
/// Longest pause before a worker of an endpoint whose workers crash is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something to hand to a reader once the lock is released; the worker's reader waits for it, so
/// that a slow client slows its worker down instead of filling memory.
pub(super) enum Delivery {
    Item(mpsc::Sender<Result<Vec<Bytes>, ErrorReport>>, Result<Vec<Bytes>, ErrorReport>),
    Piece(mpsc::Sender<Result<Bytes, ErrorReport>>, Result<Bytes, ErrorReport>),
}

impl Delivery {
    pub(super) async fn deliver(self) {
        match self {
            Self::Item(reader, item) => drop(reader.send(item).await),
            Self::Piece(reader, piece) => drop(reader.send(piece).await),
        }
    }
}

/// What Python's `sys.exit` raises.
const SYSTEM_EXIT: &str = "SystemExit";

/// What is known of a worker that ended without being asked to.
#[derive(Clone, Copy)]
struct Crash {
    /// Whether it had not loaded its code.
    was_starting: bool,
    /// Whether its code is at fault beyond doubt, so that once is enough to call it unhealthy.
    is_known: bool,
}

impl Supervisor {
    /// A worker has loaded its code.
    pub(super) fn worker_ready(self: &Arc<Self>, number: u64, head: &Arc<ReadyHead>) {
        let now = self.now();
        let mut state = self.lock();
        let Some(worker) = state.workers.get_mut(&number) else { return };
        if worker.phase == Phase::Starting {
            worker.phase = Phase::Ready;
            worker.since = now;
        }
        worker.ready = Some(Arc::clone(head));
        if worker.generation == state.generation {
            state.ready = Some(Arc::clone(head));
            state.is_warming = false;
            state.failure = None;
            state.unhealthy = None;
        }
        self.pump(&mut state);
    }

    /// A worker could not load its code: calls are answered with its report.
    pub(super) fn worker_refused(self: &Arc<Self>, number: u64, report: ErrorReport) {
        let now = self.now();
        let mut state = self.lock();
        let Some(worker) = state.workers.get_mut(&number) else { return };
        stop(worker, now + self.shared.options.stop_grace);
        if worker.generation == state.generation {
            if self.is_of_app {
                self.remember_failure(&mut state, report);
            } else {
                self.count_crash(&mut state, report, Crash { was_starting: true, is_known: true });
            }
        }
        self.pump(&mut state);
    }

    /// Counts the end of a worker that was not meant: after some in a row the next one starts after
    /// growing pauses, and the endpoint is unhealthy. An app's calls are then answered with the
    /// reason, since its author waits for it; what was sent to another endpoint's queue waits, as on
    /// Runpod (`platform.md` 4.3).
    fn count_crash(&self, state: &mut State, report: ErrorReport, crash: Crash) {
        state.crashes += 1;
        if state.crashes >= START_ATTEMPTS || crash.is_known {
            state.unhealthy = Some(report.message.clone());
        }
        if state.crashes < START_ATTEMPTS {
            return;
        }
        let patience = (state.crashes - START_ATTEMPTS).min(8);
        if patience > 0 {
            let pause = Duration::from_millis(250) * 2u32.pow(patience - 1);
            state.start_not_before = self.now() + pause.min(LONGEST_PAUSE);
        }
        if self.is_of_app {
            if crash.was_starting {
                self.remember_failure(state, report);
            }
            return;
        }
        state.is_warming = false;
        // Calls are not stored: somebody waits for them now.
        for work in state.queue.take_calls(|work| matches!(work.kind, WorkKind::Call { .. })) {
            self.fail(state, work, &report);
        }
    }

    fn remember_failure(&self, state: &mut State, report: ErrorReport) {
        let retry_at = self.now() + self.shared.options.load_retry_pause;
        state.failure = Some(LoadFailure { report, retry_at });
        state.is_warming = false;
    }

    /// One item of a call.
    pub(super) fn worker_chunk(
        self: &Arc<Self>,
        number: u64,
        frame: Frame,
    ) -> Result<Option<Delivery>, WireError> {
        let head: ChunkHead = frame.parse_head()?;
        let mut state = self.lock();
        let key = frame.call_id;
        let Some(running) = running_of(&mut state, number, key) else { return Ok(None) };
        if let Target::Call(_) = running.target {
            let (items, reader) = mpsc::channel(STREAM_BACKLOG);
            let guard = self.watch_reader(key, items.clone());
            if let Target::Call(reply) = std::mem::replace(&mut running.target, Target::Stream(items, guard))
            {
                let _ = reply.send(Ok(Reply::Stream(reader)));
            }
        }
        match &mut running.target {
            Target::Stream(items, _) => Ok(Some(Delivery::Item(items.clone(), Ok(frame.buffers)))),
            Target::Job { id, items } => {
                let (id, item) = (id.clone(), frame.buffers.into_iter().next().unwrap_or(NULL));
                if head == ChunkHead::Progress {
                    self.change_job(&mut state, &id, Change::Progress(item));
                } else {
                    items.push(item.clone());
                    if let Err(error) = self.shared.options.store.push_item(&self.name, &id, item) {
                        tracing::debug!(endpoint = self.name, %error, "item dropped");
                    }
                    Self::tell(&mut state, &id, false);
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Status and headers of an HTTP answer.
    pub(super) fn worker_http_start(self: &Arc<Self>, number: u64, frame: &Frame) -> Result<(), WireError> {
        let mut start: HttpStartHead = frame.parse_head()?;
        let mut state = self.lock();
        let Some(worker) = state.workers.get(&number).map(|worker| worker.id.clone()) else { return Ok(()) };
        let Some(running) = running_of(&mut state, number, frame.call_id) else { return Ok(()) };
        if !matches!(running.target, Target::Http(_)) {
            return Ok(());
        }
        let (pieces, body) = mpsc::channel(STREAM_BACKLOG);
        let guard = self.watch_reader(frame.call_id, pieces.clone());
        let (name, value) = (b"x-runpod-worker-id".to_vec(), worker.clone().into_bytes());
        start.headers.push((name.into(), value.into()));
        if let Target::Http(reply) = std::mem::replace(&mut running.target, Target::Body(pieces, guard)) {
            let _ = reply.send(Ok(HttpReply { start, body, worker }));
        }
        Ok(())
    }

    /// A piece of an HTTP body.
    pub(super) fn worker_http_chunk(&self, number: u64, frame: Frame) -> Option<Delivery> {
        let mut state = self.lock();
        let running = running_of(&mut state, number, frame.call_id)?;
        let Target::Body(pieces, _) = &running.target else { return None };
        let piece = frame.buffers.into_iter().next().unwrap_or_default();
        Some(Delivery::Piece(pieces.clone(), Ok(piece)))
    }

    /// Cancels a call when its reader is dropped; ends with the guard that is returned.
    fn watch_reader<T: Send + 'static>(
        self: &Arc<Self>,
        key: u64,
        reader: mpsc::Sender<T>,
    ) -> oneshot::Sender<()> {
        let (guard, ended) = oneshot::channel();
        let supervisor = Arc::clone(self);
        self.shared.handle.spawn(async move {
            tokio::select! {
                () = reader.closed() => supervisor.abandon(key),
                _ = ended => {}
            }
        });
        guard
    }

    /// The end of a call.
    pub(super) fn worker_answer(
        self: &Arc<Self>,
        number: u64,
        frame: Frame,
    ) -> Result<Option<Delivery>, WireError> {
        let head: AnswerHead = frame.parse_head()?;
        let now = self.now();
        let mut state = self.lock();
        let Some(worker) = state.workers.get_mut(&number) else { return Ok(None) };
        let Some(running) = worker.running.remove(&frame.call_id) else { return Ok(None) };
        worker.since = now;
        // Code that wanted to end the process left it in a state that nobody expects.
        if matches!(&head, AnswerHead::Failed(report) if report.error_type == SYSTEM_EXIT)
            && worker.phase == Phase::Ready
        {
            worker.drain();
        }
        state.crashes = 0;
        let delivery = match running.target {
            Target::Job { id, items } => {
                let change = job_change(head, frame.buffers, &items);
                self.change_job(&mut state, &id, change);
                None
            }
            Target::Call(reply) => {
                let result = match head {
                    AnswerHead::Failed(report) => Err(*report),
                    AnswerHead::End => Ok(Reply::Stream(mpsc::channel(1).1)),
                    AnswerHead::Python | AnswerHead::Json | AnswerHead::Http => {
                        Ok(Reply::Value(frame.buffers))
                    }
                };
                let _ = reply.send(result);
                None
            }
            Target::Stream(items, _) => match head {
                AnswerHead::Failed(report) => Some(Delivery::Item(items, Err(*report))),
                _ => None,
            },
            Target::Http(reply) => {
                let report = match head {
                    AnswerHead::Failed(report) => *report,
                    _ => internal("the worker gave no HTTP answer"),
                };
                let _ = reply.send(Err(report));
                None
            }
            Target::Body(pieces, _) => match head {
                AnswerHead::Failed(report) => Some(Delivery::Piece(pieces, Err(*report))),
                _ => None,
            },
            Target::Lease | Target::Nobody => None,
        };
        self.pump(&mut state);
        Ok(delivery)
    }

    /// A worker process has ended, `reason` says how; `has_left` when it did so of its own will.
    /// Returns whether that was meant, and why it was.
    pub(super) fn worker_ended(
        self: &Arc<Self>,
        number: u64,
        reason: String,
        has_left: bool,
        tail: &str,
    ) -> (bool, String) {
        let mut state = self.lock();
        let Some(mut worker) = state.workers.remove(&number) else { return (true, reason) };
        let is_unhealthy = worker.unhealthy.is_some();
        let reason = worker.unhealthy.take().or(worker.killed_because.take()).unwrap_or(reason);
        let is_command = !matches!(worker.link, Link::Frames(_));
        let was_ready = matches!(worker.phase, Phase::Ready | Phase::Draining);
        // What kills one that sleeps is no fault of its code.
        let was_stopped = matches!(worker.phase, Phase::Stopping(_) | Phase::Asleep(_))
            || (worker.phase == Phase::Lost && worker.running.is_empty())
            || worker.generation != state.generation && worker.running.is_empty();
        let was_meant = !is_unhealthy && (was_stopped || is_command && has_left && was_ready);
        if was_meant {
            state.remember_stopped(&worker);
        } else {
            let was_starting = worker.phase == Phase::Starting;
            let when = if was_starting { " before it had loaded its code" } else { "" };
            let text = format!("a worker of endpoint `{}` {reason}{when}", self.name);
            let crash = Crash { was_starting, is_known: is_unhealthy || is_command && !was_ready };
            self.count_crash(&mut state, died(text, tail), crash);
        }
        let held = std::mem::take(&mut worker.running);
        for (key, running) in held.into_iter().rev() {
            match running.target {
                Target::Job { id, .. } if is_command => self.lose_job(&mut state, key, &id),
                _ => self.lose(&mut state, key, running, &reason, tail),
            }
        }
        self.pump(&mut state);
        self.rouse();
        (was_meant, reason)
    }

    /// A worker was lost while it held this: a stored job goes back to the queue's head once.
    fn lose(&self, state: &mut State, key: u64, running: Running, reason: &str, tail: &str) {
        let report = died(format!("the worker {reason} while it ran this"), tail);
        let Target::Job { id, .. } = running.target else {
            self.end_with(running.target, &report);
            return;
        };
        let Ok(Some(job)) = self.shared.options.store.look(&self.name, &id) else { return };
        if job.retries == 0 && self.requeue(state, key, &id, Change::Requeued) {
            state.retried += 1;
        } else {
            let text = format!("the worker {reason} while it ran this job, for the second time");
            self.change_job(state, &id, Change::Failed(Box::new(died(text, tail)), None));
        }
    }
}

fn running_of(state: &mut State, number: u64, key: u64) -> Option<&mut Running> {
    state.workers.get_mut(&number)?.running.get_mut(&key)
}

/// How a job ends by this answer. As on Runpod, a result that is an object with a truthy `error`
/// is a failure.
fn job_change(head: AnswerHead, buffers: Vec<Bytes>, items: &[Bytes]) -> Change {
    match head {
        AnswerHead::Failed(report) => Change::Failed(report, None),
        AnswerHead::End => {
            let mut list = vec![b'['];
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    list.push(b',');
                }
                list.extend_from_slice(item);
            }
            list.push(b']');
            Change::Completed(list.into())
        }
        AnswerHead::Json => {
            let output = buffers.into_iter().next().unwrap_or(NULL);
            match split_error(&output) {
                Some((Some(error), rest)) => {
                    Change::Failed(Box::new(ErrorReport::new(Failure::Raised, "", error)), rest)
                }
                Some((None, rest)) => Change::Completed(rest.unwrap_or(NULL)),
                None => Change::Completed(output),
            }
        }
        AnswerHead::Python | AnswerHead::Http => {
            Change::Failed(Box::new(internal("the worker did not answer the job in JSON")), None)
        }
    }
}

fn internal(text: &str) -> ErrorReport {
    ErrorReport::new(Failure::Internal, "InternalError", text)
}

fn died(mut text: String, tail: &str) -> ErrorReport {
    if !tail.is_empty() {
        text.push_str("; the last it printed:\n");
        text.push_str(tail);
    }
    ErrorReport::new(Failure::WorkerDied, "WorkerDiedError", text)
}
