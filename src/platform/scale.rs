//! Makes the number of an endpoint's workers right, and says when to look again.

use std::sync::Arc;
use std::time::Duration;

use super::answers::START_ATTEMPTS;
use super::clock::Moment;
use super::scaler::decide;
use super::shared::Shutdown;
use super::state::State;
use super::supervisor::Supervisor;
use crate::requirements::{EnvironmentState, Interpreter};

/// The pause between two pieces of many jobs that are to be forgotten at once.
const EXPIRY_PAUSE: Duration = Duration::from_millis(5);

impl Supervisor {
    /// Starts the workers that are wanted, and lets those go that were idle for too long. Returns
    /// whether some were woken, which take work at once.
    pub(super) fn scale(self: &Arc<Self>, state: &mut State, now: Moment) -> bool {
        state.throttled = 0;
        state.held_back = 0;
        state.look_again = None;
        if *self.shared.shutdown.borrow() == Shutdown::Killing {
            return false;
        }
        let is_ending = state.is_removed || self.shared.is_shutting_down();
        let host = &self.shared.options.host;
        let EnvironmentState::Ready(interpreter) = state.spec.environment(host) else { return false };
        if !self.can_start(state) {
            return false;
        }
        let mut policy = state.policy();
        if is_ending {
            policy.min = 0;
        } else if state.is_warming {
            policy.min = policy.min.max(1);
        }
        if state.failure.is_some() {
            // Only a call that arrives after the pause is worth another try.
            if state.queue.is_empty() {
                return false;
            }
            state.failure = None;
        }
        self.settle(state, now);
        if !state.queue.is_empty() && self.is_over_share(state) {
            // It waits for the machine as if it had no workers.
            state.held_back = state.workers.idle().len().min(state.queue.len());
        }
        let decision = decide(&policy, &state.observe(now));
        state.look_again = decision.look_again;
        let woken = (0..decision.start).take_while(|_| self.wake(state, now)).count();
        if decision.is_growth && (woken > 0 || now >= state.start_not_before) {
            state.grown = Some(now);
        }
        if now >= state.start_not_before {
            self.start_workers(state, decision.start - woken, &interpreter, now);
        }
        for _ in 0..decision.stop {
            self.settle(state, now);
            let Some(number) = state.workers.idle().to_stop() else { break };
            self.let_go(state, number, now);
        }
        woken > 0
    }

    /// Starts the workers that are wanted, as far as the machine bears them.
    fn start_workers(
        self: &Arc<Self>,
        state: &mut State,
        wanted: usize,
        interpreter: &Interpreter,
        now: Moment,
    ) {
        self.settle(state, now);
        let counts = state.workers.counts();
        let present = counts.starting + counts.ready;
        // Where workers crash, one is tried at a time.
        let is_failing = state.crashes >= START_ATTEMPTS;
        let wanted = if is_failing { wanted.min(1usize.saturating_sub(counts.starting)) } else { wanted };
        for started in 0..wanted {
            // The first always starts: endpoints may wait for each other.
            if present + started > 0 {
                let active = self.shared.claims.active_elsewhere(self.claimant) + counts.active + started;
                let refusal = self.shared.machine.refusal(active);
                let share = self.share(state, counts.active + wanted);
                if refusal.is_some() || share.is_some_and(|share| counts.active + started >= share) {
                    state.throttled = wanted - started;
                    if let Some(reason) = refusal {
                        self.shared.note_once("machine", || reason);
                    }
                    return;
                }
            }
            self.start_worker(state, interpreter.clone(), now);
        }
    }

    /// How many active workers it may have while other endpoints are held back by the machine.
    fn share(&self, state: &State, wanted: usize) -> Option<usize> {
        let wanted = wanted.max(state.workers.counts().active);
        self.shared.claims.share(self.claimant, wanted, self.shared.machine.most())
    }

    /// Whether it has its share of a machine that others wait for; an idle worker adds to it.
    pub(super) fn is_over_share(&self, state: &State) -> bool {
        let active = state.workers.counts().active;
        active > 0 && self.share(state, usize::MAX).is_some_and(|share| active >= share)
    }

    /// When something is due next.
    pub(super) fn next_moment(&self, state: &State, now: Moment) -> Option<Moment> {
        let options = &self.shared.options;
        // Jobs are forgotten a few hundred at a time.
        let expiry = options
            .store
            .next_expiry(&self.name)
            .map(|moment| if moment > now { moment } else { now + EXPIRY_PAUSE });
        let mut moments: Vec<Moment> = expiry.into_iter().collect();
        moments.extend(state.look_again);
        moments.extend(state.workers.next_due());
        moments.extend(state.next_memory_check());
        if !state.queue.is_empty() || state.spec.workers.min > 0 {
            moments.push(state.start_not_before);
        }
        moments.extend(state.next_give_up());
        // What was due and is still there waits for something else than time.
        moments.into_iter().filter(|moment| *moment > now).min()
    }
}
