//! How many workers an endpoint should have.

/// What bounds an endpoint's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Workers kept when idle.
    pub min: usize,
    /// Most workers at once.
    pub max: usize,
    /// Calls in flight, waiting or running, for which one worker is wanted.
    pub per_worker: usize,
}

/// What an endpoint has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Calls that wait and ask for a worker (low-priority jobs do not).
    pub queued: usize,
    /// Calls on workers.
    pub running: usize,
}

/// Returns how many workers an endpoint should have now.
///
/// Pure: the same load gives the same answer. A worker is wanted for every `per_worker` calls; on
/// one machine a start costs half a second, so nothing is gained by letting calls age first, as
/// the cloud does. How long an idle worker stays is the supervisor's part: it stops none below
/// this number.
pub fn desired_workers(limits: Limits, load: Load) -> usize {
    let wanted = (load.queued + load.running).div_ceil(limits.per_worker.max(1));
    wanted.clamp(limits.min.min(limits.max), limits.max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn workers_without_load_are_the_minimum() {
        let limits = Limits { min: 1, max: 3, per_worker: 1 };
        assert_eq!(desired_workers(limits, Load { queued: 0, running: 0 }), 1);
        assert_eq!(desired_workers(Limits { min: 0, ..limits }, Load { queued: 0, running: 0 }), 0);
    }

    #[test]
    fn workers_with_concurrency_are_shared_by_calls() {
        let limits = Limits { min: 0, max: 10, per_worker: 4 };
        assert_eq!(desired_workers(limits, Load { queued: 1, running: 4 }), 2);
        assert_eq!(desired_workers(limits, Load { queued: 0, running: 4 }), 1);
    }

    proptest! {
        #[test]
        fn workers_stay_within_limits_and_grow_with_load(
            min in 0usize..5, extra in 0usize..20, per_worker in 0usize..9, queued in 0usize..1000, running in 0usize..50
        ) {
            let limits = Limits { min, max: min + extra, per_worker };
            let now = desired_workers(limits, Load { queued, running });
            prop_assert!(now >= min && now <= min + extra);
            let later = desired_workers(limits, Load { queued: queued + 1, running });
            prop_assert!(later >= now);
        }
    }
}
