//! A day of traffic on the scaling policy, from 1 to 100,000 workers, without a process or a clock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::platform::clock::Moment;
use crate::platform::scaler::{Decision, EVALUATION, Idle, Observation, Policy, decide};
use crate::platform::spec::Scaling;

const DAY: f64 = 86_400.0;

/// Numbers that are the same in every run (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Between 0 and 1, never 0.
    fn part(&mut self) -> f64 {
        let bits = u32::try_from(self.bits() >> 32).unwrap();
        (f64::from(bits) + 1.0) / (f64::from(u32::MAX) + 2.0)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.part().ln()
    }
}

/// One endpoint and its traffic.
struct Scenario {
    policy: Policy,
    idle_timeout: Duration,
    start_up: Duration,
    /// Mean seconds of a call.
    service: f64,
    /// Part of the most workers that is busy at noon, bursts aside.
    load: f64,
}

/// Calls in the order of their arrival: a quiet night, a busy noon, and bursts of three times as much.
fn traffic(scenario: &Scenario, dice: &mut Dice) -> Vec<(Moment, Duration)> {
    let bursts: Vec<(f64, f64)> = (0..8).map(|_| (dice.part() * DAY, 60.0 + dice.part() * 240.0)).collect();
    let workers = f64::from(u32::try_from(scenario.policy.max).unwrap());
    let noon = workers * scenario.load / scenario.service;
    let mut calls = Vec::new();
    let mut now = 0.0;
    loop {
        // Thinning: candidates at the highest rate, kept with the rate's part of it.
        now += dice.exponential(1.0 / (3.0 * noon));
        if now >= DAY {
            return calls;
        }
        let day = 0.52 - 0.48 * (now / DAY * std::f64::consts::TAU).cos();
        let burst = bursts.iter().any(|(start, length)| now >= *start && now < start + length);
        if dice.part() * 3.0 < day * if burst { 3.0 } else { 1.0 } {
            let service = dice.exponential(scenario.service).min(20.0 * scenario.service);
            calls.push((Duration::from_secs_f64(now), Duration::from_secs_f64(service)));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Started(u64),
    Done(u64),
    Look,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    waits: Vec<Duration>,
    /// Longest wait of a call since whose arrival there were fewer than the most workers.
    longest_below_max: Duration,
    starts: u64,
    most: usize,
    /// Seconds that workers were there, and those in which they worked.
    present: f64,
    busy: f64,
    /// Shortest time from a worker's readiness to its stop.
    shortest: Option<Duration>,
    /// Longest time that a worker stayed beyond its idle timeout without being needed.
    latest: Duration,
    decisions: u64,
}

impl Outcome {
    fn wait(&mut self, part: f64) -> Duration {
        self.waits.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((self.waits.len() - 1) as f64 * part) as usize;
        self.waits[index]
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    now: Moment,
    queue: VecDeque<(Moment, Duration)>,
    events: BinaryHeap<Reverse<(Moment, Happening)>>,
    free: BTreeSet<u64>,
    idle: Idle,
    /// By number: since when it is there, is ready, is idle.
    workers: Vec<(Moment, Moment, Moment)>,
    starting: usize,
    running: usize,
    grown: Option<Moment>,
    look: Option<Moment>,
    /// When the maximum was reached last: calls that came since wait for the scaler alone.
    full: Option<Moment>,
    outcome: Outcome,
}

impl World<'_> {
    fn rest(&mut self, number: u64) {
        self.workers[usize::try_from(number).unwrap()].2 = self.now;
        self.free.insert(number);
        self.idle.insert(number, self.now);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Started(number) => {
                self.starting -= 1;
                self.workers[usize::try_from(number).unwrap()].1 = self.now;
                self.rest(number);
            }
            Happening::Done(number) => {
                self.running -= 1;
                self.rest(number);
            }
            Happening::Look => {}
        }
    }

    /// Gives calls to workers and makes their number right, as the platform's pump does.
    fn pump(&mut self) {
        while !self.queue.is_empty()
            && let Some(number) = self.free.pop_first()
        {
            let (arrived, service) = self.queue.pop_front().unwrap();
            self.idle.remove(number, self.workers[usize::try_from(number).unwrap()].2);
            self.running += 1;
            let waited = self.now.saturating_sub(arrived);
            self.outcome.waits.push(waited);
            if self.full.is_none_or(|full| full < arrived) {
                self.outcome.longest_below_max = self.outcome.longest_below_max.max(waited);
            }
            self.outcome.busy += service.as_secs_f64();
            self.events.push(Reverse((self.now + service, Happening::Done(number))));
        }
        let decision = self.decide();
        if decision.is_growth {
            self.grown = Some(self.now);
        }
        for _ in 0..decision.start {
            let number = u64::try_from(self.workers.len()).unwrap();
            self.workers.push((self.now, self.now, self.now));
            self.starting += 1;
            self.outcome.starts += 1;
            self.events.push(Reverse((self.now + self.scenario.start_up, Happening::Started(number))));
        }
        for _ in 0..decision.stop {
            let number = self.idle.to_stop().unwrap();
            let (there, ready, since) = self.workers[usize::try_from(number).unwrap()];
            self.idle.remove(number, since);
            self.free.remove(&number);
            let stayed = self.now.saturating_sub(ready);
            self.outcome.shortest = Some(self.outcome.shortest.map_or(stayed, |least| least.min(stayed)));
            self.outcome.latest =
                self.outcome.latest.max(self.now.saturating_sub(since + self.scenario.idle_timeout));
            self.outcome.present += self.now.saturating_sub(there).as_secs_f64();
        }
        let Policy { min, max, .. } = self.scenario.policy;
        let present = self.starting + self.running + self.free.len();
        assert!(present >= min && present <= max, "{present} workers at {:?}", self.now);
        self.outcome.most = self.outcome.most.max(present);
        if present == max {
            self.full = Some(self.now);
        }
        assert!(self.queue.is_empty() || present > 0, "nobody will take what waits at {:?}", self.now);
        // What is to be looked at later: one event in flight is enough where it is early enough.
        if let Some(moment) = decision.look_again
            && self.look.is_none_or(|look| look <= self.now || moment < look)
        {
            self.look = Some(moment);
            self.events.push(Reverse((moment, Happening::Look)));
        }
    }

    fn decide(&mut self) -> Decision {
        let timeout = self.scenario.idle_timeout;
        self.idle.advance(self.now, timeout);
        self.outcome.decisions += 1;
        decide(
            &self.scenario.policy,
            &Observation {
                now: self.now,
                asking: self.queue.len(),
                oldest: self.queue.front().map(|(arrived, _)| *arrived),
                running: self.running,
                starting: self.starting,
                ready: self.running + self.free.len(),
                idle: self.idle.len(),
                rested: self.idle.rested(),
                next_rested: self.idle.next_rested(timeout),
                grown: self.grown,
            },
        )
    }
}

fn simulate(scenario: &Scenario, seed: u64) -> Outcome {
    let calls = traffic(scenario, &mut Dice(seed));
    let mut world = World {
        scenario,
        now: Duration::ZERO,
        queue: VecDeque::new(),
        events: BinaryHeap::new(),
        free: BTreeSet::new(),
        idle: Idle::default(),
        workers: Vec::new(),
        starting: 0,
        running: 0,
        grown: None,
        look: None,
        full: None,
        outcome: Outcome::default(),
    };
    world.pump();
    let mut arrivals = calls.iter().copied().peekable();
    loop {
        let event = world.events.peek().map(|Reverse((moment, _))| *moment);
        match (arrivals.peek(), event) {
            (Some((arrived, _)), moment) if moment.is_none_or(|moment| *arrived <= moment) => {
                let call = arrivals.next().unwrap();
                world.now = call.0;
                world.queue.push_back(call);
            }
            (_, Some(_)) => {
                let Reverse((moment, happening)) = world.events.pop().unwrap();
                world.now = moment;
                world.happen(happening);
            }
            _ => break,
        }
        world.pump();
    }
    // Nothing happens any more: every call was taken and finished, and what is left is the minimum.
    assert!(world.queue.is_empty() && world.running == 0 && world.starting == 0);
    assert_eq!(world.outcome.waits.len(), calls.len());
    assert_eq!(world.free.len(), scenario.policy.min);
    for number in &world.free {
        world.outcome.present +=
            world.now.saturating_sub(world.workers[usize::try_from(*number).unwrap()].0).as_secs_f64();
    }
    world.outcome
}

fn scenario(max: usize, scaling: Scaling) -> Scenario {
    // Larger endpoints run longer calls here, so that every day has some 100,000 of them.
    let (min, service) = match max {
        0..=1 => (0, 2.0),
        2..=10 => (1, 6.0),
        11..=1000 => (10, 200.0),
        _ => (100, 8000.0),
    };
    let load = match max {
        0..=1 => 0.3,
        2..=1000 => 0.6,
        // Long calls smooth bursts away.
        _ => 1.0,
    };
    Scenario {
        policy: Policy { min, max, capacity: 1, scaling },
        idle_timeout: Duration::from_mins(1),
        start_up: Duration::from_secs(15),
        service,
        load,
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the report of the simulation, for `--nocapture`")]
fn day_of_traffic_is_served_within_limits_at_1_to_100_000_workers() {
    println!(
        "scaler         max    calls  p50 wait  p99 wait  longest  worker-hours  of ideal  starts  most  µs/decision"
    );
    for scaling in [Scaling::QueueDelay(Duration::from_secs(4)), Scaling::RequestCount(1)] {
        for max in [1, 10, 1000, 100_000] {
            let scenario = scenario(max, scaling);
            let begun = Instant::now();
            let mut outcome = simulate(&scenario, 4);
            let took = begun.elapsed();
            let name = match scaling {
                Scaling::QueueDelay(delay) => format!("queue delay {}", delay.as_secs()),
                Scaling::RequestCount(calls) => format!("requests {calls}"),
            };
            let (half, most, longest) = (outcome.wait(0.5), outcome.wait(0.99), outcome.wait(1.0));
            let ratio = outcome.present / outcome.busy;
            println!(
                "{name:<13} {max:>6} {:>8} {:>8.2}s {:>8.2}s {:>7.1}s {:>13.1} {ratio:>9.2} {:>7} {:>5} {:>6.2}",
                outcome.waits.len(),
                half.as_secs_f64(),
                most.as_secs_f64(),
                longest.as_secs_f64(),
                outcome.present / 3600.0,
                outcome.starts,
                outcome.most,
                took.as_secs_f64() * 1e6 / f64::from(u32::try_from(outcome.decisions).unwrap()),
            );
            // Nobody is stopped before the idle timeout has passed, so nothing flaps faster than that,
            // and nobody who is not kept by the minimum stays longer than a second beyond it.
            assert!(outcome.shortest.unwrap() >= scenario.idle_timeout);
            assert!(scenario.policy.min > 0 || outcome.latest <= Duration::from_secs(1));
            // Below the maximum a call waits for the delay and a start, and while a burst is caught up
            // with, for the steps that this takes.
            let bound = match scaling {
                Scaling::QueueDelay(delay) => delay + scenario.start_up + 5 * EVALUATION,
                Scaling::RequestCount(_) => scenario.start_up,
            };
            assert!(outcome.longest_below_max <= bound, "{:?}", outcome.longest_below_max);
            // What is paid beyond the work itself: starts and idle times, little where there is much to do.
            let most_ratio = match max {
                1 => 6.0,
                10 => 2.2,
                1000 => 1.1,
                _ => 1.02,
            };
            assert!(ratio <= most_ratio);
            assert!(longest <= Duration::from_mins(10));
            assert!(max < 1000 || outcome.most == max);
        }
    }
}
