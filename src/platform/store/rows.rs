//! Jobs and deliveries as rows of the database.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use serde::{Deserialize, Serialize};

use super::Delivery;
use crate::endpoint::JobStatus;
use crate::platform::clock::Moment;
use crate::platform::record::JobRecord;
use crate::wire::backend::JobRequest;

/// The columns that [`read_job`] reads, in its order.
pub(super) const COLUMNS: &str = "jobs.number, jobs.place, jobs.id, jobs.endpoint, jobs.status, \
    jobs.accepted, jobs.started, jobs.finished, jobs.expires, jobs.worker, jobs.retries, jobs.request, \
    jobs.error";
/// The index of the first column after [`COLUMNS`].
pub(super) const AFTER: usize = 13;

/// A job as it is stored.
#[derive(Debug, Clone)]
pub(super) struct StoredJob {
    pub(super) number: i64,
    pub(super) place: i64,
    pub(super) record: JobRecord,
}

/// What a client sent, except for the input.
#[derive(Serialize, Deserialize)]
struct StoredRequest {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    callable: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sync: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    execution_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    low_priority: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s3_config: Option<String>,
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn request_json(request: &JobRequest) -> String {
    let stored = StoredRequest {
        callable: request.callable.clone(),
        sync: request.sync,
        execution_timeout_ms: request.execution_timeout.map(milliseconds),
        ttl_ms: request.ttl.map(milliseconds),
        low_priority: request.low_priority,
        webhook: request.webhook.clone(),
        s3_config: request.s3_config.as_ref().map(|config| String::from_utf8_lossy(config).into_owned()),
    };
    serde_json::to_string(&stored).unwrap_or_default()
}

fn parse_request(json: &str) -> serde_json::Result<JobRequest> {
    let stored: StoredRequest = serde_json::from_str(json)?;
    Ok(JobRequest {
        callable: stored.callable,
        input: Bytes::new(),
        sync: stored.sync,
        execution_timeout: stored.execution_timeout_ms.map(Duration::from_millis),
        ttl: stored.ttl_ms.map(Duration::from_millis),
        low_priority: stored.low_priority,
        webhook: stored.webhook,
        s3_config: stored.s3_config.map(Into::into),
    })
}

pub(super) fn status_number(status: JobStatus) -> i64 {
    match status {
        JobStatus::InQueue => 0,
        JobStatus::InProgress => 1,
        JobStatus::Completed => 2,
        JobStatus::Failed => 3,
        JobStatus::Cancelled => 4,
        JobStatus::TimedOut => 5,
    }
}

fn parse_status(number: i64) -> Option<JobStatus> {
    JobStatus::ALL.into_iter().find(|status| status_number(*status) == number)
}

/// A moment as it is stored; none is so late that it does not fit.
pub(super) fn nanoseconds(moment: Moment) -> i64 {
    i64::try_from(moment.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn moment(nanoseconds: i64) -> Moment {
    Moment::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

/// Reads a job from a row of [`COLUMNS`], without its input and output.
pub(super) fn read_job(row: &Row<'_>) -> rusqlite::Result<StoredJob> {
    let unreadable = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
    };
    let request: String = row.get(11)?;
    let request = parse_request(&request).map_err(|error| unreadable(11, error.into()))?;
    let status = parse_status(row.get(4)?).ok_or_else(|| unreadable(4, "no such state".into()))?;
    let error: Option<String> = row.get(12)?;
    let error = error.map(|error| serde_json::from_str(&error)).transpose();
    let record = JobRecord {
        id: row.get(2)?,
        endpoint: row.get(3)?,
        request,
        status,
        accepted: moment(row.get(5)?),
        started: row.get::<_, Option<i64>>(6)?.map(moment),
        finished: row.get::<_, Option<i64>>(7)?.map(moment),
        worker: row.get(9)?,
        output: None,
        error: error.map_err(|error| unreadable(12, error.into()))?,
        retries: row.get(10)?,
        expires: moment(row.get(8)?),
    };
    Ok(StoredJob { number: row.get(0)?, place: row.get(1)?, record })
}

/// Reads a job with its output.
pub(super) fn find_job(connection: &Connection, id: &str) -> rusqlite::Result<Option<StoredJob>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS}, outputs.output FROM jobs LEFT JOIN outputs ON outputs.number = jobs.number \
         WHERE jobs.id = ?1"
    ))?;
    let found = statement.query_row([id], |row| {
        let mut job = read_job(row)?;
        job.record.output = row.get::<_, Option<Vec<u8>>>(AFTER)?.map(Bytes::from);
        Ok(job)
    });
    found.optional()
}

