//! How many workers an endpoint should have: a pure function of what is seen of it.
//!
//! It reads counts, never lists, so that an event costs the same with one worker and with 100,000;
//! [`Idle`] keeps the one order that it needs. `tests/simulation.rs` runs days of traffic on both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clock::Moment;
use super::spec::Scaling;

/// How long after workers were added it is asked again whether calls still wait too long.
pub const EVALUATION: Duration = Duration::from_secs(1);
/// With more workers than this, calls that wait too long add a tenth of them at a time.
const STEP: usize = 10;

/// What an endpoint's settings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Workers kept when idle.
    pub min: usize,
    /// Most workers at once.
    pub max: usize,
    /// Calls that one worker takes at a time.
    pub capacity: usize,
    /// When another worker is wanted.
    pub scaling: Scaling,
}

/// What is seen of an endpoint. Sleeping workers count nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observation {
    /// The moment.
    pub now: Moment,
    /// Calls that wait and ask for a worker (low-priority jobs do not).
    pub asking: usize,
    /// Since when the oldest of them waits.
    pub oldest: Option<Moment>,
    /// Calls on workers.
    pub running: usize,
    /// Workers that start.
    pub starting: usize,
    /// Workers that take work or do it.
    pub ready: usize,
    /// Of those that are ready: workers without work.
    pub idle: usize,
    /// Of those that are idle: workers that were so for longer than the idle timeout.
    pub rested: usize,
    /// When the next idle worker will have been so for too long.
    pub next_rested: Option<Moment>,
    /// When workers were added last because calls waited for too long.
    pub grown: Option<Moment>,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decision {
    /// Workers to start (or to wake) now.
    pub start: usize,
    /// Whether they are wanted because calls waited for too long: counts as growth.
    pub is_growth: bool,
    /// Idle workers to let go now, the newest first: the oldest holds the warmest caches.
    pub stop: usize,
    /// When to ask again if nothing else happens.
    pub look_again: Option<Moment>,
}

/// Decides how many workers to start and to stop (`platform.md` 4.2).
///
/// `RequestCount` wants one worker for every so many calls, waiting or running. `QueueDelay` wants
/// one as soon as anything waits and none is there, then more for as long as the oldest call waits
/// longer than the delay: one every [`EVALUATION`], a tenth of those that are there where they are
/// many, never more than there are calls that no starting worker will take. Whatever the scaler,
/// there are between `min` and `max`, and a worker goes only once it was idle for the whole timeout.
pub fn decide(policy: &Policy, seen: &Observation) -> Decision {
    let present = seen.starting + seen.ready;
    let floor = policy.min.min(policy.max);
    let mut decision = Decision { start: floor.saturating_sub(present), ..Decision::default() };
    let mut keep = floor;
    match policy.scaling {
        Scaling::RequestCount(calls) => {
            let calls = usize::try_from(calls).unwrap_or(usize::MAX).max(1);
            keep = (seen.asking + seen.running).div_ceil(calls).clamp(floor, policy.max);
            decision.start = keep.saturating_sub(present);
        }
        Scaling::QueueDelay(delay) => {
            if let Some(oldest) = seen.oldest.filter(|_| seen.asking > 0) {
                // What waits will need those that are there.
                keep = policy.max;
                grow(policy, seen, oldest.saturating_add(delay), &mut decision);
            }
        }
    }
    let above_max = present.saturating_sub(policy.max).min(seen.idle);
    decision.stop = present.saturating_sub(keep).min(seen.rested).max(above_max);
    if present > floor {
        decision.look_again = earliest(decision.look_again, seen.next_rested);
    }
    decision
}

/// Adds workers while calls wait longer than the queue delay.
fn grow(policy: &Policy, seen: &Observation, overdue: Moment, decision: &mut Decision) {
    let present = seen.starting + seen.ready;
    let room = policy.max.saturating_sub(present);
    let wanted = seen.asking.div_ceil(policy.capacity.max(1)).saturating_sub(seen.starting);
    if decision.start > 0 || room == 0 || wanted == 0 {
        return;
    }
    if present == 0 {
        decision.start = 1;
        return;
    }
    let due = seen.grown.map_or(overdue, |grown| overdue.max(grown.saturating_add(EVALUATION)));
    if seen.now < due {
        decision.look_again = Some(due);
        return;
    }
    let step = (present / STEP).max(1).min(wanted).min(room);
    decision.start = step;
    decision.is_growth = true;
    if room > step && wanted > step {
        decision.look_again = Some(seen.now.saturating_add(EVALUATION));
    }
}

