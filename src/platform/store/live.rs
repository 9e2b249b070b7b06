//! What the durable store knows beside the database: changes that are not committed yet, jobs that
//! run, and counts. A change counts here at once; the writer brings it to the disk.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::rows::StoredJob;
use super::{Counts, Delivery, Depth};
use crate::endpoint::JobStatus;
use crate::platform::clock::Moment;
use crate::platform::error::StoreError;
use crate::platform::record::{Change, JobRecord, RETENTION_SYNC};

/// Jobs that wait further behind do not stay in memory after they were stored; they are read when
/// their turn comes.
const CACHED: usize = 1000;
/// Inputs larger than this do not stay.
pub(super) const CACHED_INPUT: usize = 16 << 10;
/// What the waiting jobs of an endpoint take of memory at most, and those of all endpoints.
const CACHED_OF_LANE: usize = 4 << 20;
const CACHED_OF_ALL: usize = 16 << 20;
/// What a job takes of memory beside its input, about.
const JOB_SIZE: usize = 1 << 10;

/// Where an operation's end is told.
pub(super) type Done = oneshot::Sender<Result<(), StoreError>>;

/// A job in memory; it overrules its row.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other, none a state")]
pub(super) struct Entry {
    pub(super) job: StoredJob,
    /// Items that were not taken, unless they are in the database alone.
    pub(super) items: Option<Vec<Bytes>>,
    pub(super) has_input: bool,
    /// It is to be forgotten.
    pub(super) is_deleted: bool,
    writes_output: bool,
    writes_items: bool,
    is_queued: bool,
    is_writing: bool,
}

impl Entry {
    pub(super) fn of(job: StoredJob) -> Self {
        Self {
            job,
            items: None,
            has_input: false,
            is_deleted: false,
            writes_output: false,
            writes_items: false,
            is_queued: false,
            is_writing: false,
        }
    }

    /// What it takes of memory as a waiting job that stays there.
    fn weight(&self) -> usize {
        JOB_SIZE + self.job.record.request.input.len()
    }

    /// Takes the items; they are forgotten in the database too where they are there.
    pub(super) fn replace_items(&mut self, items: Vec<Bytes>) -> Vec<Bytes> {
        self.writes_items |= self.job.record.status.is_terminal();
        self.items.replace(items).unwrap_or_default()
    }
}

/// What is known of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) depth: Depth,
    pub(super) counts: Counts,
    /// No job is to be forgotten before.
    pub(super) next_expiry: Option<Moment>,
    /// Bytes that its waiting jobs take in memory.
    pub(super) cached: usize,
}

impl Lane {
    pub(super) fn expect(&mut self, expiry: Moment) {
        self.next_expiry = Some(self.next_expiry.map_or(expiry, |known| known.min(expiry)));
    }

    fn join(&mut self, record: &JobRecord) {
        self.depth.all += 1;
        self.depth.asking += usize::from(!record.request.low_priority);
    }

    fn leave(&mut self, record: &JobRecord) {
        self.depth.all = self.depth.all.saturating_sub(1);
        let asking = usize::from(!record.request.low_priority);
        self.depth.asking = self.depth.asking.saturating_sub(asking);
    }
}

/// A change of all jobs that waited at one moment. It counts at once; rows follow in pieces.
#[derive(Debug, Clone)]
pub(super) struct Sweep {
    pub(super) number: i64,
    pub(super) endpoint: String,
    /// The places that they have.
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) at: Moment,
    pub(super) change: Change,
    pub(super) is_stored: bool,
}

impl Sweep {
    /// What is to be told of a job that it has ended. The ID is the same whoever comes to the job
    /// first, the writer or a reader that brings it to memory.
    pub(super) fn delivery(&self, record: &JobRecord) -> Option<Delivery> {
        let id = format!("{}-{}", record.id, self.number);
        Some(Delivery { id, ..Delivery::of(record, self.at)? })
    }

    pub(super) fn is_over(&self, job: &StoredJob) -> bool {
        job.record.status == JobStatus::InQueue
            && job.record.endpoint == self.endpoint
            && (self.low..=self.high).contains(&job.place)
    }
}

