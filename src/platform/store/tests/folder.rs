//! What a state folder keeps, and when it is refused.

use std::fs;
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::platform::error::StateError;
use crate::platform::store::folder::open_with;
use crate::platform::store::schema::MIGRATIONS;

#[tokio::test(flavor = "multi_thread")]
async fn job_that_is_on_its_way_to_the_disk_does_not_wait_yet() {
    const JOBS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let state = open(folder.path()).unwrap();
    let store = Arc::clone(&state.store);
    let accepting = tokio::spawn(async move {
        for number in 0..JOBS {
            store.accept(record(&format!("j{number}"), request("1"), seconds(1))).await.unwrap();
        }
    });
    // Started as soon as it is seen: its acceptance must not come after that and undo it.
    let mut seen = Vec::new();
    while !accepting.is_finished() || seen.len() < JOBS {
        for job in state.store.waiting("f", 10).unwrap() {
            state.store.change("f", &job.id, started(), seconds(2)).unwrap();
            assert!(!seen.contains(&job.id), "{} waits again", job.id);
            seen.push(job.id);
        }
    }
    accepting.await.unwrap();
    assert_eq!(state.store.depth("f"), Depth::default());
    assert!(state.store.waiting("f", 10).unwrap().is_empty());
}

#[tokio::test]
async fn accepted_job_is_there_after_a_restart_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let input = "x".repeat(100_000);
    {
        let state = open(folder.path()).unwrap();
        state.store.accept(record("a", request(&input), seconds(1))).await.unwrap();
        state.store.accept(record("b", request("2"), seconds(2))).await.unwrap();
        state.store.put("endpoint", "e1", "{}".to_owned()).await.unwrap();
    }
    let state = open(folder.path()).unwrap();
    let job = state.store.get("f", "a").unwrap().unwrap();
    assert_eq!((job.status, job.request.input.len()), (JobStatus::InQueue, 100_000));
    let ids: Vec<String> = state.store.waiting("f", 10).unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(state.store.depth("f"), Depth { all: 2, asking: 2 });
    assert_eq!(state.store.all("endpoint").unwrap(), [("e1".to_owned(), "{}".to_owned())]);
}

#[tokio::test]
async fn running_job_goes_back_to_the_head_once_and_then_fails() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = JobRequest { webhook: Some("http://h/x".to_owned()), ..request("1") };
    {
        let state = open(folder.path()).unwrap();
        state.store.accept(record("a", webhook, seconds(1))).await.unwrap();
        state.store.accept(record("b", request("2"), seconds(1))).await.unwrap();
        state.store.accept(record("c", request("3"), seconds(1))).await.unwrap();
        for id in ["a", "c"] {
            state.store.change("f", id, started(), seconds(2)).unwrap();
        }
        state.store.change("f", "c", Change::Completed(Bytes::from_static(b"9")), seconds(3)).unwrap();
        state.store.settled().await;
    }
    let store = open(folder.path()).unwrap().store;
    let ids: Vec<String> = store.waiting("f", 10).unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(store.get("f", "a").unwrap().unwrap().retries, 1);
    assert_eq!(store.look("f", "c").unwrap().unwrap().output, Some(Bytes::from_static(b"9")));
    assert_eq!(store.counts("f"), Counts { completed: 1, failed: 0, retried: 1 });
    store.change("f", "a", started(), seconds(4)).unwrap();
    drop(store);

    let store = open(folder.path()).unwrap().store;
    let job = store.look("f", "a").unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(crate::wire::job::error_text(&job.error.unwrap()), "job timed out after 1 retries");
    assert!(store.change("f", "a", Change::Completed(Bytes::new()), seconds(9)).is_err());
    let due = store.deliveries(seconds(u64::MAX / 4_000_000_000), 9).unwrap();
    assert_eq!((due.len(), due[0].job.as_str()), (1, "a"));
    drop(store);
    let again = open(folder.path()).unwrap().store.deliveries(due[0].due, 9).unwrap();
    assert_eq!(again[0].id, due[0].id);
}

#[tokio::test]
async fn purge_is_kept_by_a_store_that_is_closed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = open(folder.path()).unwrap().store;
        let accepting: Vec<_> = (0..5000)
            .map(|number| store.accept(record(&format!("j{number}"), request("1"), seconds(1))))
            .collect();
        for accepted in accepting {
            accepted.await.unwrap();
        }
        assert_eq!(store.end_waiting("f", &Change::Cancelled, seconds(2)).unwrap(), 5000);
        assert_eq!(store.depth("f"), Depth::default());
        assert!(store.waiting("f", 10).unwrap().is_empty());
        assert_eq!(store.look("f", "j4999").unwrap().unwrap().status, JobStatus::Cancelled);
        store.settled().await;
        store.accept(record("late", request("1"), seconds(3))).await.unwrap();
    }
    let store = open(folder.path()).unwrap().store;
    assert_eq!(store.depth("f"), Depth { all: 1, asking: 1 });
    assert_eq!(store.waiting("f", 10).unwrap()[0].id, "late");
    for number in [0, 1500, 4999] {
        let job = store.look("f", &format!("j{number}")).unwrap().unwrap();
        assert_eq!(job.status, JobStatus::Cancelled);
    }
}

#[test]
fn second_server_is_refused_and_told_who_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let pid = std::process::id();
    let message = open(folder.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("process {pid} (since ")), "{message}");
    first.lock.tell_url("http://localhost:8890");
    let message = open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("the server at http://localhost:8890"), "{message}");
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn newer_database_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let database = folder.path().join("platform.sqlite3");
    Connection::open(&database).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(&database).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StateError::Newer { found: 7, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("has version 7, this version of Flash knows up to 1"));
    assert!(error.hint().unwrap().contains("newer Flash"));
    assert_eq!(fs::read(&database).unwrap(), before);
}

#[tokio::test]
async fn older_database_is_migrated_in_one_go_and_keeps_its_jobs() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = open(folder.path()).unwrap().store;
        store.accept(record("a", request("1"), seconds(1))).await.unwrap();
    }
    let next = "ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';";
    let broken = "UPDATE jobs SET colour = 'blue'; SELECT nonsense;";
    let steps = |more: &[&'static str]| [MIGRATIONS, more].concat();
    assert!(open_with(folder.path(), &steps(&[next, broken])).is_err());
    let connection = Connection::open(folder.path().join("platform.sqlite3")).unwrap();
    let version = |connection: &Connection| -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    assert_eq!(version(&connection), 1);
    assert!(connection.prepare("SELECT colour FROM jobs").is_err());

    let store = open_with(folder.path(), &steps(&[next])).unwrap().store;
    assert_eq!(version(&connection), 2);
    assert_eq!(store.waiting("f", 10).unwrap().len(), 1);
    let colour: String = connection.query_row("SELECT colour FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(colour, "red");
}

#[test]
fn file_that_is_no_database_of_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("platform.sqlite3");
    let text = "this is my thesis\n".repeat(100);
    fs::write(&database, &text).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StateError::NotADatabase { .. }), "{error}");
    assert_eq!(fs::read_to_string(&database).unwrap(), text);
    fs::remove_file(&database).unwrap();
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StateError::Foreign { .. }), "{error}");
}

#[test]
fn folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("state")).unwrap_err();
    assert!(matches!(error, StateError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("file/state"), "{error}");
}

#[test]
fn folder_brings_a_note_and_is_ignored_by_git() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    assert_eq!(fs::read_to_string(folder.path().join(".gitignore")).unwrap(), "*\n");
    assert!(fs::read_to_string(folder.path().join("README")).unwrap().contains("platform.sqlite3"));
}