/// Returns the earlier of two moments.
pub(super) fn earliest(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Idle workers by number, and which of them were so for too long.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// In the order in which their time ends.
    resting: BTreeSet<(Moment, u64)>,
    /// Those whose time has ended, with the moment since when they are idle.
    rested: BTreeMap<u64, Moment>,
}

impl Idle {
    pub(super) fn insert(&mut self, number: u64, since: Moment) {
        self.resting.insert((since, number));
    }

    /// Removes a worker that was inserted with this moment.
    pub(super) fn remove(&mut self, number: u64, since: Moment) {
        if !self.resting.remove(&(since, number)) {
            self.rested.remove(&number);
        }
    }

    /// Notes whose time has ended; each idle time is looked at once.
    pub(super) fn advance(&mut self, now: Moment, timeout: Duration) {
        while let Some((since, number)) = self.resting.first().copied()
            && since.saturating_add(timeout) <= now
        {
            self.resting.pop_first();
            self.rested.insert(number, since);
        }
    }

    /// Forgets whose time has ended: the timeout is another one.
    pub(super) fn reset(&mut self) {
        let rested = std::mem::take(&mut self.rested);
        self.resting.extend(rested.into_iter().map(|(number, since)| (since, number)));
    }

    pub(super) fn len(&self) -> usize {
        self.resting.len() + self.rested.len()
    }

    pub(super) fn rested(&self) -> usize {
        self.rested.len()
    }

    /// When the next one's time ends.
    pub(super) fn next_rested(&self, timeout: Duration) -> Option<Moment> {
        self.resting.first().map(|(since, _)| since.saturating_add(timeout))
    }