/// A job to be stored.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) job: StoredJob,
    pub(super) done: Done,
}

/// A document to be stored, or removed.
#[derive(Debug)]
pub(super) struct DocumentChange {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) json: Option<String>,
    pub(super) done: Done,
}

/// A job as it is to be written.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) job: StoredJob,
    pub(super) with_output: bool,
    pub(super) items: Option<Vec<Bytes>>,
    pub(super) is_deleted: bool,
}

/// What became of a delivery: tried again later, or done.
pub(super) type DeliveryFate = Option<(u32, Moment)>;

/// What is written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) sequence: u64,
    pub(super) accepts: Vec<Accept>,
    pub(super) documents: Vec<DocumentChange>,
    pub(super) jobs: Vec<Snapshot>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) fates: Vec<(String, DeliveryFate)>,
    pub(super) counts: Vec<(String, Counts)>,
    pub(super) sweeps: Vec<Sweep>,
}

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) entries: HashMap<String, Entry>,
    pub(super) lanes: HashMap<String, Lane>,
    pub(super) sweeps: Vec<Sweep>,
    /// Deliveries whose fate is not committed yet.
    pub(super) fates: HashMap<String, DeliveryFate>,
    pub(super) accepts: Vec<Accept>,
    pub(super) documents: Vec<DocumentChange>,
    dirty: Vec<String>,
    deliveries: Vec<Delivery>,
    new_fates: Vec<(String, DeliveryFate)>,
    dirty_counts: BTreeSet<String>,
    /// Bytes that waiting jobs take in memory.
    cached: usize,
    /// Entries that are deleted.
    pub(super) removed: usize,
    pub(super) next_number: i64,
    /// The first of the jobs that are being written and do not count yet.
    pub(super) unaccepted: Option<i64>,
    pub(super) first_place: i64,
    /// Rises with every change.
    pub(super) sequence: u64,
    pub(super) is_closing: bool,
}