pub(super) fn find_input(connection: &Connection, number: i64) -> rusqlite::Result<Bytes> {
    let mut statement = connection.prepare_cached("SELECT input FROM inputs WHERE number = ?1")?;
    let input = statement.query_row([number], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    Ok(input.unwrap_or_default().into())
}

pub(super) fn find_items(connection: &Connection, number: i64) -> rusqlite::Result<Vec<Bytes>> {
    let mut statement =
        connection.prepare_cached("SELECT item FROM items WHERE number = ?1 ORDER BY rowid")?;
    let items = statement.query_map([number], |row| Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?)))?;
    items.collect()
}

pub(super) fn insert_job(connection: &Connection, job: &StoredJob) -> rusqlite::Result<()> {
    let record = &job.record;
    connection
        .prepare_cached(
            "INSERT INTO jobs (number, id, endpoint, status, place, low_priority, accepted, expires, \
             retries, request) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            job.number,
            record.id,
            record.endpoint,
            status_number(record.status),
            job.place,
            record.request.low_priority,
            nanoseconds(record.accepted),
            nanoseconds(record.expires),
            record.retries,
            request_json(&record.request),
        ])?;
    connection
        .prepare_cached("INSERT INTO inputs (number, input) VALUES (?1, ?2)")?
        .execute(params![job.number, &record.request.input[..]])?;
    Ok(())
}

/// Writes what can change of a job, its output where that is `with_output`.
pub(super) fn update_job(
    connection: &Connection,
    job: &StoredJob,
    with_output: bool,
) -> rusqlite::Result<()> {
    let record = &job.record;
    let error = record.error.as_ref().map(|error| serde_json::to_string(error).unwrap_or_default());
    connection
        .prepare_cached(
            "UPDATE jobs SET status = ?2, place = ?3, started = ?4, finished = ?5, expires = ?6, \
             worker = ?7, retries = ?8, error = ?9 WHERE number = ?1",
        )?
        .execute(params![
            job.number,
            status_number(record.status),
            job.place,
            record.started.map(nanoseconds),
            record.finished.map(nanoseconds),
            nanoseconds(record.expires),
            record.worker,
            record.retries,
            error,
        ])?;
    if !with_output {
        return Ok(());
    }
    match &record.output {
        Some(output) => connection
            .prepare_cached("INSERT OR REPLACE INTO outputs (number, output) VALUES (?1, ?2)")?
            .execute(params![job.number, &output[..]])?,
        None => connection.prepare_cached("DELETE FROM outputs WHERE number = ?1")?.execute([job.number])?,
    };
    Ok(())
}

pub(super) fn write_items(connection: &Connection, number: i64, items: &[Bytes]) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM items WHERE number = ?1")?.execute([number])?;
    let mut statement = connection.prepare_cached("INSERT INTO items (number, item) VALUES (?1, ?2)")?;
    for item in items {
        statement.execute(params![number, &item[..]])?;
    }
    Ok(())
}

pub(super) fn delete_job(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM jobs WHERE number = ?1",
        "DELETE FROM inputs WHERE number = ?1",
        "DELETE FROM outputs WHERE number = ?1",
        "DELETE FROM items WHERE number = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([number])?;
    }
    Ok(())
}

pub(super) fn insert_delivery(connection: &Connection, delivery: &Delivery) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO deliveries (id, endpoint, job, url, body, attempts, due) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            delivery.id,
            delivery.endpoint,
            delivery.job,
            delivery.url,
            &delivery.body[..],
            delivery.attempts,
            nanoseconds(delivery.due),
        ])?;
    Ok(())
}

/// Reads due deliveries, the oldest first.
pub(super) fn find_deliveries(
    statement: &mut Statement<'_>,
    now: Moment,
    most: usize,
) -> rusqlite::Result<Vec<Delivery>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found = statement.query_map(params![nanoseconds(now), most], |row| {
        Ok(Delivery {
            id: row.get(0)?,
            endpoint: row.get(1)?,
            job: row.get(2)?,
            url: row.get(3)?,
            body: row.get::<_, Vec<u8>>(4)?.into(),
            attempts: row.get(5)?,
            due: moment(row.get(6)?),
        })
    })?;
    found.collect()
}
