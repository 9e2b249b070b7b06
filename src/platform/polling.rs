//! What workers that ask by HTTP say, and what follows from their silence (`platform.md` 2, 4.5).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::clock::Moment;
use super::dispatch::stop;
use super::event::Event;
use super::polls::{Answer, Handed, Held, Polls, Wants};
use super::queue::{Running, Target, Work, WorkKind};
use super::record::Change;
use super::state::{Link, Phase, State, Worker};
use super::supervisor::Supervisor;
use crate::wire::message::{ErrorReport, Failure, ReadyHead};

/// A job that its worker's pings have not listed for so long is lost; so is a worker without a
/// ping: four intervals.
pub(super) const SILENCE: Duration = Duration::from_secs(40);

/// What a worker sends about a job that it holds.
#[derive(Debug)]
pub(super) enum News {
    /// A progress update (JSON).
    Progress(Bytes),
    /// An item that the job yielded (JSON).
    Item(Bytes),
    /// Its end, and whether the worker wants to be replaced after it.
    End(Change, bool),
}

/// The worker does not hold the job, or no longer.
#[derive(Debug)]
pub(super) struct NotHeld;

/// A request of a worker that waits. Dropped without an answer, it takes nothing.
pub(super) struct Poll {
    supervisor: Arc<Supervisor>,
    worker: u64,
    number: u64,
    answer: oneshot::Receiver<Answer>,
    /// How long it may wait.
    pub(super) hold: Option<Duration>,
}

impl Poll {
    /// Waits for the answer.
    pub(super) async fn answered(&mut self) -> Answer {
        (&mut self.answer).await.unwrap_or_default()
    }

    /// Stops to wait; returns the answer that came meanwhile.
    pub(super) fn give_up(&mut self) -> Answer {
        let mut state = self.supervisor.lock();
        if let Some(polls) = polls_of(&mut state, self.worker) {
            polls.leave(self.number);
        }
        // Answers are sent under the lock: none can come after this.
        self.answer.try_recv().unwrap_or_default()
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let answer = self.give_up();
        self.supervisor.take_back(self.worker, answer);
    }
}

impl Supervisor {
    /// A worker asks. Its first request for jobs says that it has loaded its code.
    pub(super) fn open_poll(self: &Arc<Self>, number: u64, wants: Wants, holds_jobs: bool) -> Option<Poll> {
        let now = self.now();
        let mut state = self.lock();
        let worker = state.workers.get_mut(&number)?;
        let Link::Polls(polls) = &mut worker.link else { return None };
        let (poll_number, answer) = polls.wait(wants);
        if wants == Wants::Stops {
            polls.stop_jobs(None);
        }
        // One that was told to stop shall notice, and not ask without end.
        let hold = matches!(worker.phase, Phase::Stopping(_) | Phase::Lost).then_some(STOPPING_HOLD);
        if let Phase::Asleep(_) = worker.phase {
            // It was stopped by signal while this was on its way.
            polls.freeze();
        }
        if wants != Wants::Stops {
            if !holds_jobs {
                // What it was told to let go, it has let go.
                worker.running.retain(|key, running| {
                    let is_held = running.abandoned.is_none();
                    if !is_held {
                        polls.held.remove(key);
                    }
                    is_held
                });
            }
            if worker.phase == Phase::Starting {
                self.polling_started(&mut state, number, now);
            }
            self.stop_drained(&mut state, number, now);
        }
        self.pump(&mut state);
        drop(state);
        Some(Poll { supervisor: Arc::clone(self), worker: number, number: poll_number, answer, hold })
    }

    fn polling_started(&self, state: &mut State, number: u64, now: Moment) {
        let Some(worker) = state.workers.get_mut(&number) else { return };
        worker.phase = Phase::Ready;
        let load_ms = u64::try_from(now.saturating_sub(worker.since).as_millis()).unwrap_or(u64::MAX);
        worker.since = now;
        let ready = ReadyHead {
            pid: worker.switch.pid().unwrap_or_default(),
            python: String::new(),
            callables: Vec::new(),
            openapi: None,
            load_ms,
        };
        let worker_id = worker.id.clone();
        if worker.generation == state.generation {
            state.is_warming = false;
            state.failure = None;
            state.unhealthy = None;
        }
        self.shared.observer.event(Event::WorkerReady {
            endpoint: self.name.clone(),
            worker: worker_id,
            ready: Arc::new(ready),
        });
    }

    /// An answer did not reach its worker: jobs go back to the queue's head as if never taken.
    pub(super) fn take_back(self: &Arc<Self>, number: u64, answer: Answer) {
        match answer {
            Answer::Nothing | Answer::Asleep => {}
            Answer::Stops(jobs) => {
                if let Some(polls) = polls_of(&mut self.lock(), number) {
                    polls.stop_jobs(jobs);
                }
            }
            Answer::Jobs(jobs) => {
                let mut state = self.lock();
                for job in jobs.iter().rev() {
                    let Some(running) = drop_held(&mut state, number, job.key) else { continue };
                    let Target::Job { id, .. } = running.target else { continue };
                    self.requeue(&mut state, job.key, &id, Change::HandedBack);
                }
                self.pump(&mut state);
            }
        }
    }

