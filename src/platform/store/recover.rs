//! What a start makes of what the last one left: jobs that ran go back to the queue or fail.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::live::{Lane, Live, Sweep};
use super::rows::{COLUMNS, insert_delivery, moment, read_job, update_job};
use super::{Counts, Delivery, Depth};
use crate::platform::clock::Moment;
use crate::platform::record::Change;
use crate::wire::message::{ErrorReport, Failure};

/// What a job fails with that was lost twice (`platform.md` 1.4).
const LOST_TWICE: &str = "job timed out after 1 retries";

/// Decides what becomes of jobs that were on workers, and counts what waits.
pub(super) fn recover(connection: &mut Connection, now: Moment) -> rusqlite::Result<Live> {
    let mut live = Live::default();
    live.next_number = 1;
    live.sweeps = find_sweeps(connection)?;
    let places = "SELECT max(number) FROM jobs UNION ALL SELECT max(number) FROM sweeps";
    let mut statement = connection.prepare(places)?;
    let numbers = statement.query_map([], |row| row.get::<_, Option<i64>>(0))?;
    for number in numbers {
        live.next_number = live.next_number.max(number?.unwrap_or(0) + 1);
    }
    drop(statement);
    count_waiting(connection, &mut live)?;
    find_counts(connection, &mut live.lanes)?;
    return_running(connection, &mut live, now)?;
    find_expiries(connection, &mut live.lanes)?;
    Ok(live)
}

fn find_sweeps(connection: &Connection) -> rusqlite::Result<Vec<Sweep>> {
    let mut statement =
        connection.prepare("SELECT number, endpoint, low, high, at, error FROM sweeps ORDER BY number")?;
    let found = statement.query_map([], |row| {
        let report: Option<String> = row.get(5)?;
        let report = report.and_then(|report| serde_json::from_str::<ErrorReport>(&report).ok());
        Ok(Sweep {
            number: row.get(0)?,
            endpoint: row.get(1)?,
            low: row.get(2)?,
            high: row.get(3)?,
            at: moment(row.get(4)?),
            change: report.map_or(Change::Cancelled, |report| Change::Failed(Box::new(report), None)),
            is_stored: true,
        })
    })?;
    found.collect()
}

/// Counts what waits, except for what a sweep is over.
fn count_waiting(connection: &Connection, live: &mut Live) -> rusqlite::Result<()> {
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let mut statement = connection.prepare(
        "SELECT endpoint, count(*), sum(low_priority), min(place), max(place) FROM jobs \
         WHERE status = 0 GROUP BY endpoint",
    )?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let endpoint: String = row.get(0)?;
        let (mut all, mut low_priority): (i64, i64) = (row.get(1)?, row.get(2)?);
        live.first_place = live.first_place.min(row.get(3)?);
        live.next_number = live.next_number.max(row.get::<_, i64>(4)? + 1);
        let swept = live.sweeps.iter().filter(|sweep| sweep.endpoint == endpoint);
        let range = swept.map(|sweep| (sweep.low, sweep.high)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        if let Some((low, high)) = range {
            let (swept, swept_low): (i64, i64) = connection.query_row(
                "SELECT count(*), coalesce(sum(low_priority), 0) FROM jobs \
                 WHERE status = 0 AND endpoint = ?1 AND place BETWEEN ?2 AND ?3",
                params![endpoint, low, high],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            (all, low_priority) = (all - swept, low_priority - swept_low);
        }
        let depth = Depth { all: count(all), asking: count(all - low_priority) };
        live.lanes.insert(endpoint, Lane { depth, ..Lane::default() });
    }
    Ok(())
}

fn find_counts(connection: &Connection, lanes: &mut HashMap<String, Lane>) -> rusqlite::Result<()> {
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let mut statement = connection.prepare("SELECT endpoint, completed, failed, retried FROM counts")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let counts = Counts {
            completed: number(row.get(1)?),
            failed: number(row.get(2)?),
            retried: number(row.get(3)?),
        };
        lanes.entry(row.get(0)?).or_default().counts = counts;
    }
    Ok(())
}

/// Jobs that were on workers: back to the head of their queue once, else failed.
fn return_running(connection: &mut Connection, live: &mut Live, now: Moment) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let running = {
        let mut statement = transaction
            .prepare(&format!("SELECT {COLUMNS} FROM jobs WHERE status = 1 ORDER BY number DESC"))?;
        let found = statement.query_map([], read_job)?;
        found.collect::<rusqlite::Result<Vec<_>>>()?
    };
    for mut job in running {
        let change = if job.record.retries == 0 {
            live.first_place -= 1;
            job.place = live.first_place;
            Change::Requeued
        } else {
            Change::Failed(Box::new(ErrorReport::new(Failure::WorkerDied, "", LOST_TWICE)), None)
        };
        let lane = live.lanes.entry(job.record.endpoint.clone()).or_default();
        lane.counts.add(&change);
        if matches!(change, Change::Requeued) {
            lane.depth.all += 1;
            lane.depth.asking += usize::from(!job.record.request.low_priority);
        }
        job.record.apply(change, now);
        update_job(&transaction, &job, true)?;
        if let Some(delivery) = Delivery::of(&job.record, now) {
            insert_delivery(&transaction, &delivery)?;
        }
        let counts = lane.counts;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        transaction.execute(
            "INSERT OR REPLACE INTO counts (endpoint, completed, failed, retried) VALUES (?1, ?2, ?3, ?4)",
            params![
                job.record.endpoint,
                number(counts.completed),
                number(counts.failed),
                number(counts.retried)
            ],
        )?;
    }
    transaction.commit()
}

/// Finds when the first job of each endpoint is to be forgotten, without reading all of them.
fn find_expiries(connection: &Connection, lanes: &mut HashMap<String, Lane>) -> rusqlite::Result<()> {
    let mut endpoint = String::new();
    loop {
        let next: Option<Option<String>> = connection
            .query_row("SELECT min(endpoint) FROM jobs WHERE endpoint > ?1", [&endpoint], |row| row.get(0))
            .optional()?;
        let Some(next) = next.flatten() else { return Ok(()) };
        let expiry: Option<i64> =
            connection
                .query_row("SELECT min(expires) FROM jobs WHERE endpoint = ?1", [&next], |row| row.get(0))?;
        if let Some(expiry) = expiry {
            lanes.entry(next.clone()).or_default().expect(moment(expiry));
        }
        endpoint = next;
    }
}
