//! The store in memory: jobs go with the process.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Counts, Delivery, Depth, EXPIRED, JobStore, WaitingJob};
use crate::endpoint::JobStatus;
use crate::platform::clock::Moment;
use crate::platform::error::StoreError;
use crate::platform::record::{Change, JobRecord};
use crate::wire::BoxFuture;

/// Keeps jobs in memory.
#[derive(Debug)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    news: watch::Sender<u64>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { kept: Mutex::default(), news: watch::Sender::new(0) }
    }
}

#[derive(Debug, Default)]
struct Kept {
    endpoints: HashMap<String, Jobs>,
    deliveries: BTreeMap<String, Delivery>,
    due: BTreeSet<(Moment, String)>,
}

#[derive(Debug, Default)]
struct Jobs {
    entries: HashMap<String, Entry>,
    expiries: BTreeSet<(Moment, String)>,
    /// Waiting jobs by their place in the queue.
    waiting: BTreeMap<i64, String>,
    /// Jobs by the order they were accepted in.
    accepted: BTreeMap<u64, String>,
    low_priority: usize,
    next: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    record: JobRecord,
    items: VecDeque<Bytes>,
    number: u64,
    place: i64,
}

impl Jobs {
    /// Puts a waiting job in its place.
    fn wait_at(&mut self, place: i64, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.place = place;
            self.low_priority += usize::from(entry.record.request.low_priority);
            self.waiting.insert(place, id.to_owned());
        }
    }

    fn first_place(&self) -> i64 {
        self.waiting.first_key_value().map_or(0, |(place, _)| place - 1).min(0)
    }

    fn take_next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn leave(&mut self, place: i64, is_low_priority: bool) {
        if self.waiting.remove(&place).is_some() {
            self.low_priority -= usize::from(is_low_priority);
        }
    }

    fn change(&mut self, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError> {
        let entry = self.entries.get_mut(id).ok_or_else(|| StoreError::Unknown { id: id.to_owned() })?;
        let (from, expired, place) = (entry.record.status, entry.record.expires, entry.place);
        let applied = change.clone();
        if !entry.record.apply(change, now) {
            return Err(StoreError::refused(id, from, &applied));
        }
        if matches!(applied, Change::Requeued | Change::Retried) {
            entry.items.clear();
        }
        let record = entry.record.clone();
        if record.expires != expired {
            self.expiries.remove(&(expired, id.to_owned()));
            self.expiries.insert((record.expires, id.to_owned()));
        }
        if from == JobStatus::InQueue {
            self.leave(place, record.request.low_priority);
        }
        match applied {
            Change::Requeued | Change::HandedBack => self.wait_at(self.first_place(), id),
            Change::Retried => {
                let place = i64::try_from(self.take_next()).unwrap_or(i64::MAX);
                self.wait_at(place, id);
            }
            _ => {}
        }
        self.counts.add(&applied);
        Ok(record)
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, endpoint: &str, id: &str, act: impl FnOnce(&mut Entry) -> T) -> Result<T, StoreError> {
        let mut kept = self.lock();
        let entry = kept.endpoints.get_mut(endpoint).and_then(|jobs| jobs.entries.get_mut(id));
        entry.map(act).ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
    }

    fn deliver(&self, kept: &mut Kept, job: &JobRecord, now: Moment) {
        if let Some(delivery) = Delivery::of(job, now) {
            kept.due.insert((delivery.due, delivery.id.clone()));
            kept.deliveries.insert(delivery.id.clone(), delivery);
            self.news.send_modify(|count| *count += 1);
        }
    }
}

