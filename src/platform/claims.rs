//! Who uses the machine: what all endpoints have and want, and what is each one's fair share.
//!
//! While the machine bears more, a share is no bound. Once an endpoint is held back, one that has
//! more than its share takes no further worker and leaves idle ones idle, so that none starves.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Workers of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claim {
    /// Those that start or work.
    pub(super) active: usize,
    /// Those that are wanted beside them and held back.
    pub(super) throttled: usize,
}

/// The claims of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    claims: BTreeMap<u64, Claim>,
    sum: Claim,
}

impl Claims {
    /// Returns the number of a new claimant.
    pub(super) fn enter(&self) -> u64 {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.next += 1;
        table.next
    }

    /// Replaces a claim; returns whether others that are held back may have room now.
    pub(super) fn update(&self, claimant: u64, claim: Claim) -> bool {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if claim == Claim::default() {
            table.claims.remove(&claimant)
        } else {
            table.claims.insert(claimant, claim)
        };
        let before = before.unwrap_or_default();
        table.sum.active = table.sum.active - before.active + claim.active;
        table.sum.throttled = table.sum.throttled - before.throttled + claim.throttled;
        let gave_way =
            claim.active < before.active || claim.active + claim.throttled < before.active + before.throttled;
        gave_way && table.sum.throttled > claim.throttled
    }

    /// Active workers of all other endpoints.
    pub(super) fn active_elsewhere(&self, claimant: u64) -> usize {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.sum.active - table.claims.get(&claimant).map_or(0, |claim| claim.active)
    }

    /// How many active workers an endpoint may have that wants `wanted`; `None` while no other
    /// endpoint is held back. Never less than one: endpoints may wait for each other.
    pub(super) fn share(&self, claimant: u64, wanted: usize, most: usize) -> Option<usize> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.claims.get(&claimant).copied().unwrap_or_default();
        if table.sum.throttled == own.throttled {
            return None;
        }
        let others = table.claims.iter().filter(|(other, _)| **other != claimant);
        let mut wants: Vec<usize> = others.map(|(_, claim)| claim.active + claim.throttled).collect();
        Some(fair_share(most, wanted, &mut wants).max(1))
    }
}

/// Divides `most` so that nobody gets more than wanted and the smallest gets as much as possible;
/// returns the part of the one that wants `own`.
fn fair_share(most: usize, own: usize, others: &mut [usize]) -> usize {
    others.sort_unstable();
    let (mut left, mut number) = (most, others.len() + 1);
    for want in others.iter() {
        let level = left / number;
        if *want >= own || *want >= level {
            break;
        }
        left -= want;
        number -= 1;
    }
    own.min(left / number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn share_is_what_is_wanted_while_there_is_enough_and_an_equal_part_otherwise() {
        assert_eq!(fair_share(16, 4, &mut [3, 5]), 4);
        assert_eq!(fair_share(16, 100, &mut [100]), 8);
        assert_eq!(fair_share(16, 100, &mut [2, 100]), 7);
        assert_eq!(fair_share(16, 2, &mut [100, 100]), 2);
        assert_eq!(fair_share(2, 9, &mut [9, 9, 9]), 0);
    }

    #[test]
    fn share_bounds_only_while_another_endpoint_is_held_back() {
        let claims = Claims::default();
        let (one, other) = (claims.enter(), claims.enter());
        claims.update(one, Claim { active: 8, throttled: 3 });
        assert_eq!(claims.share(one, 11, 8), None);
        claims.update(other, Claim { active: 1, throttled: 9 });
        assert_eq!((claims.share(one, 11, 8), claims.share(other, 10, 8)), (Some(4), Some(4)));
        assert_eq!(claims.active_elsewhere(other), 8);
        assert!(claims.update(one, Claim { active: 7, throttled: 3 }), "there is room for the other");
        assert!(!claims.update(one, Claim { active: 8, throttled: 3 }));
        claims.update(other, Claim::default());
        assert_eq!(claims.share(one, 11, 8), None);
    }

    proptest! {
        #[test]
        fn shares_fit_the_machine_and_waste_nothing(
            most in 0usize..50, wants in proptest::collection::vec(0usize..40, 1..8)
        ) {
            let share = |index: usize| {
                let mut others = wants.clone();
                let own = others.remove(index);
                fair_share(most, own, &mut others)
            };
            let shares: Vec<usize> = (0..wants.len()).map(share).collect();
            prop_assert!(shares.iter().sum::<usize>() <= most);
            for (index, share) in shares.iter().enumerate() {
                prop_assert!(*share <= wants[index]);
                // Who gets less than is wanted gets no less than any other, but for the remainder.
                if *share < wants[index] {
                    prop_assert!(shares.iter().all(|other| *other <= share + 1));
                }
            }
            // What is left over is a remainder that cannot be divided.
            let is_satisfied = shares.iter().zip(&wants).all(|(share, want)| share == want);
            prop_assert!(is_satisfied || most - shares.iter().sum::<usize>() < wants.len());
        }
    }
}