    /// Puts a job back to the queue's head; returns whether its state allows that.
    pub(super) fn requeue(&self, state: &mut State, key: u64, id: &str, change: Change) -> bool {
        let Ok(Some(job)) = self.shared.options.store.look(&self.name, id) else { return false };
        // One that was lost waits from now on, one that reached nobody has waited all along.
        let since = if matches!(change, Change::HandedBack) { job.accepted } else { self.now() };
        if !self.change_job(state, id, change) {
            return false;
        }
        let kind = WorkKind::Job { id: id.to_owned(), low_priority: job.request.low_priority };
        state.queue.push_front(Work { key, since, kind });
        true
    }

    /// Answers a worker's request with jobs from the queue, as many as it takes; returns whether
    /// anything was taken from the queue.
    pub(super) fn hand_jobs(&self, state: &mut State, number: u64, now: Moment) -> bool {
        let Some(most) = polls_of(state, number).and_then(|polls| polls.asked()) else { return false };
        let (mut jobs, mut was_taken) = (Vec::new(), false);
        while jobs.len() < most {
            let Some(work) = state.queue.pop_front() else { break };
            was_taken = true;
            let WorkKind::Job { id, .. } = work.kind else {
                let text =
                    format!("the workers of endpoint `{}` are a command: they take jobs only", self.name);
                self.fail(state, work, &ErrorReport::new(Failure::InvalidInput, "TypeError", text));
                continue;
            };
            jobs.extend(self.hand_job(state, number, work.key, id, now));
        }
        if jobs.is_empty() {
            return was_taken;
        }
        let unsent = match polls_of(state, number) {
            Some(polls) => polls.answer(Answer::Jobs(jobs)).err(),
            None => None,
        };
        // Its client left in this very moment.
        if let Some(Answer::Jobs(jobs)) = unsent {
            for job in jobs.into_iter().rev() {
                if drop_held(state, number, job.key).is_some() {
                    self.requeue(state, job.key, &job.id, Change::HandedBack);
                }
            }
        }
        true
    }

    fn hand_job(&self, state: &mut State, number: u64, key: u64, id: String, now: Moment) -> Option<Handed> {
        let job = self.shared.options.store.get(&self.name, &id).ok()??;
        let worker = state.workers.get(&number)?.id.clone();
        if !self.change_job(state, &id, Change::Started { worker }) {
            return None;
        }
        let limit = Self::limit_of(state, &job.request);
        let worker = state.workers.get_mut(&number)?;
        let target = Target::Job { id: id.clone(), items: Vec::new() };
        let deadline = now.checked_add(limit);
        worker.running.insert(key, Running { target, deadline, limit, abandoned: None });
        if let Link::Polls(polls) = &mut worker.link {
            polls.held.insert(key, Held::new(id.clone(), now));
        }
        let request = job.request;
        Some(Handed { key, id, input: request.input, webhook: request.webhook, s3_config: request.s3_config })
    }

    /// A worker says something about a job.
    pub(super) fn job_news(self: &Arc<Self>, number: u64, job: &str, news: News) -> Result<(), NotHeld> {
        let now = self.now();
        let mut state = self.lock();
        let worker = state.workers.get_mut(&number).ok_or(NotHeld)?;
        let Link::Polls(polls) = &mut worker.link else { return Err(NotHeld) };
        let key = polls.key_of(job).ok_or(NotHeld)?;
        let is_wanted = worker.running.get(&key).is_some_and(|running| running.abandoned.is_none());
        let (change, wants_end) = match news {
            News::Progress(_) | News::Item(_) if !is_wanted => return Err(NotHeld),
            News::Progress(update) => {
                seen(polls, key, now);
                self.change_job(&mut state, job, Change::Progress(update));
                return Ok(());
            }
            News::Item(item) => {
                seen(polls, key, now);
                if let Err(error) = self.shared.options.store.push_item(&self.name, job, item) {
                    tracing::debug!(endpoint = self.name, %error, "item dropped");
                }
                Self::tell(&mut state, job, false);
                return Ok(());
            }
            News::End(change, wants_end) => (change, wants_end),
        };
        polls.held.remove(&key);
        let ended = worker.running.remove(&key);
        let ran_too_long =
            ended.and_then(|ended| ended.abandoned).is_some_and(|abandoned| abandoned.is_timeout);
        worker.since = now;
        // It did not let go when it was told to: as on Runpod, the worker of a job that ran too
        // long is stopped (`platform.md` 4.4).
        if (wants_end || ran_too_long) && worker.phase == Phase::Ready {
            worker.drain();
        }
        self.stop_drained(&mut state, number, now);
        state.crashes = 0;
        let is_applied = is_wanted && self.change_job(&mut state, job, change);
        self.pump(&mut state);
        if is_applied { Ok(()) } else { Err(NotHeld) }
    }

