//! The one thread that writes: everything that waits goes into one transaction.
//!
//! With a full disk new jobs are refused, while changes of stored ones are kept in memory and
//! tried again: a file that was put by is given up for them, so that what runs can end.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::sync::watch;

use super::live::{Accept, Batch, DocumentChange, Live, Sweep};
use super::rows::{
    self, COLUMNS, delete_job, insert_delivery, insert_job, nanoseconds, update_job, write_items,
};
use crate::platform::error::StoreError;

/// New jobs are refused when less is free.
const MARGIN: u64 = 8 << 20;
/// What is put by for changes of jobs that are stored.
const RESERVE: usize = 2 << 20;
/// How long a failed transaction waits for its next try.
const PAUSE: Duration = Duration::from_millis(250);
/// Rows that a sweep changes at a time.
const PIECE: usize = 2000;
/// Free pages from which on giving them back is worth it, and how many are given back at a time.
const FREE_PAGES: i64 = 1024;
const GIVEN_BACK: i64 = 4096;

/// What the store's front and its writer share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) live: Mutex<Live>,
    pub(super) work: Condvar,
    /// Sequence that is on the disk.
    pub(super) committed: watch::Sender<u64>,
    /// Counts new deliveries.
    pub(super) news: watch::Sender<u64>,
}

impl Core {
    pub(super) fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing thread's state.
pub(super) struct Writer {
    pub(super) core: Arc<Core>,
    pub(super) connection: Connection,
    /// The file that is given up when the disk is full.
    pub(super) reserve: PathBuf,
    /// Whether it is there.
    pub(super) has_reserve: bool,
}

/// What a transaction has done beside writing what it was given.
#[derive(Default)]
struct Outcome {
    /// Sweeps that are through.
    ended: Vec<i64>,
    /// Jobs that were refused, by their place in the batch.
    refused: Vec<(usize, StoreError)>,
    has_deliveries: bool,
}

impl Writer {
    /// Writes until the store is closed and nothing is left.
    pub(super) fn run(mut self) {
        self.fill_reserve();
        loop {
            let batch = {
                let mut live = self.core.lock();
                while !live.has_work() && !live.is_closing {
                    live = self.core.work.wait(live).unwrap_or_else(PoisonError::into_inner);
                }
                // A sweep that is stored goes on at the next start.
                if live.is_closing && !live.has_new() {
                    break;
                }
                live.take_batch()
            };
            if !self.store(batch) {
                break;
            }
        }
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(%error, "the last checkpoint failed");
        }
    }

    /// Brings a batch to the disk; returns `false` when that failed and the store is closing.
    fn store(&mut self, mut batch: Batch) -> bool {
        if !(batch.accepts.is_empty() && batch.documents.iter().all(|change| change.json.is_none())) {
            let bytes: usize = batch.accepts.iter().map(|accept| accept.job.record.request.input.len()).sum();
            if self.is_short_of(u64::try_from(bytes).unwrap_or(u64::MAX)) {
                refuse(&mut batch, &StoreError::Full);
            }
        }
        loop {
            match self.write(&batch) {
                Ok(outcome) => {
                    self.finish(batch, outcome);
                    return true;
                }
                Err(error) => {
                    let error = StoreError::from(error);
                    tracing::warn!(%error, "a transaction failed");
                    refuse(&mut batch, &error);
                    if matches!(error, StoreError::Full) && self.has_reserve {
                        let _ = fs::remove_file(&self.reserve);
                        self.has_reserve = false;
                        continue;
                    }
                    if self.is_closing_after_pause(&error) {
                        return false;
                    }
                }
            }
        }
    }