impl JobStore for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn accept(&self, job: JobRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut kept = self.lock();
        let jobs = kept.endpoints.entry(job.endpoint.clone()).or_default();
        let (number, id) = (jobs.take_next(), job.id.clone());
        jobs.expiries.insert((job.expires, id.clone()));
        jobs.accepted.insert(number, id.clone());
        jobs.entries.insert(id.clone(), Entry { record: job, items: VecDeque::new(), number, place: 0 });
        jobs.wait_at(i64::try_from(number).unwrap_or(i64::MAX), &id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn get(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError> {
        let kept = self.lock();
        let entry = kept.endpoints.get(endpoint).and_then(|jobs| jobs.entries.get(id));
        Ok(entry.map(|entry| entry.record.clone()))
    }

    fn look(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError> {
        self.get(endpoint, id)
    }

    fn change(&self, endpoint: &str, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError> {
        let mut kept = self.lock();
        let jobs = kept.endpoints.get_mut(endpoint);
        let jobs = jobs.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })?;
        let is_progress = matches!(change, Change::Progress(_));
        let record = jobs.change(id, change, now)?;
        if !is_progress {
            self.deliver(&mut kept, &record, now);
        }
        Ok(record)
    }

    fn end_waiting(&self, endpoint: &str, change: &Change, now: Moment) -> Result<u64, StoreError> {
        let mut kept = self.lock();
        let Some(jobs) = kept.endpoints.get_mut(endpoint) else { return Ok(0) };
        let waiting: Vec<String> = jobs.waiting.values().cloned().collect();
        let ended: Vec<JobRecord> =
            waiting.iter().filter_map(|id| jobs.change(id, change.clone(), now).ok()).collect();
        for record in &ended {
            self.deliver(&mut kept, record, now);
        }
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
    }

    fn push_item(&self, endpoint: &str, id: &str, item: Bytes) -> Result<(), StoreError> {
        self.with(endpoint, id, |entry| {
            if !entry.record.status.is_terminal() {
                entry.items.push_back(item);
            }
        })
    }

    fn take_items(&self, endpoint: &str, id: &str) -> Result<Vec<Bytes>, StoreError> {
        self.with(endpoint, id, |entry| entry.items.drain(..).collect())
    }

    fn shorten_life(&self, endpoint: &str, id: &str, moment: Moment) -> Result<(), StoreError> {
        let mut kept = self.lock();
        let jobs = kept.endpoints.get_mut(endpoint);
        let found = jobs.and_then(|jobs| Some((jobs.entries.get_mut(id)?, &mut jobs.expiries)));
        let (entry, expiries) = found.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })?;
        if moment < entry.record.expires {
            expiries.remove(&(entry.record.expires, id.to_owned()));
            expiries.insert((moment, id.to_owned()));
            entry.record.expires = moment;
        }
        Ok(())
    }

    fn waiting(&self, endpoint: &str, most: usize) -> Result<Vec<WaitingJob>, StoreError> {
        let kept = self.lock();
        let Some(jobs) = kept.endpoints.get(endpoint) else { return Ok(Vec::new()) };
        let waiting = jobs.waiting.values().filter_map(|id| jobs.entries.get(id)).take(most);
        let waiting = waiting.map(|entry| WaitingJob {
            id: entry.record.id.clone(),
            low_priority: entry.record.request.low_priority,
            accepted: entry.record.accepted,
        });
        Ok(waiting.collect())
    }

    fn depth(&self, endpoint: &str) -> Depth {
        let kept = self.lock();
        let jobs = kept.endpoints.get(endpoint);
        jobs.map_or_else(Depth::default, |jobs| Depth {
            all: jobs.waiting.len(),
            asking: jobs.waiting.len() - jobs.low_priority,
        })
    }

    fn counts(&self, endpoint: &str) -> Counts {
        self.lock().endpoints.get(endpoint).map(|jobs| jobs.counts).unwrap_or_default()
    }

    fn recent(&self, endpoint: &str, most: usize) -> Result<Vec<JobRecord>, StoreError> {
        let kept = self.lock();
        let Some(jobs) = kept.endpoints.get(endpoint) else { return Ok(Vec::new()) };
        let newest = jobs.accepted.values().rev().filter_map(|id| jobs.entries.get(id)).take(most);
        Ok(newest.map(|entry| entry.record.clone()).collect())
    }

    fn expire(&self, endpoint: &str, now: Moment) -> Result<Vec<JobRecord>, StoreError> {
        let mut kept = self.lock();
        let Some(jobs) = kept.endpoints.get_mut(endpoint) else { return Ok(Vec::new()) };
        let mut expired = Vec::new();
        while expired.len() < EXPIRED && jobs.expiries.first().is_some_and(|(moment, _)| *moment <= now) {
            let Some(entry) = jobs.expiries.pop_first().and_then(|(_, id)| jobs.entries.remove(&id)) else {
                continue;
            };
            jobs.accepted.remove(&entry.number);
            if entry.record.status == JobStatus::InQueue {
                jobs.leave(entry.place, entry.record.request.low_priority);
            }
            expired.push(entry.record);
        }
        Ok(expired)
    }

    fn next_expiry(&self, endpoint: &str) -> Option<Moment> {
        self.lock().endpoints.get(endpoint)?.expiries.first().map(|(moment, _)| *moment)
    }

    fn deliveries(&self, now: Moment, most: usize) -> Result<Vec<Delivery>, StoreError> {
        let kept = self.lock();
        let due = kept.due.iter().take_while(|(moment, _)| *moment <= now).take(most);
        Ok(due.filter_map(|(_, id)| kept.deliveries.get(id).cloned()).collect())
    }

    fn next_delivery(&self) -> Option<Moment> {
        self.lock().due.first().map(|(moment, _)| *moment)
    }

    fn delivery_news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn delivery_failed(&self, id: &str, attempts: u32, due: Moment) -> Result<(), StoreError> {
        let kept = &mut *self.lock();
        if let Some(delivery) = kept.deliveries.get_mut(id) {
            kept.due.remove(&(delivery.due, id.to_owned()));
            kept.due.insert((due, id.to_owned()));
            (delivery.attempts, delivery.due) = (attempts, due);
        }
        Ok(())
    }

    fn delivery_done(&self, id: &str) -> Result<(), StoreError> {
        let mut kept = self.lock();
        if let Some(delivery) = kept.deliveries.remove(id) {
            kept.due.remove(&(delivery.due, delivery.id));
        }
        Ok(())
    }
}
