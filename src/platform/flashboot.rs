//! Flashboot: a worker that was idle for too long sleeps, to be resumed at the next need.
//!
//! Its process group is stopped by signal and keeps its memory, so that waking it takes
//! milliseconds where a start takes seconds (`platform.md` 4.3). Few sleep, not for long, and only
//! while memory is plenty; one that holds work never does.

use std::time::Duration;

use super::clock::Moment;
use super::dispatch::stop;
use super::state::{Link, Phase, State, Worker};
use super::supervisor::Supervisor;

/// Most workers of one endpoint that sleep: as many as Runpod keeps ready beyond its maximum.
const MOST_ASLEEP: usize = 2;
/// How long a worker sleeps at most.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);
/// How often free memory is looked at while workers sleep.
const MEMORY_PAUSE: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Lets an idle worker go: to sleep where that is wanted and possible, else for good.
    pub(super) fn let_go(&self, state: &mut State, number: u64, now: Moment) {
        let is_ending = state.is_removed || self.shared.is_shutting_down();
        let may_sleep = !is_ending
            && state.workers.counts().asleep < most_asleep(state)
            && !self.shared.machine.is_short_of_memory();
        let Some(worker) = state.workers.get_mut(&number) else { return };
        if may_sleep && fall_asleep(worker, now) {
            tracing::debug!(endpoint = self.name, worker = worker.id, "worker sleeps");
            state.memory_checked = now;
        } else {
            stop(worker, now + self.shared.options.stop_grace);
        }
    }

    /// Wakes a sleeping worker of this generation, the oldest first; returns whether there was one.
    pub(super) fn wake(&self, state: &mut State, now: Moment) -> bool {
        self.settle(state, now);
        let generation = state.generation;
        let current =
            |number: &&u64| state.workers.get(number).is_some_and(|worker| worker.generation == generation);
        let Some(number) = state.workers.asleep().iter().find(current).copied() else { return false };
        let Some(worker) = state.workers.get_mut(&number) else { return false };
        worker.phase = Phase::Ready;
        worker.since = now;
        // Its silence while it slept is no loss.
        if let Link::Polls(polls) = &mut worker.link {
            polls.pinged = now;
        }
        worker.switch.thaw();
        tracing::debug!(endpoint = self.name, worker = worker.id, "worker wakes");
        true
    }

    /// Ends sleep that is over: for its length, for too many sleepers, for want of memory.
    pub(super) fn end_sleep(&self, state: &mut State, now: Moment) {
        self.settle(state, now);
        let asleep = state.workers.counts().asleep;
        if asleep == 0 {
            return;
        }
        let mut too_many = asleep.saturating_sub(most_asleep(state));
        if now >= state.memory_checked.saturating_add(MEMORY_PAUSE) {
            state.memory_checked = now;
            if self.shared.machine.is_short_of_memory() {
                too_many = asleep;
            }
        }
        let stop_at = now + self.shared.options.stop_grace;
        // The newest first, as with idle ones.
        let sleepers: Vec<u64> = state.workers.asleep().iter().rev().copied().collect();
        for number in sleepers {
            let Some(worker) = state.workers.get_mut(&number) else { continue };
            let is_over = matches!(worker.phase, Phase::Asleep(end) if end <= now);
            if is_over || too_many > 0 {
                too_many = too_many.saturating_sub(1);
                stop(worker, stop_at);
            }
        }
    }
}

impl State {
    /// When memory is to be looked at for those who sleep.
    pub(super) fn next_memory_check(&self) -> Option<Moment> {
        let is_due = self.workers.counts().asleep > 0;
        is_due.then(|| self.memory_checked.saturating_add(MEMORY_PAUSE))
    }
}

fn most_asleep(state: &State) -> usize {
    if state.spec.flashboot { MOST_ASLEEP } else { 0 }
}

/// Stops the process group of an idle worker; returns whether that was possible.
fn fall_asleep(worker: &mut Worker, now: Moment) -> bool {
    let is_safe = worker.phase == Phase::Ready && worker.running.is_empty() && worker.can_sleep();
    if !is_safe || !worker.switch.freeze() {
        return false;
    }
    worker.phase = Phase::Asleep(now.saturating_add(LONGEST_SLEEP));
    // After the signal: it reads the answer when it wakes, and asks anew.
    if let Link::Polls(polls) = &mut worker.link {
        polls.freeze();
    }
    true
}