    /// Waits for the next try and refuses meanwhile what is new.
    fn is_closing_after_pause(&self, error: &StoreError) -> bool {
        let refuse_new = |live: &mut Live| {
            let mut new = Batch {
                accepts: std::mem::take(&mut live.accepts),
                documents: std::mem::take(&mut live.documents),
                ..Batch::default()
            };
            refuse(&mut new, error);
            live.is_closing
        };
        let end = std::time::Instant::now() + PAUSE;
        let mut live = self.core.lock();
        loop {
            if refuse_new(&mut live) {
                return true;
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            live = self.core.work.wait_timeout(live, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One transaction.
    fn write(&mut self, batch: &Batch) -> rusqlite::Result<Outcome> {
        let mut outcome = Outcome { has_deliveries: !batch.deliveries.is_empty(), ..Outcome::default() };
        let transaction = self.connection.transaction()?;
        for sweep in batch.sweeps.iter().filter(|sweep| !sweep.is_stored) {
            insert_sweep(&transaction, sweep)?;
        }
        for snapshot in &batch.jobs {
            if snapshot.is_deleted {
                delete_job(&transaction, snapshot.job.number)?;
                continue;
            }
            update_job(&transaction, &snapshot.job, snapshot.with_output)?;
            if let Some(items) = &snapshot.items {
                write_items(&transaction, snapshot.job.number, items)?;
            }
        }
        for delivery in &batch.deliveries {
            insert_delivery(&transaction, delivery)?;
        }
        for (id, fate) in &batch.fates {
            match fate {
                Some((attempts, due)) => transaction
                    .prepare_cached("UPDATE deliveries SET attempts = ?2, due = ?3 WHERE id = ?1")?
                    .execute(params![id, attempts, nanoseconds(*due)])?,
                None => transaction.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([id])?,
            };
        }
        for (endpoint, counts) in &batch.counts {
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO counts (endpoint, completed, failed, retried) \
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    endpoint,
                    number(counts.completed),
                    number(counts.failed),
                    number(counts.retried)
                ])?;
        }
        for (index, accept) in batch.accepts.iter().enumerate() {
            match insert_job(&transaction, &accept.job) {
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                    outcome.refused.push((index, error.into()));
                }
                other => other?,
            }
        }
        for change in &batch.documents {
            write_document(&transaction, change)?;
        }
        if let Some(sweep) = batch.sweeps.first() {
            let deliveries = step(&transaction, sweep, &self.core, &mut outcome)?;
            outcome.has_deliveries |= deliveries;
        }
        transaction.commit()?;
        Ok(outcome)
    }

    /// Tells everyone that a batch is on the disk.
    fn finish(&mut self, batch: Batch, outcome: Outcome) {
        let mut refused = outcome.refused.into_iter().peekable();
        let mut told: Vec<(Accept, Result<(), StoreError>)> = Vec::new();
        {
            let mut live = self.core.lock();
            live.written(&batch);
            live.unaccepted = None;
            live.sweeps.retain(|sweep| !outcome.ended.contains(&sweep.number));
            for (index, accept) in batch.accepts.into_iter().enumerate() {
                let result = if let Some((_, error)) = refused.next_if(|(place, _)| *place == index) {
                    Err(error)
                } else {
                    live.accepted(accept.job.clone());
                    Ok(())
                };
                told.push((accept, result));
            }
            self.core.committed.send_replace(batch.sequence);
        }
        for (accept, result) in told {
            let _ = accept.done.send(result);
        }
        for change in batch.documents {
            let _ = change.done.send(Ok(()));
        }
        if outcome.has_deliveries {
            self.core.news.send_modify(|count| *count += 1);
        }
        if batch.jobs.iter().any(|snapshot| snapshot.is_deleted)
            && let Err(error) = self.give_back_space()
        {
            tracing::debug!(%error, "free pages could not be given back");
        }
    }

    /// Makes the file smaller where much of it is free.
    fn give_back_space(&self) -> rusqlite::Result<()> {
        let free: i64 = self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let all: i64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if free > FREE_PAGES && free > all / 4 {
            self.vacuum()?;
        }
        Ok(())
    }

    /// Gives free pages back to the system, some at a time.
    fn vacuum(&self) -> rusqlite::Result<()> {
        let mut statement =
            self.connection.prepare_cached(&format!("PRAGMA incremental_vacuum({GIVEN_BACK})"))?;
        let mut pages = statement.query([])?;
        // Each step gives back one page.
        while pages.next()?.is_some() {}
        Ok(())
    }

    /// Whether the disk has no room for so many bytes and what must stay free.
    fn is_short_of(&mut self, bytes: u64) -> bool {
        let needed = MARGIN.saturating_add(bytes.saturating_mul(2));
        let Some(mut free) = self.free_bytes() else { return false };
        if free < needed {
            // What was forgotten has left free pages in the file and in its log.
            let checkpoint = || self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            if let Err(error) = self.vacuum().and_then(|()| checkpoint()) {
                tracing::debug!(%error, "free pages could not be given back");
            }
            free = self.free_bytes().unwrap_or(free);
        }
        if !self.has_reserve && free > needed.saturating_add(MARGIN) {
            self.fill_reserve();
        }
        free < needed
    }

    /// What is free on the disk, where the system says it.
    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.reserve.parent()?).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn fill_reserve(&mut self) {
        let written = File::create(&self.reserve).and_then(|mut file| {
            // Ones, so that no file system leaves them out.
            file.write_all(&vec![1; RESERVE])?;
            file.sync_data()
        });
        self.has_reserve = written.is_ok();
        if let Err(error) = written {
            tracing::debug!(%error, "no space could be put by");
            let _ = fs::remove_file(&self.reserve);
        }
    }
}

