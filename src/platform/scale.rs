//! Makes the number of an endpoint's workers right, and says when to look again.

use std::sync::Arc;

use super::clock::Moment;
use super::dispatch::stop;
use super::polling::SILENCE;
use super::queue::{Work, WorkKind};
use super::scaler::desired_workers;
use super::shared::Shutdown;
use super::state::{Link, Phase, State};
use super::supervisor::Supervisor;
use crate::requirements::EnvironmentState;

impl Supervisor {
    /// Starts the workers that are wanted, and stops those that were idle for too long.
    pub(super) fn scale(self: &Arc<Self>, state: &mut State, now: Moment) {
        state.throttled = 0;
        if *self.shared.shutdown.borrow() == Shutdown::Killing {
            return;
        }
        let is_ending = state.is_removed || self.shared.is_shutting_down();
        let host = &self.shared.options.host;
        let EnvironmentState::Ready(interpreter) = state.spec.environment(host) else { return };
        if !self.can_start(state) {
            return;
        }
        let mut limits = state.limits();
        if is_ending {
            limits.min = 0;
        } else if state.is_warming {
            limits.min = limits.min.max(1);
        }
        let desired = desired_workers(limits, state.load());
        if state.failure.is_some() {
            // Only a call that arrives after the pause is worth another try.
            if state.queue.is_empty() {
                return;
            }
            state.failure = None;
        }
        let present = state.present().count();
        if now >= state.start_not_before {
            for running in present..desired {
                // The first always starts: endpoints may wait for each other.
                let active = self.shared.active_elsewhere(state.reported_active) + state.active();
                if running > 0
                    && let Some(reason) = self.shared.machine.refusal(active)
                {
                    state.throttled = desired - running;
                    self.shared.note_once("machine", || reason);
                    break;
                }
                self.start_worker(state, interpreter.clone(), now);
            }
        }
        let mut spare = present.saturating_sub(desired);
        let (idle_timeout, generation) = (state.spec.idle_timeout, state.generation);
        let stop_at = now + self.shared.options.stop_grace;
        // The newest first: the oldest holds the warmest caches.
        for worker in state.workers.values_mut().rev() {
            let is_idle = worker.phase == Phase::Ready
                && worker.generation == generation
                && worker.running.is_empty()
                && now >= worker.since + idle_timeout;
            if is_idle && spare > 0 {
                spare -= 1;
                stop(worker, stop_at);
            }
        }
    }

    /// When something is due next.
    pub(super) fn next_moment(&self, state: &State, now: Moment) -> Option<Moment> {
        let options = &self.shared.options;
        let mut moments: Vec<Moment> = options.store.next_expiry(&self.name).into_iter().collect();
        for worker in state.workers.values() {
            match worker.phase {
                Phase::Starting => moments.push(worker.since + state.init_timeout(options.init_timeout)),
                Phase::Stopping(kill_at) => moments.push(kill_at),
                Phase::Ready | Phase::Draining | Phase::Lost => {}
            }
            if let Link::Polls(polls) = &worker.link {
                moments.extend(polls.held.values().map(|held| held.seen + SILENCE));
            }
            for running in worker.running.values() {
                moments.extend(running.deadline);
                moments.extend(running.abandoned.map(|abandoned| abandoned.kill_at));
            }
            if worker.phase == Phase::Ready && worker.running.is_empty() {
                moments.push(worker.since + state.spec.idle_timeout);
            }
        }
        if !state.queue.is_empty() || state.spec.workers.min > 0 {
            moments.push(state.start_not_before);
        }
        if let Some(Work { kind: WorkKind::Http { give_up, .. }, .. }) = state.queue.front() {
            moments.push(*give_up);
        }
        // What was due and is still there waits for something else than time.
        moments.into_iter().filter(|moment| *moment > now).min()
    }
}
