//! Where jobs are kept: a trait, and the store in memory.
//!
//! Nothing else knows which store it is. Reads and changes are quick and synchronous; accepting is
//! a future, so that a durable store can group commits: accepted means stored.

mod documents;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::clock::Moment;
use super::error::StoreError;
use super::record::{Change, JobRecord};
use crate::endpoint::JobStatus;
use crate::wire::BoxFuture;
pub use documents::{DocumentStore, MemoryDocuments};

/// Keeps jobs.
pub trait JobStore: Send + Sync + 'static {
    /// Returns whether jobs outlive the process.
    fn is_durable(&self) -> bool;

    /// Stores a new job; when this completes, it is accepted.
    fn accept(&self, job: JobRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns a job, `None` when there is none (any more).
    fn get(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError>;

    /// Applies a change and returns the job after it.
    fn change(&self, endpoint: &str, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError>;

    /// Adds an item that the job yielded (JSON text).
    fn push_item(&self, endpoint: &str, id: &str, item: Bytes) -> Result<(), StoreError>;

    /// Takes the items that were not taken yet.
    fn take_items(&self, endpoint: &str, id: &str) -> Result<Vec<Bytes>, StoreError>;

    /// Lets a job be forgotten at `moment`, unless it would be sooner anyway.
    fn shorten_life(&self, endpoint: &str, id: &str, moment: Moment) -> Result<(), StoreError>;

    /// Returns the IDs of waiting jobs in the order they are to run.
    fn queued(&self, endpoint: &str) -> Result<Vec<String>, StoreError>;

    /// Forgets jobs whose time has come and returns them.
    fn expire(&self, endpoint: &str, now: Moment) -> Result<Vec<JobRecord>, StoreError>;

    /// Returns when the next job is to be forgotten.
    fn next_expiry(&self, endpoint: &str) -> Option<Moment>;
}

/// Keeps jobs in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    endpoints: Mutex<HashMap<String, Jobs>>,
}

#[derive(Debug, Default)]
struct Jobs {
    entries: HashMap<String, Entry>,
    expiries: BTreeSet<(Moment, String)>,
}

#[derive(Debug)]
struct Entry {
    record: JobRecord,
    items: VecDeque<Bytes>,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Jobs>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        endpoint: &str,
        id: &str,
        act: impl FnOnce(&mut Entry, &mut BTreeSet<(Moment, String)>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut endpoints = self.lock();
        let jobs = endpoints.get_mut(endpoint);
        let found = jobs.and_then(|jobs| Some((jobs.entries.get_mut(id)?, &mut jobs.expiries)));
        match found {
            Some((entry, expiries)) => act(entry, expiries),
            None => Err(StoreError::Unknown { id: id.to_owned() }),
        }
    }
}

impl JobStore for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn accept(&self, job: JobRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut endpoints = self.lock();
        let jobs = endpoints.entry(job.endpoint.clone()).or_default();
        jobs.expiries.insert((job.expires, job.id.clone()));
        jobs.entries.insert(job.id.clone(), Entry { record: job, items: VecDeque::new() });
        Box::pin(std::future::ready(Ok(())))
    }

    fn get(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError> {
        let endpoints = self.lock();
        Ok(endpoints.get(endpoint).and_then(|jobs| jobs.entries.get(id)).map(|entry| entry.record.clone()))
    }

    fn change(&self, endpoint: &str, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError> {
        self.with(endpoint, id, |entry, expiries| {
            let (from, event) = (entry.record.status, change.event());
            let (expired, is_requeue) = (entry.record.expires, matches!(change, Change::Requeued));
            if !entry.record.apply(change, now) {
                let change = event.map_or_else(|| "progress".to_owned(), |event| format!("{event:?}"));
                return Err(StoreError::Refused { id: id.to_owned(), from, change });
            }
            if is_requeue {
                entry.items.clear();
            }
            if entry.record.expires != expired {
                expiries.remove(&(expired, id.to_owned()));
                expiries.insert((entry.record.expires, id.to_owned()));
            }
            Ok(entry.record.clone())
        })
    }

    fn push_item(&self, endpoint: &str, id: &str, item: Bytes) -> Result<(), StoreError> {
        self.with(endpoint, id, |entry, _| {
            if !entry.record.status.is_terminal() {
                entry.items.push_back(item);
            }
            Ok(())
        })
    }

    fn take_items(&self, endpoint: &str, id: &str) -> Result<Vec<Bytes>, StoreError> {
        self.with(endpoint, id, |entry, _| Ok(entry.items.drain(..).collect()))
    }

    fn shorten_life(&self, endpoint: &str, id: &str, moment: Moment) -> Result<(), StoreError> {
        self.with(endpoint, id, |entry, expiries| {
            if moment < entry.record.expires {
                expiries.remove(&(entry.record.expires, id.to_owned()));
                expiries.insert((moment, id.to_owned()));
                entry.record.expires = moment;
            }
            Ok(())
        })
    }

    fn queued(&self, endpoint: &str) -> Result<Vec<String>, StoreError> {
        let endpoints = self.lock();
        let Some(jobs) = endpoints.get(endpoint) else { return Ok(Vec::new()) };
        let mut waiting: Vec<_> = jobs
            .entries
            .values()
            .filter(|entry| entry.record.status == JobStatus::InQueue)
            .map(|entry| (entry.record.retries == 0, entry.record.accepted, entry.record.id.clone()))
            .collect();
        waiting.sort();
        Ok(waiting.into_iter().map(|(_, _, id)| id).collect())
    }

    fn expire(&self, endpoint: &str, now: Moment) -> Result<Vec<JobRecord>, StoreError> {
        let mut endpoints = self.lock();
        let Some(jobs) = endpoints.get_mut(endpoint) else { return Ok(Vec::new()) };
        let mut expired = Vec::new();
        while let Some((moment, _)) = jobs.expiries.first() {
            if *moment > now {
                break;
            }
            if let Some((_, id)) = jobs.expiries.pop_first() {
                expired.extend(jobs.entries.remove(&id).map(|entry| entry.record));
            }
        }
        Ok(expired)
    }

    fn next_expiry(&self, endpoint: &str) -> Option<Moment> {
        self.lock().get(endpoint).and_then(|jobs| jobs.expiries.first().map(|(moment, _)| *moment))
    }
}
