//! The end: nothing is left behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;

#[tokio::test]
async fn shutdown_finishes_what_runs_and_leaves_no_process() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    let running = fixture.submit("e", "sleep", json!(200)).await;
    let waiting = fixture.submit("e", "echo", json!(1)).await;
    fixture.started("e", &running).await;
    fixture.platform.shutdown(PATIENCE).await;
    assert!(!is_alive(pid));
    assert_eq!(fixture.platform.status("e", &running).await.unwrap().status, JobStatus::Completed);
    assert_eq!(fixture.platform.status("e", &waiting).await.unwrap().status, JobStatus::Cancelled);
    let report = fixture.call("e", "echo", json!(1)).await.unwrap_err();
    assert_eq!(report.failure, Failure::Cancelled);
    assert!(fixture.platform.submit("e", job("echo", &json!(1))).await.is_err());
}

#[tokio::test]
async fn shutdown_finishes_a_job_that_calls_another_endpoint() {
    let fixture = Fixture::new(vec![spec("outer"), spec("inner")]);
    fixture.call("inner", "echo", json!(1)).await.unwrap();
    let input = json!(["inner", "sleep", 300]);
    let id = fixture.submit("outer", "nested", input).await;
    fixture.started("outer", &id).await;
    fixture.platform.shutdown(PATIENCE).await;
    assert_eq!(fixture.platform.status("outer", &id).await.unwrap().status, JobStatus::Completed);
}

#[tokio::test]
async fn shutdown_called_twice_kills_at_once() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    let id = fixture.submit("e", "hang", json!(null)).await;
    fixture.started("e", &id).await;
    let first = fixture.platform.shutdown(Duration::from_hours(1));
    let second = async {
        tokio::task::yield_now().await;
        fixture.platform.shutdown(Duration::from_hours(1)).await;
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(first, second) }).await.unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn shutdown_ends_children_of_workers_too() {
    let fixture = Fixture::new(vec![spec("e")]);
    let child = fixture.call("e", "child", json!(null)).await.unwrap().as_u64().unwrap();
    assert!(is_alive(child));
    fixture.platform.shutdown(PATIENCE).await;
    gone(child).await;
}

#[tokio::test]
async fn child_of_a_worker_that_crashes_ends_with_it() {
    let fixture = Fixture::new(vec![spec("e")]);
    let child = fixture.call("e", "child", json!(null)).await.unwrap().as_u64().unwrap();
    fixture.call("e", "segfault", json!(null)).await.unwrap_err();
    gone(child).await;
}

#[tokio::test]
async fn platform_that_is_dropped_ends_its_workers() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    drop(fixture);
    gone(pid).await;
}

/// The program of the next test's server; does nothing as a test.
#[tokio::test]
#[ignore = "runs as the server process of another test"]
async fn server_process() {
    if std::env::var("FLASH_TEST_SERVER").is_err() {
        return;
    }
    let fixture = Fixture::new(vec![spec("e"), spec("f")]);
    for endpoint in ["e", "f"] {
        let pid = fixture.call(endpoint, "pid", json!(null)).await.unwrap();
        writeln!(std::io::stdout(), "\npid {pid}").unwrap();
    }
    let _ = fixture.call("f", "hang", json!(null)).await;
}

#[tokio::test]
async fn server_that_is_killed_takes_its_workers_along() {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["platform::tests::shutdown::server_process", "--exact", "--ignored", "--nocapture"])
        .env("FLASH_TEST_SERVER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let pid = |line: String| line.strip_prefix("pid ")?.parse::<u64>().ok();
    let pids: Vec<u64> = lines.filter_map(|line| pid(line.unwrap())).take(2).collect();
    assert_eq!(pids.len(), 2);
    server.kill().unwrap();
    server.wait().unwrap();
    for pid in pids {
        gone(pid).await;
    }
}