impl Live {
    pub(super) fn take_number(&mut self) -> i64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Queues a job to be written.
    pub(super) fn mark(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            self.sequence += 1;
            if !entry.is_queued {
                entry.is_queued = true;
                self.dirty.push(id.to_owned());
            }
        }
    }

    /// Brings a job to memory as it is by its row and by sweeps that have not reached it.
    pub(super) fn adopt(&mut self, mut job: StoredJob) {
        let swept = sweep(&self.sweeps, &mut job);
        self.deliveries.extend(swept.and_then(|sweep| sweep.delivery(&job.record)));
        let (id, is_swept) = (job.record.id.clone(), swept.is_some());
        self.entries.insert(id.clone(), Entry::of(job));
        if is_swept {
            self.mark(&id);
        }
    }

    /// Applies a change to a job in memory.
    pub(super) fn change(&mut self, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError> {
        let unknown = || StoreError::Unknown { id: id.to_owned() };
        let entry = self.entries.get_mut(id).filter(|entry| !entry.is_deleted).ok_or_else(unknown)?;
        let before = entry.job.record.status;
        let applied = change.clone();
        if !entry.job.record.apply(change, now) {
            return Err(StoreError::refused(id, before, &applied));
        }
        let lane = self.lanes.entry(entry.job.record.endpoint.clone()).or_default();
        lane.expect(entry.job.record.expires);
        if matches!(applied, Change::Progress(_)) {
            // It goes with the process, as what it tells of does.
            return Ok(entry.job.record.clone());
        }
        match &applied {
            Change::Started { .. } => entry.items = Some(entry.items.take().unwrap_or_default()),
            Change::Requeued => {
                self.first_place -= 1;
                entry.job.place = self.first_place;
                entry.items = Some(Vec::new());
            }
            Change::Retried => {
                entry.job.place = self.next_number;
                self.next_number += 1;
                entry.items = Some(Vec::new());
                (entry.writes_output, entry.writes_items) = (true, true);
            }
            _ => {
                entry.writes_output = true;
                entry.writes_items |= entry.items.as_ref().is_some_and(|items| !items.is_empty());
            }
        }
        let record = entry.job.record.clone();
        if before == JobStatus::InQueue {
            lane.leave(&record);
        }
        if record.status == JobStatus::InQueue {
            lane.join(&record);
        }
        let counts = lane.counts;
        lane.counts.add(&applied);
        if lane.counts != counts {
            self.dirty_counts.insert(record.endpoint.clone());
        }
        self.deliveries.extend(Delivery::of(&record, now));
        self.mark(id);
        Ok(record)
    }

    /// Applies a change to all waiting jobs of an endpoint.
    pub(super) fn sweep(&mut self, endpoint: &str, change: &Change, now: Moment) -> u64 {
        let all = self.lanes.get(endpoint).map_or(0, |lane| lane.depth.all);
        if all == 0 {
            return 0;
        }
        let in_memory: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_deleted && entry.job.record.endpoint == endpoint)
            .filter(|(_, entry)| entry.job.record.status == JobStatus::InQueue)
            .map(|(id, _)| id.clone())
            .collect();
        for id in in_memory {
            // It waits, so the change applies.
            let _ = self.change(&id, change.clone(), now);
        }
        let lane = self.lanes.entry(endpoint.to_owned()).or_default();
        let left = u64::try_from(lane.depth.all).unwrap_or(u64::MAX);
        lane.depth = Depth::default();
        lane.expect(now + RETENTION_SYNC);
        if matches!(change, Change::Failed(..) | Change::TimedOut(_)) && left > 0 {
            lane.counts.failed += left;
            self.dirty_counts.insert(endpoint.to_owned());
        }
        if left > 0 {
            let (low, number) = (self.first_place, self.take_number());
            let (endpoint, change) = (endpoint.to_owned(), change.clone());
            self.sweeps.push(Sweep {
                number,
                endpoint,
                low,
                high: number,
                at: now,
                change,
                is_stored: false,
            });
            self.sequence += 1;
        }
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// Lets go of a job.
    pub(super) fn delete(&mut self, id: &str) -> Option<JobRecord> {
        let entry = self.entries.get_mut(id).filter(|entry| !entry.is_deleted)?;
        entry.is_deleted = true;
        self.removed += 1;
        let record = entry.job.record.clone();
        if record.status == JobStatus::InQueue {
            self.lanes.entry(record.endpoint.clone()).or_default().leave(&record);
        }
        self.mark(id);
        Some(record)
    }

    pub(super) fn decide(&mut self, id: &str, fate: DeliveryFate) {
        self.fates.insert(id.to_owned(), fate);
        self.new_fates.push((id.to_owned(), fate));
        self.sequence += 1;
    }

    /// Lets a job go that was brought to memory and not changed.
    pub(super) fn drop_unchanged(&mut self, id: &str) {
        let is_needed = |entry: &Entry| {
            entry.is_queued
                || entry.is_writing
                || entry.has_input
                || entry.job.record.status == JobStatus::InProgress
                || entry.items.as_ref().is_some_and(|items| !items.is_empty())
        };
        if self.entries.get(id).is_some_and(|entry| !is_needed(entry)) {
            self.entries.remove(id);
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.has_new() || !self.sweeps.is_empty()
    }

    /// Whether something would be lost now.
    pub(super) fn has_new(&self) -> bool {
        !self.dirty.is_empty()
            || !self.accepts.is_empty()
            || !self.documents.is_empty()
            || !self.deliveries.is_empty()
            || !self.new_fates.is_empty()
            || !self.dirty_counts.is_empty()
            || self.sweeps.iter().any(|sweep| !sweep.is_stored)
    }

    /// Takes all that is to be written.
    pub(super) fn take_batch(&mut self) -> Batch {
        let mut accepts = std::mem::take(&mut self.accepts);
        self.unaccepted = (!accepts.is_empty()).then_some(self.next_number);
        for accept in &mut accepts {
            let number = self.take_number();
            (accept.job.number, accept.job.place) = (number, number);
        }
        let mut jobs = Vec::with_capacity(self.dirty.len());
        for id in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            (entry.is_queued, entry.is_writing) = (false, true);
            let with_items = std::mem::take(&mut entry.writes_items);
            jobs.push(Snapshot {
                job: entry.job.clone(),
                with_output: std::mem::take(&mut entry.writes_output),
                items: entry.items.clone().filter(|_| with_items),
                is_deleted: entry.is_deleted,
            });
        }
        let counts = std::mem::take(&mut self.dirty_counts);
        let count = |endpoint: String| {
            let counts = self.lanes.get(&endpoint).map(|lane| lane.counts).unwrap_or_default();
            (endpoint, counts)
        };
        Batch {
            sequence: self.sequence,
            accepts,
            documents: std::mem::take(&mut self.documents),
            jobs,
            deliveries: std::mem::take(&mut self.deliveries),
            fates: std::mem::take(&mut self.new_fates),
            counts: counts.into_iter().map(count).collect(),
            sweeps: self.sweeps.clone(),
        }
    }

    /// A job is stored: it waits now.
    pub(super) fn accepted(&mut self, mut job: StoredJob) {
        let lane = self.lanes.entry(job.record.endpoint.clone()).or_default();
        lane.expect(job.record.expires);
        if self.sweeps.iter().any(|sweep| sweep.is_over(&job)) {
            return;
        }
        lane.join(&job.record);
        if lane.depth.all <= CACHED && job.record.request.input.len() <= CACHED_INPUT {
            // A piece of a request's body would keep the whole of it.
            job.record.request.input = Bytes::copy_from_slice(&job.record.request.input);
            self.keep(job);
        }
    }

    /// Keeps a job that waits, with its input, in memory, where there is room.
    pub(super) fn keep(&mut self, job: StoredJob) {
        let entry = Entry { has_input: true, ..Entry::of(job) };
        let weight = entry.weight();
        let lane = self.lanes.entry(entry.job.record.endpoint.clone()).or_default();
        if self.cached + weight <= CACHED_OF_ALL && lane.cached + weight <= CACHED_OF_LANE {
            self.cached += weight;
            lane.cached += weight;
            self.entries.insert(entry.job.record.id.clone(), entry);
        }
    }

    /// A job does not take room among those that wait any more.
    fn free(&mut self, endpoint: &str, weight: usize) {
        self.cached = self.cached.saturating_sub(weight);
        if let Some(lane) = self.lanes.get_mut(endpoint) {
            lane.cached = lane.cached.saturating_sub(weight);
        }
    }

    /// What was written of a batch is on the disk: jobs that are in no worker's hands may go.
    pub(super) fn written(&mut self, batch: &Batch) {
        for sweep in &mut self.sweeps {
            sweep.is_stored |= batch.sweeps.iter().any(|stored| stored.number == sweep.number);
        }
        for snapshot in &batch.jobs {
            let id = &snapshot.job.record.id;
            let Some(entry) = self.entries.get_mut(id) else { continue };
            entry.is_writing = false;
            if entry.is_queued {
                continue;
            }
            let keeps_items = !entry.job.record.status.is_terminal()
                && entry.items.as_ref().is_some_and(|items| !items.is_empty());
            let is_running = entry.job.record.status == JobStatus::InProgress;
            let freed = entry.has_input.then(|| entry.weight());
            self.removed -= usize::from(entry.is_deleted);
            if entry.is_deleted || !(is_running || keeps_items) {
                self.entries.remove(id);
            } else if entry.has_input {
                // The worker has it.
                entry.has_input = false;
                entry.job.record.request.input = Bytes::new();
            }
            if let Some(weight) = freed {
                self.free(&snapshot.job.record.endpoint, weight);
            }
        }
        for (id, fate) in &batch.fates {
            if self.fates.get(id) == Some(fate) {
                self.fates.remove(id);
            }
        }
    }
}

/// Applies the sweep that is over a job, and returns it.
pub(super) fn sweep<'a>(sweeps: &'a [Sweep], job: &mut StoredJob) -> Option<&'a Sweep> {
    let sweep = sweeps.iter().find(|sweep| sweep.is_over(job))?;
    job.record.apply(sweep.change.clone(), sweep.at).then_some(sweep)
}
