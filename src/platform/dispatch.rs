//! Gives work to workers and makes their number right; runs after every change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::balance::REQUEST_TIMEOUT;
use super::callable::resolve;
use super::claims::Claim;
use super::clock::Moment;
use super::queue::{Running, Target, Work, WorkKind};
use super::record::Change;
use super::spec::Runtime;
use super::state::{Link, Phase, State, Worker};
use super::supervisor::{Supervisor, stopping_report};
use crate::endpoint::{EndpointKind, JobStatus};
use crate::requirements::EnvironmentState;
use crate::wire::backend::JobRequest;
use crate::wire::message::{CallHead, ErrorReport, Failure, Input};
use crate::wire::{Frame, FrameKind};

/// How long a job may run when nothing says it, as on Runpod.
const EXECUTION_TIMEOUT: Duration = Duration::from_mins(10);

impl Supervisor {
    /// Does everything that can be done now.
    pub(super) fn pump(self: &Arc<Self>, state: &mut State) {
        let now = self.now();
        self.forget_jobs(state, now);
        self.follow_environment(state);
        self.refuse_hopeless(state, now);
        self.retire(state, now);
        self.enforce_deadlines(state, now);
        self.end_sleep(state, now);
        self.dispatch(state, now);
        self.resume_workers(state, now);
        if self.scale(state, now) {
            self.dispatch(state, now);
        }
        self.settle(state, now);
        let active = state.workers.counts().active;
        self.shared.report(self.claimant, Claim { active, throttled: state.throttled + state.held_back });
        let wake_at = self.next_moment(state, now);
        if wake_at != state.wake_at {
            state.wake_at = wake_at;
            self.rouse();
        }
    }

    /// Brings the index of the workers up to date.
    pub(super) fn settle(&self, state: &mut State, now: Moment) {
        state.settle(now, self.shared.options.init_timeout);
    }

    /// Gives waiting work to free workers, the least busy first. An endpoint that has its share of
    /// a machine that others wait for leaves its idle workers idle.
    pub(super) fn dispatch(&self, state: &mut State, now: Moment) {
        while !state.queue.is_empty() {
            self.settle(state, now);
            let Some(number) = state.workers.free(self.is_over_share(state)) else { break };
            let polls =
                state.workers.get(&number).is_some_and(|worker| matches!(worker.link, Link::Polls(_)));
            if state.spec.kind == EndpointKind::LoadBalanced {
                let Some((number, work)) = state.next_assignment(number) else { break };
                self.assign(state, number, work, now);
            } else if polls {
                if !self.hand_jobs(state, number, now) {
                    break;
                }
            } else if let Some(work) = state.queue.pop_front() {
                self.assign(state, number, work, now);
            } else {
                break;
            }
        }
    }

    /// Forgets jobs whose time has come, in the queue and on workers too.
    fn forget_jobs(&self, state: &mut State, now: Moment) {
        let store = &self.shared.options.store;
        if store.next_expiry(&self.name).is_none_or(|moment| moment > now) {
            return;
        }
        for job in store.expire(&self.name, now).unwrap_or_default() {
            match job.status {
                JobStatus::InQueue => {
                    state.queue.remove_job(&job.id);
                }
                JobStatus::InProgress => {
                    if let Some(key) = state.key_of_job(&job.id) {
                        self.release(state, key, false);
                    }
                }
                _ => {}
            }
            Self::tell(state, &job.id, true);
        }
    }

    /// Another interpreter makes a new generation.
    fn follow_environment(&self, state: &mut State) {
        if let Runtime::Flash(flash) = &mut state.spec.runtime {
            flash.environment.mark_unchanged();
        }
        let environment = state.spec.environment(&self.shared.options.host);
        if let EnvironmentState::Ready(interpreter) = environment
            && state.interpreter.as_ref() != Some(&interpreter)
        {
            if state.interpreter.is_some() {
                self.next_generation(state);
            }
            state.interpreter = Some(interpreter);
        }
    }

    /// Answers what cannot be done: no environment, code that does not load, a shutdown.
    fn refuse_hopeless(&self, state: &mut State, now: Moment) {
        let environment = match state.spec.environment(&self.shared.options.host) {
            EnvironmentState::Failed { message, hint } => {
                let mut report = ErrorReport::new(Failure::Environment, "EnvironmentError", message);
                report.hint = hint;
                Some(report)
            }
            _ => None,
        };
        let report = environment.or_else(|| {
            let failure = state.failure.as_ref()?;
            (now < failure.retry_at).then(|| failure.report.clone())
        });
        if let Some(report) = report {
            for work in state.queue.take_calls(|_| true) {
                self.fail(state, work, &report);
            }
            if !state.queue.is_empty() {
                self.end_waiting(state, &Change::Failed(Box::new(report), None));
            }
        }
        let is_stopping = self.shared.is_shutting_down();
        if state.is_removed || is_stopping {
            let is_durable = self.shared.options.store.is_durable();
            let report = stopping_report(&self.name, state.is_removed);
            // A call that something running waits for is part of what runs.
            let is_removed = state.is_removed;
            let refused = state.queue.take_calls(|work| match &work.kind {
                WorkKind::Call { call, .. } => is_removed || call.head.chain.is_empty(),
                WorkKind::Job { .. } | WorkKind::Http { .. } | WorkKind::Lease { .. } => true,
            });
            for work in refused {
                self.fail(state, work, &report);
            }
            if is_durable && is_stopping {
                state.queue.hold_jobs();
            } else if !state.queue.is_empty() {
                self.end_waiting(state, &Change::Cancelled);
            }
        }
        self.refuse_requests(state, now);
    }

