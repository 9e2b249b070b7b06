//! The durable store: SQLite, one writer, readers beside it.
//!
//! A change is made in memory ([`super::live`]) and queued for the writer ([`super::writer`]),
//! which commits whatever waits as one. Reads ask memory first, then the database.

use std::iter::from_fn;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::{oneshot, watch};

use super::live::{Accept, CACHED_INPUT, DocumentChange, Live, sweep};
use super::rows::{self, COLUMNS, StoredJob, find_deliveries, find_input, find_items, find_job, nanoseconds};
use super::schema;
use super::writer::Core;
use super::{Counts, Delivery, Depth, DocumentStore, EXPIRED, JobStore, WaitingJob};
use crate::endpoint::JobStatus;
use crate::platform::clock::Moment;
use crate::platform::error::StoreError;
use crate::platform::record::{Change, JobRecord};
use crate::wire::BoxFuture;

/// Connections that are kept for reading.
const READERS: usize = 4;
/// Forgotten jobs that the writer has not removed, from which on no more are forgotten.
const REMOVED: usize = 1000;
/// Waiting jobs in their order, with what a worker needs of them where that is small: whoever asks
/// is about to give them away.
static WAITING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {COLUMNS}, CASE WHEN length(inputs.input) <= {CACHED_INPUT} THEN inputs.input END \
         FROM jobs CROSS JOIN inputs ON inputs.number = jobs.number \
         WHERE endpoint = ?1 AND status = 0 AND (place < ?2 OR place > ?3) ORDER BY place"
    )
});