    /// The worker to stop first: the newest whose time has ended, else the one idle for longest.
    pub(super) fn to_stop(&self) -> Option<u64> {
        let rested = self.rested.last_key_value().map(|(number, _)| *number);
        rested.or_else(|| self.resting.first().map(|(_, number)| *number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELAY: Duration = Duration::from_secs(4);

    fn policy(min: usize, max: usize, scaling: Scaling) -> Policy {
        Policy { min, max, capacity: 1, scaling }
    }

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn workers_without_load_are_the_minimum() {
        let none = Observation::default();
        for scaling in [Scaling::RequestCount(1), Scaling::QueueDelay(DELAY)] {
            assert_eq!(decide(&policy(2, 3, scaling), &none).start, 2);
            assert_eq!(decide(&policy(0, 3, scaling), &none), Decision::default());
        }
    }

    #[test]
    fn request_count_wants_one_worker_for_every_so_many_calls() {
        let policy = policy(0, 10, Scaling::RequestCount(4));
        let start = |asking, running, ready| {
            decide(&policy, &Observation { asking, running, ready, ..Observation::default() }).start
        };
        assert_eq!(start(1, 4, 1), 1);
        assert_eq!(start(0, 4, 1), 0);
        assert_eq!(start(9, 0, 0), 3);
        assert_eq!(start(400, 0, 0), 10);
    }

    #[test]
    fn queue_delay_starts_the_first_worker_at_once_and_the_second_after_the_delay() {
        let policy = policy(0, 3, Scaling::QueueDelay(DELAY));
        let waiting =
            Observation { now: at(100), asking: 5, oldest: Some(at(100)), ..Observation::default() };
        assert_eq!(decide(&policy, &waiting).start, 1);
        let started = Observation { starting: 1, ..waiting };
        assert_eq!(decide(&policy, &started), Decision { look_again: Some(at(104)), ..Decision::default() });
        let overdue = Observation { now: at(104), ..started };
        let second = decide(&policy, &overdue);
        assert_eq!((second.start, second.is_growth, second.look_again), (1, true, Some(at(105))));
        let again = Observation { starting: 2, grown: Some(at(104)), ..overdue };
        assert_eq!(decide(&policy, &again).start, 0, "one per evaluation");
        let third = Observation { now: at(105), ..again };
        assert_eq!(decide(&policy, &third).start, 1);
        let full = Observation { now: at(200), starting: 3, ..third };
        assert_eq!(decide(&policy, &full), Decision::default());
    }

    #[test]
    fn queue_delay_starts_no_more_than_what_waits_needs() {
        let policy = policy(0, 3, Scaling::QueueDelay(DELAY));
        let covered = Observation {
            now: at(104),
            asking: 1,
            oldest: Some(at(100)),
            starting: 1,
            ..Observation::default()
        };
        assert_eq!(decide(&policy, &covered).start, 0);
    }

    #[test]
    fn rested_workers_stop_but_not_below_the_minimum_nor_while_calls_wait() {
        for scaling in [Scaling::RequestCount(1), Scaling::QueueDelay(DELAY)] {
            let policy = policy(1, 3, scaling);
            let rested = Observation { ready: 3, idle: 3, rested: 3, ..Observation::default() };
            assert_eq!(decide(&policy, &rested).stop, 2);
            let resting = Observation { rested: 0, next_rested: Some(at(9)), ..rested };
            assert_eq!(
                decide(&policy, &resting),
                Decision { look_again: Some(at(9)), ..Decision::default() }
            );
            let waiting = Observation { asking: 3, oldest: Some(at(0)), ..rested };
            assert_eq!(decide(&policy, &waiting).stop, 0);
        }
    }

    #[test]
    fn idle_workers_above_a_lowered_maximum_stop_at_once() {
        let policy = policy(0, 1, Scaling::QueueDelay(DELAY));
        let seen = Observation { ready: 3, idle: 1, running: 2, ..Observation::default() };
        assert_eq!(decide(&policy, &seen).stop, 1);
    }

    #[test]
    fn idle_worker_to_stop_is_the_newest_of_those_whose_time_has_ended() {
        let mut idle = Idle::default();
        for (number, since) in [(1, 10), (2, 12), (3, 11), (4, 30)] {
            idle.insert(number, at(since));
        }
        idle.advance(at(22), at(10));
        assert_eq!((idle.len(), idle.rested(), idle.to_stop()), (4, 3, Some(3)));
        assert_eq!(idle.next_rested(at(10)), Some(at(40)));
        idle.remove(3, at(11));
        assert_eq!(idle.to_stop(), Some(2));
        idle.reset();
        assert_eq!((idle.len(), idle.rested(), idle.to_stop()), (3, 0, Some(1)));
    }

    proptest! {
        #[test]
        fn workers_stay_within_limits_whatever_is_seen(
            min in 0usize..5, extra in 0usize..20, value in 1u32..9, is_delay in any::<bool>(),
            asking in 0usize..1000, running in 0usize..50, starting in 0usize..30, ready in 0usize..30,
            idle in 0usize..30, rested in 0usize..30, waited in 0u64..20,
        ) {
            let scaling = if is_delay { Scaling::QueueDelay(DELAY) } else { Scaling::RequestCount(value) };
            let policy = policy(min, min + extra, scaling);
            let idle = idle.min(ready);
            let seen = Observation {
                now: at(100), asking, running, starting, ready, idle, rested: rested.min(idle),
                oldest: (asking > 0).then(|| at(100 - waited)), next_rested: None, grown: None,
            };
            let decision = decide(&policy, &seen);
            let present = starting + ready;
            prop_assert!(decision.start == 0 || present + decision.start <= policy.max);
            prop_assert!(present + decision.start >= min);
            prop_assert!(decision.stop <= idle);
            prop_assert!(decision.stop == 0 || present - decision.stop >= min);
            prop_assert!(decision.start == 0 || decision.stop == 0);
            prop_assert!(decision.look_again.is_none_or(|moment| moment > seen.now));
            // Anything that waits has a worker, or gets one.
            prop_assert!(asking == 0 || policy.max == 0 || present + decision.start > 0);
        }
    }
}