/// Answers what is new in a batch with a refusal, and takes it out.
fn refuse(batch: &mut Batch, error: &StoreError) {
    for accept in batch.accepts.drain(..) {
        let _ = accept.done.send(Err(error.clone()));
    }
    let (removals, puts): (Vec<_>, Vec<_>) =
        batch.documents.drain(..).partition(|change| change.json.is_none());
    batch.documents = removals;
    for change in puts {
        let _ = change.done.send(Err(error.clone()));
    }
}

fn write_document(connection: &Connection, change: &DocumentChange) -> rusqlite::Result<usize> {
    match &change.json {
        Some(json) => connection
            .prepare_cached("INSERT OR REPLACE INTO documents (kind, id, json) VALUES (?1, ?2, ?3)")?
            .execute(params![change.kind, change.id, json]),
        None => connection
            .prepare_cached("DELETE FROM documents WHERE kind = ?1 AND id = ?2")?
            .execute(params![change.kind, change.id]),
    }
}

fn insert_sweep(connection: &Connection, sweep: &Sweep) -> rusqlite::Result<usize> {
    let error = match &sweep.change {
        crate::platform::record::Change::Failed(report, _) => {
            Some(serde_json::to_string(report).unwrap_or_default())
        }
        _ => None,
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO sweeps (number, endpoint, low, high, at, error) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![sweep.number, sweep.endpoint, sweep.low, sweep.high, nanoseconds(sweep.at), error])
}

/// Brings a sweep to some more rows; returns whether there is something to deliver.
fn step(
    connection: &Connection,
    sweep: &Sweep,
    core: &Core,
    outcome: &mut Outcome,
) -> rusqlite::Result<bool> {
    let most = i64::try_from(PIECE).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM jobs WHERE endpoint = ?1 AND status = 0 AND place BETWEEN ?2 AND ?3 \
         ORDER BY place LIMIT ?4"
    ))?;
    let found = statement.query_map(params![sweep.endpoint, sweep.low, sweep.high, most], rows::read_job)?;
    let mut jobs = found.collect::<rusqlite::Result<Vec<_>>>()?;
    let is_through = jobs.len() < PIECE;
    {
        // What is in memory has been swept there.
        let live = core.lock();
        jobs.retain(|job| !live.entries.contains_key(&job.record.id));
    }
    let mut has_deliveries = false;
    for mut job in jobs {
        if job.record.apply(sweep.change.clone(), sweep.at) {
            update_job(connection, &job, false)?;
            if let Some(delivery) = sweep.delivery(&job.record) {
                insert_delivery(connection, &delivery)?;
                has_deliveries = true;
            }
        }
    }
    if is_through {
        connection.prepare_cached("DELETE FROM sweeps WHERE number = ?1")?.execute([sweep.number])?;
        outcome.ended.push(sweep.number);
    }
    Ok(has_deliveries)
}