/// Keeps jobs and documents in a file.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) core: Arc<Core>,
    pub(super) path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    pub(super) fn new(core: Arc<Core>, path: PathBuf, writer: JoinHandle<()>) -> Self {
        Self { core, path, readers: Mutex::default(), writer: Mutex::new(Some(writer)) }
    }

    /// Brings what is left to the disk and ends the writer; nothing new is taken any more.
    pub fn close(&self) {
        self.core.lock().is_closing = true;
        self.core.work.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }

    /// Reads from the database.
    fn read<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        let result = act(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(connection);
        }
        Ok(result?)
    }

    /// Finds a job in memory, else in the database.
    fn find(&self, endpoint: &str, id: &str) -> Result<Option<(StoredJob, bool)>, StoreError> {
        let sweeps = {
            let live = self.core.lock();
            if let Some(entry) = live.entries.get(id) {
                let is_there = !entry.is_deleted && entry.job.record.endpoint == endpoint;
                return Ok(is_there.then(|| (entry.job.clone(), entry.has_input)));
            }
            live.sweeps.clone()
        };
        let found = self.read(|connection| find_job(connection, id))?;
        Ok(found.filter(|job| job.record.endpoint == endpoint).map(|mut job| {
            sweep(&sweeps, &mut job);
            (job, false)
        }))
    }

    /// Whether nothing has to be read for a worker to be given a job.
    #[cfg(test)]
    pub(super) fn is_in_memory(&self, id: &str) -> bool {
        self.core.lock().entries.get(id).is_some_and(|entry| entry.has_input)
    }

    /// Acts on a job in memory, where it is brought when it is not there.
    fn with<T>(
        &self,
        endpoint: &str,
        id: &str,
        act: impl FnOnce(&mut Live) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut live = self.core.lock();
        let was_there = live.entries.contains_key(id);
        if !was_there && let Some(job) = self.read(|connection| find_job(connection, id))? {
            live.adopt(job);
        }
        let is_it = |live: &Live| {
            live.entries
                .get(id)
                .is_some_and(|entry| !entry.is_deleted && entry.job.record.endpoint == endpoint)
        };
        let result =
            if is_it(&live) { act(&mut live) } else { Err(StoreError::Unknown { id: id.to_owned() }) };
        live.drop_unchanged(id);
        self.core.work.notify_one();
        result
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl JobStore for SqliteStore {
    fn is_durable(&self) -> bool {
        true
    }

    fn accept(&self, job: JobRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        let (done, stored) = oneshot::channel();
        let job = StoredJob { number: 0, place: 0, record: job };
        {
            let mut live = self.core.lock();
            // Else it is dropped with its sender, which is the refusal.
            if !live.is_closing {
                live.accepts.push(Accept { job, done });
            }
        }
        self.core.work.notify_one();
        Box::pin(async move { stored.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn settled(&self) -> BoxFuture<'static, ()> {
        let sequence = self.core.lock().sequence;
        let mut committed = self.core.committed.subscribe();
        Box::pin(async move {
            let _ = committed.wait_for(|done| *done >= sequence).await;
        })
    }

    fn get(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError> {
        let Some((mut job, has_input)) = self.find(endpoint, id)? else { return Ok(None) };
        if !has_input {
            job.record.request.input = self.read(|connection| find_input(connection, job.number))?;
        }
        Ok(Some(job.record))
    }

    fn look(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError> {
        Ok(self.find(endpoint, id)?.map(|(job, _)| job.record))
    }

    fn change(&self, endpoint: &str, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError> {
        self.with(endpoint, id, |live| live.change(id, change, now))
    }

    fn end_waiting(&self, endpoint: &str, change: &Change, now: Moment) -> Result<u64, StoreError> {
        let ended = self.core.lock().sweep(endpoint, change, now);
        self.core.work.notify_one();
        Ok(ended)
    }

    fn push_item(&self, endpoint: &str, id: &str, item: Bytes) -> Result<(), StoreError> {
        self.with(endpoint, id, |live| {
            if let Some(entry) = live.entries.get_mut(id)
                && !entry.job.record.status.is_terminal()
            {
                entry.items.get_or_insert_default().push(item);
            }
            Ok(())
        })
    }

    fn take_items(&self, endpoint: &str, id: &str) -> Result<Vec<Bytes>, StoreError> {
        {
            let mut live = self.core.lock();
            if let Some(entry) = live.entries.get_mut(id).filter(|entry| !entry.is_deleted)
                && let Some(items) = entry.items.as_ref()
            {
                if items.is_empty() {
                    return Ok(Vec::new());
                }
                let items = entry.replace_items(Vec::new());
                if entry.job.record.status.is_terminal() {
                    live.mark(id);
                    self.core.work.notify_one();
                }
                return Ok(items);
            }
        }
        let Some((job, _)) = self.find(endpoint, id)? else {
            return Err(StoreError::Unknown { id: id.to_owned() });
        };
        if self.read(|connection| find_items(connection, job.number))?.is_empty() {
            return Ok(Vec::new());
        }
        self.with(endpoint, id, |live| {
            // Read again under the lock: each item is taken once.
            let items = self.read(|connection| find_items(connection, job.number))?;
            let Some(entry) = live.entries.get_mut(id) else { return Ok(items) };
            if entry.items.is_some() {
                return Ok(entry.replace_items(Vec::new()));
            }
            entry.replace_items(Vec::new());
            live.mark(id);
            Ok(items)
        })
    }

    fn shorten_life(&self, endpoint: &str, id: &str, moment: Moment) -> Result<(), StoreError> {
        self.with(endpoint, id, |live| {
            if let Some(entry) = live.entries.get_mut(id)
                && moment < entry.job.record.expires
            {
                entry.job.record.expires = moment;
                live.lanes.entry(endpoint.to_owned()).or_default().expect(moment);
                live.mark(id);
            }
            Ok(())
        })
    }

    fn waiting(&self, endpoint: &str, most: usize) -> Result<Vec<WaitingJob>, StoreError> {
        // Under the lock, so that no job is between memory and database.
        let mut live = self.core.lock();
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for sweep in live.sweeps.iter().filter(|sweep| sweep.endpoint == endpoint) {
            (low, high) = (low.min(sweep.low), high.max(sweep.high));
        }
        let mut in_memory: Vec<(i64, WaitingJob)> = live
            .entries
            .values()
            .filter(|entry| !entry.is_deleted && entry.job.record.endpoint == endpoint)
            .filter(|entry| entry.job.record.status == JobStatus::InQueue)
            .map(|entry| (entry.job.place, waiting_job(&entry.job.record)))
            .collect();
        in_memory.sort_unstable_by_key(|(place, _)| *place);
        let mut in_memory = in_memory.into_iter().peekable();
        let (mut waiting, mut kept) = (Vec::new(), Vec::new());
        let unaccepted = live.unaccepted.unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&WAITING)?;
            let mut found = statement.query(params![endpoint, low, high])?;
            while let Some(row) = found.next()? {
                // One that is in memory is there as it is now, its row may be older; one that is
                // being accepted does not count before that is known here too.
                let is_known = live.entries.contains_key(row.get_ref(2)?.as_str()?);
                if is_known || row.get::<_, i64>(0)? >= unaccepted {
                    continue;
                }
                let mut job = rows::read_job(row)?;
                waiting.extend(from_fn(|| in_memory.next_if(|(place, _)| *place < job.place)));
                if waiting.len() >= most {
                    break;
                }
                waiting.push((job.place, waiting_job(&job.record)));
                if let Some(input) = row.get::<_, Option<Vec<u8>>>(rows::AFTER)? {
                    job.record.request.input = input.into();
                    kept.push(job);
                }
            }
            Ok(())
        })?;
        waiting.extend(in_memory);
        for job in kept {
            live.keep(job);
        }
        Ok(waiting.into_iter().take(most).map(|(_, job)| job).collect())
    }

    fn depth(&self, endpoint: &str) -> Depth {
        self.core.lock().lanes.get(endpoint).map(|lane| lane.depth).unwrap_or_default()
    }

    fn counts(&self, endpoint: &str) -> Counts {
        self.core.lock().lanes.get(endpoint).map(|lane| lane.counts).unwrap_or_default()
    }

    fn recent(&self, endpoint: &str, most: usize) -> Result<Vec<JobRecord>, StoreError> {
        let live = self.core.lock();
        let gone = live.entries.values().filter(|entry| entry.is_deleted).count();
        let limit = i64::try_from(most.saturating_add(gone)).unwrap_or(i64::MAX);
        let stored = self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM jobs WHERE endpoint = ?1 ORDER BY number DESC LIMIT ?2"
            ))?;
            let found = statement.query_map(params![endpoint, limit], rows::read_job)?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let overruled = stored.into_iter().filter_map(|mut job| {
            if let Some(entry) = live.entries.get(&job.record.id) {
                return (!entry.is_deleted).then(|| entry.job.record.clone());
            }
            sweep(&live.sweeps, &mut job);
            Some(job.record)
        });
        Ok(overruled.take(most).collect())
    }

    fn expire(&self, endpoint: &str, now: Moment) -> Result<Vec<JobRecord>, StoreError> {
        let mut live = self.core.lock();
        if live.removed >= REMOVED {
            return Ok(Vec::new());
        }
        let in_memory: Vec<String> = live
            .entries
            .iter()
            .filter(|(_, entry)| entry.job.record.endpoint == endpoint && entry.job.record.expires <= now)
            .filter(|(_, entry)| !entry.is_deleted)
            .map(|(id, _)| id.clone())
            .take(EXPIRED)
            .collect();
        let most = EXPIRED - in_memory.len();
        let (mut stored, mut is_cut) = (Vec::new(), false);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM jobs WHERE endpoint = ?1 AND expires <= ?2 ORDER BY expires"
            ))?;
            let mut found = statement.query(params![endpoint, nanoseconds(now)])?;
            while let Some(row) = found.next()? {
                if live.entries.contains_key(row.get_ref(2)?.as_str()?) {
                    continue;
                }
                is_cut = stored.len() >= most;
                if is_cut {
                    break;
                }
                stored.push(rows::read_job(row)?);
            }
            Ok(())
        })?;
        let mut expired: Vec<JobRecord> = in_memory.iter().filter_map(|id| live.delete(id)).collect();
        for job in stored {
            let id = job.record.id.clone();
            live.adopt(job);
            // A sweep may have given it another end.
            if live.entries.get(&id).is_some_and(|entry| entry.job.record.expires <= now) {
                expired.extend(live.delete(&id));
            }
        }
        let next = self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT min(expires) FROM jobs WHERE endpoint = ?1 AND expires > ?2")?;
            statement.query_row(params![endpoint, nanoseconds(now)], |row| row.get::<_, Option<i64>>(0))
        })?;
        let in_memory = live.entries.values().filter(|entry| !entry.is_deleted);
        let in_memory = in_memory.filter(|entry| entry.job.record.endpoint == endpoint);
        let next = in_memory.map(|entry| entry.job.record.expires).chain(next.map(rows::moment)).min();
        let lane = live.lanes.entry(endpoint.to_owned()).or_default();
        lane.next_expiry = if is_cut { Some(now) } else { next };
        self.core.work.notify_one();
        Ok(expired)
    }

    fn next_expiry(&self, endpoint: &str) -> Option<Moment> {
        self.core.lock().lanes.get(endpoint)?.next_expiry
    }

    fn deliveries(&self, now: Moment, most: usize) -> Result<Vec<Delivery>, StoreError> {
        let live = self.core.lock();
        let found = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, endpoint, job, url, body, attempts, due FROM deliveries \
                 WHERE due <= ?1 ORDER BY due LIMIT ?2",
            )?;
            find_deliveries(&mut statement, now, most.saturating_add(live.fates.len()))
        })?;
        let due = found.into_iter().filter(|delivery| !live.fates.contains_key(&delivery.id));
        Ok(due.take(most).collect())
    }

    fn next_delivery(&self) -> Option<Moment> {
        let live = self.core.lock();
        let limit = i64::try_from(live.fates.len() + 1).unwrap_or(i64::MAX);
        let found = self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, due FROM deliveries ORDER BY due LIMIT ?1")?;
            let found = statement
                .query_map([limit], |row| Ok((row.get::<_, String>(0)?, rows::moment(row.get(1)?))))?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        });
        let stored = found.unwrap_or_else(|error| {
            tracing::error!(%error, "deliveries could not be read");
            Vec::new()
        });
        let stored = stored.into_iter().find(|(id, _)| !live.fates.contains_key(id)).map(|(_, due)| due);
        let again = live.fates.values().flatten().map(|(_, due)| *due);
        again.chain(stored).min()
    }

    fn delivery_news(&self) -> watch::Receiver<u64> {
        self.core.news.subscribe()
    }

    fn delivery_failed(&self, id: &str, attempts: u32, due: Moment) -> Result<(), StoreError> {
        self.core.lock().decide(id, Some((attempts, due)));
        self.core.work.notify_one();
        Ok(())
    }

    fn delivery_done(&self, id: &str) -> Result<(), StoreError> {
        self.core.lock().decide(id, None);
        self.core.work.notify_one();
        Ok(())
    }
}

impl DocumentStore for SqliteStore {
    fn all(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, json FROM documents WHERE kind = ?1 ORDER BY id")?;
            let found = statement.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect()
        })
    }

    fn put(&self, kind: &str, id: &str, json: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write_document(kind, id, Some(json))
    }

    fn delete(&self, kind: &str, id: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write_document(kind, id, None)
    }
}

impl SqliteStore {
    fn write_document(
        &self,
        kind: &str,
        id: &str,
        json: Option<String>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (done, stored) = oneshot::channel();
        let change = DocumentChange { kind: kind.to_owned(), id: id.to_owned(), json, done };
        {
            let mut live = self.core.lock();
            if !live.is_closing {
                live.documents.push(change);
            }
        }
        self.core.work.notify_one();
        Box::pin(async move { stored.await.unwrap_or_else(|_| Err(closed())) })
    }
}

fn waiting_job(record: &JobRecord) -> WaitingJob {
    WaitingJob { id: record.id.clone(), low_priority: record.request.low_priority, accepted: record.accepted }
}

fn closed() -> StoreError {
    StoreError::Failed { reason: "the store is closed".to_owned() }
}
