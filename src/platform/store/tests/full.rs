//! A full disk: new jobs are refused, what is stored stays whole, and it goes on once there is space.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "told to the test that started it")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::platform::error::StoreError;

const DISK: &str = "FLASH_TEST_DISK";

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() })
}

/// Writes until the disk is full to the last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

#[test]
#[ignore = "runs on a small disk of its own; started by the test below"]
fn on_small_disk() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let (disk, filler) = (PathBuf::from(&disk), PathBuf::from(&disk).join("filler"));
    let state = open(&disk.join("state")).unwrap();
    let store = &state.store;
    for id in ["runs", "runs too"] {
        run(store.accept(record(id, request("1"), seconds(1)))).unwrap();
        store.change("f", id, started(), seconds(2)).unwrap();
    }
    run(store.settled());

    // As jobs fill it.
    let large = "x".repeat(200_000);
    let mut accepted = Vec::new();
    let error = loop {
        let id = format!("large{}", accepted.len());
        match run(store.accept(record(&id, request(&large), seconds(3)))) {
            Ok(()) => accepted.push(id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1000);
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(accepted.len() > 10, "{}", accepted.len());
    store.change("f", "runs", Change::Completed(Bytes::from_static(b"1")), seconds(4)).unwrap();
    run(store.settled());

    // As another program fills it.
    fill(&filler);
    store.change("f", "runs too", Change::Completed(vec![b'7'; 100_000].into()), seconds(5)).unwrap();
    run(store.settled());
    let refused = run(store.accept(record("refused", request("1"), seconds(6)))).unwrap_err();
    assert!(matches!(refused, StoreError::Full), "{refused}");
    assert!(store.get("f", "refused").unwrap().is_none());

    // Once there is space it goes on by itself.
    fs::remove_file(&filler).unwrap();
    store.end_waiting("f", &Change::Cancelled, seconds(7)).unwrap();
    run(store.settled());
    while store.next_expiry("f").is_some_and(|moment| moment <= seconds(4000)) {
        store.expire("f", seconds(4000)).unwrap();
    }
    run(store.settled());
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = run(store.accept(record("later", request("1"), seconds(5000)))) {
        assert!(matches!(error, StoreError::Full) && std::time::Instant::now() < until, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(state);
    let state = open(&disk.join("state")).unwrap();
    assert_eq!(state.store.waiting("f", 10).unwrap().len(), 1);
    let database = rusqlite::Connection::open(disk.join("state/platform.sqlite3")).unwrap();
    let health: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(health, "ok");
    println!("survived after {} jobs", accepted.len());
}

#[test]
fn full_disk_refuses_new_jobs_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=40m tmpfs \"$FLASH_TEST_DISK\"";
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script, "sh"]).env(DISK, folder.path());
        command
    };
    if !in_namespace(mount).status().is_ok_and(|status| status.success()) {
        eprintln!("this machine gives no file system of its own: the full disk is not tested");
        return;
    }
    let output = in_namespace(&format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["platform::store::tests::full::on_small_disk", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("survived after"), "{text}\n{errors}");
}