    /// Ends work that no worker holds.
    pub(super) fn fail(&self, state: &mut State, work: Work, report: &ErrorReport) {
        match work.kind {
            WorkKind::Job { id, .. } => {
                self.change_job(state, &id, Change::Failed(Box::new(report.clone()), None));
            }
            WorkKind::Call { reply, .. } => drop(reply.send(Err(report.clone()))),
            WorkKind::Http { reply, .. } => drop(reply.send(Err(report.clone()))),
            WorkKind::Lease { reply, .. } => drop(reply.send(Err(report.clone()))),
        }
    }

    /// Lets workers go that serve an older generation, a removed endpoint or a platform that stops.
    fn retire(&self, state: &mut State, now: Moment) {
        let is_ending = state.is_removed || self.shared.is_shutting_down();
        let stop_at = now + self.shared.options.stop_grace;
        let (generation, waits) = (state.generation, !state.queue.is_empty());
        self.settle(state, now);
        if !is_ending && state.workers.counts().leaving == 0 {
            return;
        }
        for worker in state.workers.values_mut() {
            let is_leaving = worker.generation != generation || worker.phase == Phase::Draining;
            if !is_leaving && (!is_ending || waits) {
                continue;
            }
            match worker.phase {
                Phase::Starting => {
                    worker.phase = Phase::Lost;
                    worker.switch.kill();
                }
                Phase::Ready | Phase::Draining if worker.running.is_empty() => stop(worker, stop_at),
                Phase::Asleep(_) => stop(worker, stop_at),
                Phase::Ready if worker.generation != generation => worker.drain(),
                _ => {}
            }
        }
    }

    /// Ends what has run too long, and kills workers that do not do what they were told.
    fn enforce_deadlines(&self, state: &mut State, now: Moment) {
        self.settle(state, now);
        let numbers = state.workers.take_due(now);
        let mut due = Vec::new();
        for worker in numbers.iter().filter_map(|number| state.workers.get(number)) {
            let is_due = |running: &Running| running.deadline.is_some_and(|deadline| deadline <= now);
            let over = worker.running.iter().filter(|(_, running)| is_due(running));
            due.extend(over.map(|(key, running)| (*key, running.limit)));
        }
        for (key, limit) in due {
            let text = format!("executionTimeout exceeded: it ran longer than {limit:?}");
            self.time_out(state, key, &ErrorReport::new(Failure::TimedOut, "TimeoutError", text));
        }
        self.enforce_pings(state, &numbers, now);
        let init_timeout = state.init_timeout(self.shared.options.init_timeout);
        for number in numbers {
            // Read first: what is asked for to be changed is looked at again next time.
            let Some(worker) = state.workers.get(&number) else { continue };
            let due = |running: &Running| running.abandoned.is_some_and(|abandoned| abandoned.kill_at <= now);
            let timed_out = |running: &Running| {
                due(running) && running.abandoned.is_some_and(|abandoned| abandoned.is_timeout)
            };
            let reason = match worker.phase {
                Phase::Starting if now >= worker.since + init_timeout => {
                    format!("did not load its code within {init_timeout:?} and was killed")
                }
                Phase::Ready
                    if worker.ailing.as_ref().is_some_and(|(since, _)| now >= *since + init_timeout) =>
                {
                    let reason = worker.ailing.as_ref().map_or("", |(_, reason)| reason.as_str());
                    format!("was not well for {init_timeout:?} ({reason}) and was killed")
                }
                Phase::Stopping(kill_at) if now >= kill_at => "did not stop and was killed".to_owned(),
                Phase::Ready | Phase::Draining if worker.running.values().any(timed_out) => {
                    "did not stop a call that had run too long and was killed".to_owned()
                }
                // A cancelled call alone is no reason to take others down with it.
                Phase::Ready | Phase::Draining
                    if !worker.running.is_empty() && worker.running.values().all(due) =>
                {
                    "did not stop a cancelled call and was killed".to_owned()
                }
                _ => continue,
            };
            let Some(worker) = state.workers.get_mut(&number) else { continue };
            if worker.phase != Phase::Starting {
                worker.phase = Phase::Lost;
            }
            worker.killed_because.get_or_insert(reason);
            worker.switch.kill();
        }
    }

