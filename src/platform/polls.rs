//! What is known of one worker that asks for its work by HTTP (`platform.md` 2).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::clock::Moment;
use crate::server::guard::new_token;

/// A `runpod.serverless.start` process, as the worker API sees it.
pub(super) struct Polls {
    /// Opens the worker API for this very process.
    pub(super) token: String,
    /// Requests of it that wait, the oldest first.
    waiting: VecDeque<Waiting>,
    next_poll: u64,
    /// Jobs that it is to let go and was not told of yet.
    stops: Vec<String>,
    /// What it holds, by call.
    pub(super) held: BTreeMap<u64, Held>,
    /// When it pinged last.
    pub(super) pinged: Moment,
}

/// A job on such a worker.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: String,
    /// When the worker last showed that it has it; at first, when it got it.
    pub(super) seen: Moment,
    /// Whether a ping has listed it.
    pub(super) was_listed: bool,
    /// From when on it has surely begun.
    pub(super) begun: Moment,
    /// When it is to be told to let go once more.
    pub(super) repeat_stop: Option<Moment>,
}

/// How long an official worker may take to begin a job that it got; until then it does not know
/// the job when it is told to let it go, and forgets that it was told.
const BEGINNING: Duration = Duration::from_secs(1);

impl Held {
    pub(super) fn new(job: String, now: Moment) -> Self {
        Self { job, seen: now, was_listed: false, begun: now + BEGINNING, repeat_stop: None }
    }
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Jobs, at most so many.
    Jobs(usize),
    /// Jobs that are to be let go.
    Stops,
}

/// A request that waits.
struct Waiting {
    poll: u64,
    wants: Wants,
    reply: oneshot::Sender<Answer>,
}

/// What a request that waited gets.
#[derive(Debug, Default)]
pub(super) enum Answer {
    /// Nothing; it may ask again.
    #[default]
    Nothing,
    /// Nothing: the worker sleeps.
    Asleep,
    /// Jobs to run.
    Jobs(Vec<Handed>),
    /// IDs of jobs to let go.
    Stops(Vec<String>),
}

/// A job as a worker gets it.
#[derive(Debug, Clone)]
pub(super) struct Handed {
    /// Call that it is.
    pub(super) key: u64,
    pub(super) id: String,
    /// JSON text, as the client sent it.
    pub(super) input: Bytes,
    pub(super) webhook: Option<String>,
    /// JSON text.
    pub(super) s3_config: Option<Bytes>,
}

impl Polls {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            token: new_token(),
            waiting: VecDeque::new(),
            next_poll: 0,
            stops: Vec::new(),
            held: BTreeMap::new(),
            pinged: now,
        }
    }

    /// Lets a request wait; returns its number, and where its answer comes.
    pub(super) fn wait(&mut self, wants: Wants) -> (u64, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let poll = self.next_poll;
        self.next_poll += 1;
        self.waiting.push_back(Waiting { poll, wants, reply });
        (poll, answer)
    }

    /// A request waits no more.
    pub(super) fn leave(&mut self, poll: u64) {
        self.waiting.retain(|waiting| waiting.poll != poll);
    }

    /// Whether it asks for jobs now.
    pub(super) fn is_asking(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.wants != Wants::Stops)
    }

    /// How many jobs the oldest request for some takes.
    pub(super) fn asked(&self) -> Option<usize> {
        self.waiting.iter().find_map(|waiting| match waiting.wants {
            Wants::Jobs(most) => Some(most),
            Wants::Stops => None,
        })
    }

    /// Answers the oldest request that wants what this is; gives it back when there is none.
    pub(super) fn answer(&mut self, answer: Answer) -> Result<(), Answer> {
        let is_for_stops = matches!(answer, Answer::Stops(_));
        let fits = |waiting: &Waiting| (waiting.wants == Wants::Stops) == is_for_stops;
        let Some(index) = self.waiting.iter().position(fits) else { return Err(answer) };
        match self.waiting.remove(index) {
            Some(waiting) => waiting.reply.send(answer),
            None => Err(answer),
        }
    }

    /// Answers all requests with nothing.
    pub(super) fn dismiss(&mut self) {
        for waiting in self.waiting.drain(..) {
            // One whose client left needs no answer.
            let _ = waiting.reply.send(Answer::Nothing);
        }
    }

    /// Answers all requests for jobs: the worker sleeps, and asks anew when it wakes.
    pub(super) fn freeze(&mut self) {
        let (frozen, kept) =
            self.waiting.drain(..).partition(|waiting: &Waiting| waiting.wants != Wants::Stops);
        self.waiting = kept;
        let frozen: VecDeque<Waiting> = frozen;
        for waiting in frozen {
            let _ = waiting.reply.send(Answer::Asleep);
        }
    }

    /// Tells the worker, as soon as it asks, to let these jobs go.
    pub(super) fn stop_jobs(&mut self, jobs: impl IntoIterator<Item = String>) {
        self.stops.extend(jobs);
        while !self.stops.is_empty() {
            let stops = std::mem::take(&mut self.stops);
            match self.answer(Answer::Stops(stops)) {
                Err(Answer::Stops(stops)) => {
                    self.stops = stops;
                    let is_waiting = self.waiting.iter().any(|waiting| waiting.wants == Wants::Stops);
                    if !is_waiting {
                        return;
                    }
                }
                Ok(()) | Err(_) => return,
            }
        }
    }

    /// Tells the worker to let the job of a call go; again once it has begun, if it has not yet.
    pub(super) fn stop_call(&mut self, key: u64, now: Moment) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.repeat_stop = (now < held.begun).then_some(held.begun);
        let job = held.job.clone();
        self.stop_jobs([job]);
    }

    /// Says again what came too early.
    pub(super) fn repeat_stops(&mut self, now: Moment) {
        let due = |held: &&mut Held| held.repeat_stop.is_some_and(|moment| moment <= now);
        let jobs: Vec<String> = self
            .held
            .values_mut()
            .filter(due)
            .map(|held| {
                held.repeat_stop = None;
                held.job.clone()
            })
            .collect();
        self.stop_jobs(jobs);
    }

    /// The call that runs a job here.
    pub(super) fn key_of(&self, job: &str) -> Option<u64> {
        self.held.iter().find(|(_, held)| held.job == job).map(|(key, _)| *key)
    }
}

impl std::fmt::Debug for Polls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Polls")
            .field("held", &self.held)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}
