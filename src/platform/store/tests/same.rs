//! The stores behave the same whatever is done to them in whatever order.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::platform::store::MemoryStore;
use crate::wire::message::{ErrorReport, Failure};

/// Something that is done to a store; jobs are named by their number.
#[derive(Debug, Clone)]
enum Step {
    Accept { job: u8, low_priority: bool, webhook: bool, ttl: u8 },
    Change { job: u8, change: u8 },
    Item(u8),
    TakeItems(u8),
    Shorten { job: u8, by: u8 },
    EndWaiting(bool),
    Pass(u8),
    Settle,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let job = 0..12u8;
    let step = prop_oneof![
        4 => (job.clone(), any::<bool>(), any::<bool>(), 10..200u8)
            .prop_map(|(job, low_priority, webhook, ttl)| Step::Accept { job, low_priority, webhook, ttl }),
        12 => (job.clone(), 0..7u8).prop_map(|(job, change)| Step::Change { job, change }),
        3 => job.clone().prop_map(Step::Item),
        2 => job.clone().prop_map(Step::TakeItems),
        1 => (job, 1..20u8).prop_map(|(job, by)| Step::Shorten { job, by }),
        1 => any::<bool>().prop_map(Step::EndWaiting),
        2 => (0..100u8).prop_map(Step::Pass),
        1 => Just(Step::Settle),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn change(number: u8) -> Change {
    let report = || Box::new(ErrorReport::new(Failure::Raised, "ValueError", "boom"));
    match number {
        0 => started(),
        1 => Change::Requeued,
        2 => Change::Progress(Bytes::from_static(b"\"half\"")),
        3 => Change::Completed(Bytes::from_static(b"[1]")),
        4 => Change::Failed(report(), Some(Bytes::from_static(b"{}"))),
        5 => Change::Cancelled,
        _ => Change::Retried,
    }
}

/// What a job is to the outside, in a form that compares.
fn shown(job: Option<JobRecord>) -> String {
    job.map_or_else(String::new, |job| format!("{:?} {:?} {:?}", job.view(), job.request, job.expires))
}

fn compare(one: &dyn JobStore, other: &dyn JobStore, now: Moment) {
    let waiting = |store: &dyn JobStore| store.waiting("f", 100).unwrap();
    assert_eq!(waiting(one), waiting(other));
    assert_eq!(one.depth("f"), other.depth("f"));
    assert_eq!(one.counts("f"), other.counts("f"));
    for number in 0..12 {
        let id = format!("j{number}");
        assert_eq!(shown(one.get("f", &id).unwrap()), shown(other.get("f", &id).unwrap()));
    }
    let recent = |store: &dyn JobStore| {
        let jobs = store.recent("f", 5).unwrap();
        jobs.into_iter().map(|job| (job.id, job.status)).collect::<Vec<_>>()
    };
    assert_eq!(recent(one), recent(other));
    // It may be asked too early, never too late.
    if let Some(expiry) = one.next_expiry("f") {
        assert!(other.next_expiry("f").is_some_and(|moment| moment <= expiry.max(now)));
    }
}

/// Deliveries are not shown before they are committed.
fn compare_deliveries(one: &dyn JobStore, other: &dyn JobStore) {
    let due = |store: &dyn JobStore| {
        let found = store.deliveries(seconds(100_000), 100).unwrap();
        let mut found: Vec<_> = found.into_iter().map(|found| (found.job, found.body, found.due)).collect();
        found.sort();
        found
    };
    assert_eq!(due(one), due(other));
    assert_eq!(one.next_delivery(), other.next_delivery());
}

fn run(steps: &[Step]) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let memory = MemoryStore::default();
    let mut durable = open(folder.path()).unwrap().store;
    let mut now = seconds(1000);
    let mut used = std::collections::BTreeSet::new();
    for step in steps {
        let both: [&dyn JobStore; 2] = [&memory, &*durable];
        match step {
            Step::Accept { job, low_priority, webhook, ttl } => {
                if !used.insert(*job) {
                    continue;
                }
                let request = JobRequest {
                    low_priority: *low_priority,
                    webhook: webhook.then(|| "http://h/x".to_owned()),
                    ttl: Some(seconds(u64::from(*ttl))),
                    ..request("{\"a\": 1}")
                };
                for store in both {
                    let job = record(&format!("j{job}"), request.clone(), now);
                    runtime.block_on(store.accept(job)).unwrap();
                }
            }
            Step::Change { job, change: number } => {
                let id = format!("j{job}");
                let results = both.map(|store| {
                    let result = store.change("f", &id, change(*number), now);
                    result.map(|job| job.status).map_err(|error| error.to_string())
                });
                assert_eq!(results[0], results[1]);
            }
            Step::Item(job) => {
                let id = format!("j{job}");
                let results = both.map(|store| store.push_item("f", &id, Bytes::from_static(b"7")).is_ok());
                assert_eq!(results[0], results[1]);
            }
            Step::TakeItems(job) => {
                let id = format!("j{job}");
                let results = both.map(|store| store.take_items("f", &id).ok());
                assert_eq!(results[0], results[1]);
            }
            Step::Shorten { job, by } => {
                let (id, moment) = (format!("j{job}"), now + seconds(u64::from(*by)));
                let results = both.map(|store| store.shorten_life("f", &id, moment).is_ok());
                assert_eq!(results[0], results[1]);
            }
            Step::EndWaiting(is_failure) => {
                let report = Box::new(ErrorReport::new(Failure::Environment, "EnvironmentError", "no numpy"));
                let change = if *is_failure { Change::Failed(report, None) } else { Change::Cancelled };
                let results = both.map(|store| store.end_waiting("f", &change, now).unwrap());
                assert_eq!(results[0], results[1]);
            }
            Step::Pass(time) => {
                now += seconds(u64::from(*time));
                let results = both.map(|store| {
                    let mut gone: Vec<String> = Vec::new();
                    while store.next_expiry("f").is_some_and(|moment| moment <= now) {
                        let expired = store.expire("f", now).unwrap();
                        gone.extend(expired.into_iter().map(|job| job.id));
                    }
                    gone.sort();
                    gone
                });
                assert_eq!(results[0], results[1]);
            }
            Step::Settle => {
                runtime.block_on(durable.settled());
                compare_deliveries(&memory, &*durable);
            }
            Step::Reopen => {
                // What runs would be changed by a restart, and so would what waits with items.
                let runs = (0..12).any(|number| {
                    let job = memory.get("f", &format!("j{number}")).unwrap();
                    job.is_some_and(|job| !job.status.is_terminal() && job.started.is_some())
                });
                if !runs && !steps.iter().any(|step| matches!(step, Step::Item(_))) {
                    drop(durable);
                    durable = open(folder.path()).unwrap().store;
                    compare_deliveries(&memory, &*durable);
                }
            }
        }
        compare(&memory, &*durable, now);
    }
    runtime.block_on(durable.settled());
    compare(&memory, &*durable, now);
    compare_deliveries(&memory, &*durable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn stores_do_the_same(steps in steps()) {
        run(&steps);
    }
}
