//! The database of a state folder: its tables, their versions, and how it is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::platform::error::StateError;

/// What each version adds; a database of version `n` has had the first `n`.
pub(super) const MIGRATIONS: &[&str] = &[V1];

/// Marks a database as ours.
const APPLICATION: i32 = 0x464c_4153;

/// Times are nanoseconds since the Unix epoch. `place` orders waiting jobs; a job that is put back
/// gets one before all others. Inputs and outputs have tables of their own, so that a change of
/// state does not write them again.
const V1: &str = "
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    status INTEGER NOT NULL,
    place INTEGER NOT NULL,
    low_priority INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER,
    expires INTEGER NOT NULL,
    worker TEXT,
    retries INTEGER NOT NULL,
    request TEXT NOT NULL,
    error TEXT
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (id);
CREATE INDEX jobs_waiting ON jobs (endpoint, place, low_priority) WHERE status = 0;
CREATE INDEX jobs_running ON jobs (number) WHERE status = 1;
CREATE INDEX jobs_by_expiry ON jobs (endpoint, expires);
CREATE INDEX jobs_by_endpoint ON jobs (endpoint, number);
CREATE TABLE inputs (number INTEGER PRIMARY KEY, input BLOB NOT NULL);
CREATE TABLE outputs (number INTEGER PRIMARY KEY, output BLOB NOT NULL);
CREATE TABLE items (number INTEGER NOT NULL, item BLOB NOT NULL);
CREATE INDEX items_by_job ON items (number);
CREATE TABLE counts (
    endpoint TEXT PRIMARY KEY,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    retried INTEGER NOT NULL
);
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    job TEXT NOT NULL,
    url TEXT NOT NULL,
    body BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    due INTEGER NOT NULL
);
CREATE INDEX deliveries_by_due ON deliveries (due);
CREATE TABLE sweeps (
    number INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    low INTEGER NOT NULL,
    high INTEGER NOT NULL,
    at INTEGER NOT NULL,
    error TEXT
);
CREATE TABLE documents (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
";

/// Opens the database for writing; makes it when it is new, brings it up to date when it is old.
pub(super) fn open(path: &Path, migrations: &[&str]) -> Result<Connection, StateError> {
    let failed = |source: rusqlite::Error| of_database(path, source);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    let version = check(&connection, path, migrations.len())?;
    if version == 0 {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", 2000).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", 32 << 20).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -8000).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    if version < migrations.len() {
        let transaction = connection.transaction().map_err(failed)?;
        for step in &migrations[version..] {
            transaction.execute_batch(step).map_err(failed)?;
        }
        let newest = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", newest).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(connection)
}

/// Returns the version of a database that is ours; 0 when it is new.
fn check(connection: &Connection, path: &Path, newest: usize) -> Result<usize, StateError> {
    let failed = |source: rusqlite::Error| of_database(path, source);
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (version, application) =
        (number("user_version").map_err(failed)?, number("application_id").map_err(failed)?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if tables > 0 && application != i64::from(APPLICATION) {
        return Err(StateError::Foreign { path: path.to_path_buf() });
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > newest {
        return Err(StateError::Newer { path: path.to_path_buf(), found: version, known: newest });
    }
    Ok(version)
}

/// Opens a database for reading beside its writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    // A reader of a database in WAL mode writes to its shared memory.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -2000)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

pub(super) fn of_database(path: &Path, source: rusqlite::Error) -> StateError {
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StateError::NotADatabase { path },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StateError::NotWritable { path, source: std::io::Error::other(source) }
        }
        Some(ErrorCode::DiskFull) => StateError::Full { path },
        _ => StateError::Database { path, source: Box::new(source) },
    }
}