    /// Ends a call with a failure while its worker still holds it.
    fn time_out(&self, state: &mut State, key: u64, report: &ErrorReport) {
        let Some(running) = state.worker_of(key).and_then(|worker| worker.running.get_mut(&key)) else {
            return;
        };
        let target = std::mem::replace(&mut running.target, Target::Nobody);
        self.release(state, key, true);
        match target {
            Target::Job { id, .. } => {
                self.change_job(state, &id, Change::TimedOut(Box::new(report.clone())));
            }
            other => self.end_with(other, report),
        }
    }

    /// Tells a caller that its call failed.
    pub(super) fn end_with(&self, target: Target, report: &ErrorReport) {
        let report = report.clone();
        match target {
            Target::Call(reply) => drop(reply.send(Err(report))),
            Target::Http(reply) => drop(reply.send(Err(report))),
            // The reader may be slow: the failure waits its turn behind the items.
            Target::Stream(items, guard) => {
                self.shared.handle.spawn(async move {
                    let _ = items.send(Err(report)).await;
                    drop(guard);
                });
            }
            Target::Body(pieces, guard) => {
                self.shared.handle.spawn(async move {
                    let _ = pieces.send(Err(report)).await;
                    drop(guard);
                });
            }
            Target::Job { .. } | Target::Lease | Target::Nobody => {}
        }
    }

    /// How long a job may run.
    pub(super) fn limit_of(state: &State, job: &JobRequest) -> Duration {
        job.execution_timeout.or(state.set_timeout()).unwrap_or(EXECUTION_TIMEOUT)
    }

    /// Gives work to a worker.
    fn assign(&self, state: &mut State, number: u64, work: Work, now: Moment) {
        let Some(worker) = state.workers.get(&number) else { return };
        let (worker_id, ready) = (worker.id.clone(), worker.ready.clone());
        let set = state.set_timeout();
        let (target, limit, frame) = match work.kind {
            WorkKind::Job { id, .. } => {
                let Ok(Some(job)) = self.shared.options.store.get(&self.name, &id) else { return };
                let limit = Self::limit_of(state, &job.request);
                let resolved = resolve(ready.as_deref(), &job.request.callable, &job.request.input);
                let started = Change::Started { worker: worker_id };
                if !self.change_job(state, &id, started) {
                    return;
                }
                let (callable, input) = match resolved {
                    Ok(resolved) => resolved,
                    Err(report) => {
                        self.change_job(state, &id, Change::Failed(report, None));
                        return;
                    }
                };
                let head = CallHead {
                    endpoint: self.name.clone(),
                    callable,
                    input: Input::Json,
                    job: Some(id.clone()),
                    chain: Vec::new(),
                    stream: true,
                };
                let frame = Frame::new(FrameKind::Call, work.key, &head, vec![input]);
                (Target::Job { id, items: Vec::new() }, Some(limit), frame)
            }
            WorkKind::Call { call, reply } => {
                let frame = Frame::new(FrameKind::Call, work.key, &call.head, call.buffers);
                (Target::Call(reply), set, frame)
            }
            WorkKind::Lease { reply, .. } => {
                if worker.grant(number, reply)
                    && let Some(worker) = state.workers.get_mut(&number)
                {
                    let limit = Duration::MAX;
                    let running = Running { target: Target::Lease, deadline: None, limit, abandoned: None };
                    worker.running.insert(work.key, running);
                }
                return;
            }
            WorkKind::Http { request, reply, .. } => {
                let head = CallHead {
                    endpoint: self.name.clone(),
                    callable: String::new(),
                    input: Input::Http(request.head),
                    job: None,
                    chain: Vec::new(),
                    stream: true,
                };
                let frame = Frame::new(FrameKind::Call, work.key, &head, vec![request.body]);
                (Target::Http(reply), Some(set.unwrap_or(REQUEST_TIMEOUT)), frame)
            }
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                let report = ErrorReport::new(Failure::Internal, "WireError", error.to_string());
                match target {
                    Target::Job { id, .. } => {
                        self.change_job(state, &id, Change::Failed(Box::new(report), None));
                    }
                    other => self.end_with(other, &report),
                }
                return;
            }
        };
        if let Some(worker) = state.workers.get_mut(&number)
            && let Link::Frames(frames) = &worker.link
        {
            // One that is gone already will be noticed by its end.
            let _ = frames.send(frame);
            let limit = limit.unwrap_or(Duration::MAX);
            let deadline = now.checked_add(limit);
            worker.running.insert(work.key, Running { target, deadline, limit, abandoned: None });
        }
    }
}

/// Tells a worker to finish and exit.
pub(super) fn stop(worker: &mut Worker, kill_at: Moment) {
    if matches!(worker.phase, Phase::Asleep(_)) {
        worker.switch.thaw();
    }
    worker.phase = Phase::Stopping(kill_at + worker.farewell());
    worker.tell_to_stop();
}

/// JSON `null`, for an answer without a value.
pub(super) const NULL: Bytes = Bytes::from_static(b"null");