    /// Stops a worker that was to finish what it held, once it has.
    fn stop_drained(&self, state: &mut State, number: u64, now: Moment) {
        let stop_at = now + self.shared.options.stop_grace;
        if let Some(worker) = state.workers.get_mut(&number)
            && worker.phase == Phase::Draining
            && worker.running.is_empty()
        {
            stop(worker, stop_at);
        }
    }

    /// A worker pings, and lists what it holds.
    pub(super) fn ping(self: &Arc<Self>, number: u64, jobs: &[&str]) {
        let now = self.now();
        let mut state = self.lock();
        let Some(worker) = state.workers.get_mut(&number) else { return };
        let Link::Polls(polls) = &mut worker.link else { return };
        polls.pinged = now;
        let mut let_go = Vec::new();
        for (key, held) in &mut polls.held {
            if jobs.contains(&held.job.as_str()) {
                held.seen = now;
                held.was_listed = true;
            } else if held.was_listed
                && worker.running.get(key).is_some_and(|running| running.abandoned.is_some())
            {
                let_go.push(*key);
            }
        }
        for key in let_go {
            drop_held(&mut state, number, key);
        }
        self.stop_drained(&mut state, number, now);
        self.pump(&mut state);
    }

    /// A worker says that it cannot work: it goes, and another is started after a pause.
    pub(super) fn worker_unhealthy(self: &Arc<Self>, number: u64, reason: String) {
        let now = self.now();
        let mut state = self.lock();
        let Some(worker) = state.workers.get_mut(&number) else { return };
        worker.unhealthy.get_or_insert(reason);
        if matches!(worker.phase, Phase::Starting | Phase::Ready | Phase::Draining) {
            stop(worker, now + self.shared.options.stop_grace);
        }
        self.pump(&mut state);
    }

    /// Gives up jobs that their workers do not show, and workers that are silent.
    pub(super) fn enforce_pings(&self, state: &mut State, numbers: &[u64], now: Moment) {
        let mut lost = Vec::new();
        for number in numbers {
            if let Some(polls) = polls_of(state, *number) {
                polls.repeat_stops(now);
            }
            let Some(worker) = state.workers.get(number) else { continue };
            let Link::Polls(polls) = &worker.link else { continue };
            let due = |held: &Held| now >= held.seen + SILENCE;
            let unseen: Vec<u64> =
                polls.held.iter().filter(|(_, held)| due(held)).map(|(key, _)| *key).collect();
            if unseen.is_empty() {
                continue;
            }
            if now < polls.pinged + SILENCE {
                lost.extend(unseen.into_iter().map(|key| (*number, key)));
            } else if worker.phase != Phase::Lost
                && let Some(worker) = state.workers.get_mut(number)
            {
                worker
                    .unhealthy
                    .get_or_insert_with(|| format!("sent no ping for {SILENCE:?} and was killed"));
                worker.phase = Phase::Lost;
                worker.switch.kill();
            }
        }
        for (number, key) in lost {
            if let Some(Running { target: Target::Job { id, .. }, .. }) = drop_held(state, number, key) {
                self.lose_job(state, key, &id);
            }
            self.stop_drained(state, number, now);
        }
    }

    /// A job was lost with its worker, or by it: it runs again once (`platform.md` 4.5).
    pub(super) fn lose_job(&self, state: &mut State, key: u64, id: &str) {
        let Ok(Some(job)) = self.shared.options.store.look(&self.name, id) else { return };
        if job.retries == 0 && self.requeue(state, key, id, Change::Requeued) {
            state.retried += 1;
        } else {
            let text = format!("job timed out after {} retries", job.retries);
            let report = ErrorReport::new(Failure::WorkerDied, "", text);
            self.change_job(state, id, Change::Failed(Box::new(report), None));
        }
    }
}

/// How long a request of a worker waits that was told to stop.
const STOPPING_HOLD: Duration = Duration::from_millis(500);

fn seen(polls: &mut Polls, key: u64, now: Moment) {
    if let Some(held) = polls.held.get_mut(&key) {
        held.seen = now;
    }
}

fn polls_of(state: &mut State, number: u64) -> Option<&mut Polls> {
    match &mut state.workers.get_mut(&number)?.link {
        Link::Polls(polls) => Some(polls),
        Link::Frames(_) | Link::Port(_) => None,
    }
}

/// Removes a call from its worker.
fn drop_held(state: &mut State, number: u64, key: u64) -> Option<Running> {
    let worker: &mut Worker = state.workers.get_mut(&number)?;
    if let Link::Polls(polls) = &mut worker.link {
        polls.held.remove(&key);
    }
    worker.running.remove(&key)
}
