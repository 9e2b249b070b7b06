//! What a run's workers on Runpod cost: shown while they run, and the end of it at a limit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::console::Console;
use crate::runpod::backend::LiveBackend;
use crate::runpod::live::Tracked;
use crate::runpod::live::remove::Removal;

/// How often workers are counted while something is going on.
const LOOK: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again to stop what costs too much.
const AGAIN: Duration = Duration::from_secs(5);

/// What was spent so far, in US dollars, and what is spent per hour.
struct Meter {
    spent: f64,
    rate: f64,
    last: Instant,
}

impl Meter {
    /// Counts the time since the last look, at the dearer of both rates.
    fn count(&mut self, now: Instant, rate: f64) {
        let hours = now.saturating_duration_since(self.last).as_secs_f64() / 3600.0;
        self.spent += f64::max(self.rate, rate) * hours;
        (self.last, self.rate) = (now, rate);
    }
}

/// How many workers each endpoint had when Runpod last said it, by its ID.
#[derive(Default)]
struct Counts(HashMap<String, u64>);

impl Counts {
    /// Where Runpod does not say it, what was goes on; of an endpoint that it never spoke of, all
    /// workers may run.
    fn note(&mut self, tracked: &Tracked, id: &str, said: Option<u64>) -> u64 {
        if let Some(count) = said {
            self.0.insert(id.to_owned(), count);
            return count;
        }
        let most = || tracked.config.as_ref().and_then(|config| config.workers_max?.try_into().ok());
        self.0.get(id).copied().or_else(most).unwrap_or(1)
    }
}

