//! The workers of one endpoint, with an index of what the pump asks for after every change.
//!
//! Whoever asks for a worker to change it leaves its number in a list; before the index is read,
//! those are noted anew. So an event costs the logarithm of the number of workers, and nobody has
//! to keep the index right by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::clock::Moment;
use super::scaler::Idle;
use super::state::{Phase, Worker};

/// What the index depends on beside the workers; another one makes it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Terms {
    pub(super) generation: u64,
    /// Calls that one worker takes at a time.
    pub(super) capacity: usize,
    pub(super) idle_timeout: Duration,
    pub(super) init_timeout: Duration,
}

/// What was noted of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Note {
    /// What it adds to the counts.
    counts: Counts,
    /// Calls on it, where it has a free place.
    free: Option<usize>,
    /// Since when it is idle.
    idle: Option<Moment>,
    /// When something about it is due.
    due: Option<Moment>,
}

/// Numbers of workers, by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Of this generation: those that start.
    pub(super) starting: usize,
    /// Of this generation: those that take work or do it.
    pub(super) ready: usize,
    /// Calls on workers of this generation.
    pub(super) running: usize,
    /// Those that use a core: all but those that wait for work.
    pub(super) active: usize,
    /// Those of older generations, and those that finish what they hold.
    pub(super) leaving: usize,
    /// Those that sleep.
    pub(super) asleep: usize,
}

/// The workers of one endpoint, by number.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: BTreeMap<u64, Worker>,
    /// Those that may have changed since they were noted.
    changed: BTreeSet<u64>,
    /// Those that may have changed since it was asked whether something about them is due.
    unchecked: BTreeSet<u64>,
    notes: HashMap<u64, Note>,
    terms: Terms,
    counts: Counts,
    free: BTreeSet<(usize, u64)>,
    idle: Idle,
    due: BTreeSet<(Moment, u64)>,
    asleep: BTreeSet<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "read like the map that it wraps")]
impl Workers {
    pub(super) fn get(&self, number: &u64) -> Option<&Worker> {
        self.all.get(number)
    }

    /// Returns a worker to change it.
    pub(super) fn get_mut(&mut self, number: &u64) -> Option<&mut Worker> {
        let worker = self.all.get_mut(number)?;
        self.changed.insert(*number);
        Some(worker)
    }

    pub(super) fn insert(&mut self, number: u64, worker: Worker) {
        self.changed.insert(number);
        self.all.insert(number, worker);
    }

    pub(super) fn remove(&mut self, number: &u64) -> Option<Worker> {
        self.changed.insert(*number);
        self.all.remove(number)
    }

    /// Returns the number of the first worker that `is_it` accepts.
    pub(super) fn find(&self, is_it: impl Fn(&Worker) -> bool) -> Option<u64> {
        self.all.iter().find(|(_, worker)| is_it(worker)).map(|(number, _)| *number)
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &Worker> {
        self.all.values()
    }

    /// Returns all workers to change them; for what happens rarely.
    pub(super) fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Worker> {
        self.changed.extend(self.all.keys());
        self.all.values_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&u64, &Worker)> {
        self.all.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Notes what has changed. `now` tells what is due and what is still to come.
    pub(super) fn settle(&mut self, terms: Terms, now: Moment) {
        if terms != self.terms {
            if terms.idle_timeout != self.terms.idle_timeout {
                self.idle.reset();
            }
            self.terms = terms;
            self.changed.extend(self.all.keys());
        }
        while let Some(number) = self.changed.pop_first() {
            let note = self.all.get(&number).map(|worker| note(worker, &self.terms, now));
            self.unchecked.insert(number);
            self.replace(number, note);
        }
        self.idle.advance(now, self.terms.idle_timeout);
    }

    fn replace(&mut self, number: u64, note: Option<Note>) {
        let before = match note {
            Some(note) => self.notes.insert(number, note),
            None => self.notes.remove(&number),
        };
        if before == note {
            return;
        }
        if let Some(before) = before {
            self.counts.change(&before.counts, |count, by| *count -= by);
            if let Some(running) = before.free {
                self.free.remove(&(running, number));
            }
            if let Some(since) = before.idle {
                self.idle.remove(number, since);
            }
            if let Some(due) = before.due {
                self.due.remove(&(due, number));
            }
            self.asleep.remove(&number);
        }
        if let Some(note) = note {
            self.counts.change(&note.counts, |count, by| *count += by);
            if let Some(running) = note.free {
                self.free.insert((running, number));
            }
            if let Some(since) = note.idle {
                self.idle.insert(number, since);
            }
            if let Some(due) = note.due {
                self.due.insert((due, number));
            }
            if note.counts.asleep > 0 {
                self.asleep.insert(number);
            }
        }
    }

    // What follows answers for the moment of the last `settle`.

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The worker with a free place and the least to do; only one that works already where the
    /// others are to stay idle.
    pub(super) fn free(&self, is_busy_one: bool) -> Option<u64> {
        let least = usize::from(is_busy_one);
        self.free.range((least, 0)..).next().map(|(_, number)| *number)
    }

    pub(super) fn idle(&self) -> &Idle {
        &self.idle
    }

    /// Workers that sleep, the newest last.
    pub(super) fn asleep(&self) -> &BTreeSet<u64> {
        &self.asleep
    }

    /// When something about a worker is due next.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(moment, _)| *moment)
    }

    /// Takes the workers of which something may be due: those whose moment has come, and those that
    /// have changed since this was asked last.
    pub(super) fn take_due(&mut self, now: Moment) -> Vec<u64> {
        let mut taken = std::mem::take(&mut self.unchecked);
        while let Some((moment, number)) = self.due.first().copied()
            && moment <= now
        {
            self.due.pop_first();
            if let Some(note) = self.notes.get_mut(&number) {
                note.due = None;
            }
            // Something else of it may be due later.
            self.changed.insert(number);
            taken.insert(number);
        }
        taken.into_iter().collect()
    }
}

impl Counts {
    fn change(&mut self, by: &Self, change: impl Fn(&mut usize, usize)) {
        change(&mut self.starting, by.starting);
        change(&mut self.ready, by.ready);
        change(&mut self.running, by.running);
        change(&mut self.active, by.active);
        change(&mut self.leaving, by.leaving);
        change(&mut self.asleep, by.asleep);
    }
}

fn note(worker: &Worker, terms: &Terms, now: Moment) -> Note {
    let is_current = worker.generation == terms.generation;
    let is_ready = is_current && worker.phase == Phase::Ready;
    let is_starting = is_current && worker.phase == Phase::Starting;
    let is_active = !worker.running.is_empty() || worker.phase == Phase::Starting;
    Note {
        counts: Counts {
            starting: usize::from(is_starting),
            ready: usize::from(is_ready),
            running: if is_ready || is_starting { worker.running.len() } else { 0 },
            active: usize::from(is_active),
            leaving: usize::from(!is_current || worker.phase == Phase::Draining),
            asleep: usize::from(matches!(worker.phase, Phase::Asleep(_))),
        },
        free: (is_ready && worker.is_free(terms.capacity)).then_some(worker.running.len()),
        idle: (is_ready && worker.running.is_empty()).then_some(worker.since),
        due: worker.moments(terms.init_timeout).filter(|moment| *moment > now).min(),
    }
}