/// Counts workers and what they cost, from the first endpoint on.
pub(super) async fn watch(backend: Arc<LiveBackend>, console: Arc<Console>, max_cost: Option<f64>) {
    let mut used = backend.used();
    let mut meter = Meter { spent: 0.0, rate: 0.0, last: Instant::now() };
    let mut counts = Counts::default();
    let mut shown = String::new();
    let mut is_idle = true;
    loop {
        if is_idle {
            if used.changed().await.is_err() {
                return;
            }
            meter.last = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
        let in_use = backend.provisioner().in_use().unwrap_or_default();
        let mut workers = Vec::new();
        let mut is_known = true;
        for tracked in &in_use {
            let Some(id) = &tracked.id else { continue };
            let said = backend.workers(id).await.ok();
            is_known &= said.is_some();
            workers.push((tracked, counts.note(tracked, id, said)));
        }
        meter.count(Instant::now(), workers.iter().map(|(tracked, count)| price(tracked, *count)).sum());
        if is_known {
            let text = rates(&workers);
            if text != shown {
                let spent = dollars(meter.spent);
                if !text.is_empty() {
                    console.output("cost", None, &format!("{text}; about {spent} so far"));
                } else if !shown.is_empty() {
                    console.output("cost", None, &format!("no workers on Runpod; about {spent} so far"));
                }
                shown = text;
            }
            is_idle = workers.iter().all(|(_, count)| *count == 0) && !used.has_changed().unwrap_or(true);
        }
        if let Some(limit) = max_cost
            && meter.spent >= limit
        {
            stop(&backend, &console, meter.spent, limit).await;
            return;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 workers")]
fn price(tracked: &Tracked, workers: u64) -> f64 {
    tracked.price_per_hour.unwrap_or_default() * workers as f64
}

/// `live-a 2 workers $1.38/h, live-b 1 worker price not known; $1.38/h now and what is not known`;
/// empty where there are no workers.
fn rates(workers: &[(&Tracked, u64)]) -> String {
    let running: Vec<&(&Tracked, u64)> = workers.iter().filter(|(_, count)| *count > 0).collect();
    if running.is_empty() {
        return String::new();
    }
    let each: Vec<String> = running
        .iter()
        .map(|(tracked, count)| {
            let what = if *count == 1 { "worker" } else { "workers" };
            let cost = match tracked.price_per_hour {
                Some(_) => format!("{}/h", dollars(price(tracked, *count))),
                None => "price not known".to_owned(),
            };
            format!("{} {count} {what} {cost}", tracked.name)
        })
        .collect();
    let rate = dollars(running.iter().map(|(tracked, count)| price(tracked, *count)).sum());
    let known = running.iter().filter(|(tracked, _)| tracked.price_per_hour.is_some()).count();
    let now = match known {
        0 => String::new(),
        all if all == running.len() => format!("; {rate}/h now"),
        _ => format!("; {rate}/h now and what is not known"),
    };
    format!("{}{now}", each.join(", "))
}

/// An amount in US dollars: cents, and below a dollar as much as says something.
pub(super) fn dollars(amount: f64) -> String {
    let text = if amount < 1.0 { format!("{amount:.4}") } else { format!("{amount:.2}") };
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let needed = cents.trim_end_matches('0').len().max(2);
    if amount > 0.0 && amount < 0.00005 {
        return "less than $0.0001".to_owned();
    }
    format!("${whole}.{}", &cents[..needed])
}

/// Ends calls and takes all workers away; goes on trying until Runpod has done it.
async fn stop(backend: &LiveBackend, console: &Console, spent: f64, limit: f64) {
    let reason = format!("--max-cost {} is reached: about {} were spent", dollars(limit), dollars(spent));
    console.warn(&format!("{reason}; all workers on Runpod are stopped"));
    backend.stop(&reason);
    let provisioner = backend.provisioner();
    provisioner.close(&reason).await;
    let mut told = HashSet::new();
    loop {
        let mut is_done = true;
        for outcome in [provisioner.pause_kept().await, provisioner.remove_own().await] {
            let outcomes = match outcome {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    console.warn(&format!("not all could be stopped: {error}"));
                    is_done = false;
                    continue;
                }
            };
            for (tracked, removal) in outcomes {
                if let Removal::Failed(error) = &removal {
                    is_done = false;
                    let again = AGAIN.as_secs();
                    console.failure(
                        "runpod",
                        &format!(
                            "`{}` could not be stopped, tried again in {again} s: {error}",
                            tracked.name
                        ),
                    );
                } else if told.insert(tracked.name.clone()) {
                    console.output("runpod", None, &format!("stopped `{}`", tracked.name));
                }
            }
        }
        if is_done {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0.0, "$0.00")]
    #[case(0.000_01, "less than $0.0001")]
    #[case(0.001, "$0.001")]
    #[case(0.0612, "$0.0612")]
    #[case(0.5, "$0.50")]
    #[case(1.239, "$1.24")]
    #[case(3600.0, "$3600.00")]
    fn amount_is_shown_as_far_as_it_says_something(#[case] amount: f64, #[case] expected: &str) {
        assert_eq!(dollars(amount), expected);
    }

    #[test]
    fn dearer_rate_of_two_looks_counts() {
        let start = Instant::now();
        let hour = |hours: u64| start + Duration::from_secs(3600 * hours);
        let mut meter = Meter { spent: 0.0, rate: 0.0, last: start };
        meter.count(hour(1), 2.0);
        assert!((meter.spent - 2.0).abs() < 1e-9, "a worker may have started at once");
        meter.count(hour(2), 0.0);
        assert!((meter.spent - 4.0).abs() < 1e-9, "or ended just now");
        meter.count(hour(9), 0.0);
        assert!((meter.spent - 4.0).abs() < 1e-9, "no worker, no cost");
    }

    #[test]
    fn workers_that_nobody_counts_are_those_that_there_were_or_could_be() {
        let tracked: Tracked = serde_json::from_value(serde_json::json!({
            "class": "LiveServerless", "name": "live-a", "api": "https://api", "id": "a", "made": "",
            "is_temporary": true, "config": { "name": "live-a", "workersMax": 3 },
        }))
        .expect("an endpoint");
        let mut counts = Counts::default();
        assert_eq!(counts.note(&tracked, "a", None), 3);
        assert_eq!(counts.note(&tracked, "a", Some(1)), 1);
        assert_eq!(counts.note(&tracked, "a", None), 1);
    }
}
