//! Workers that sleep after their idle timeout: real processes, stopped and resumed by signal.

use serde_json::json;

use super::*;
use crate::platform::polls::{Answer, Wants};

fn with_flashboot(spec: EndpointSpec) -> EndpointSpec {
    EndpointSpec { flashboot: true, ..spec }
}

fn manual(specs: Vec<EndpointSpec>) -> (Fixture, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    (Fixture::with(options, specs), clock)
}

/// The letter of a process's state; `T` is stopped.
fn state_of(pid: u64) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Waits until a process is stopped: signals give no event to await.
async fn stopped(pid: u64) {
    let waiting = async {
        while state_of(pid) != Some('T') {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{:?}", state_of(pid));
}

/// Lets the idle timeout of a worker that has just worked pass; returns its process.
async fn put_to_sleep(fixture: &Fixture, clock: &ManualClock) -> u64 {
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    clock.advance(Duration::from_secs(61));
    fixture.platform.endpoint("e").unwrap().tick();
    stopped(pid).await;
    pid
}

#[tokio::test]
async fn worker_beyond_its_idle_timeout_sleeps_and_wakes_for_the_next_call() {
    let (fixture, clock) = manual(vec![with_flashboot(spec("e"))]);
    let pid = put_to_sleep(&fixture, &clock).await;
    let health = fixture.platform.health("e").await.unwrap();
    assert_eq!((health.workers_idle, health.workers_running, health.workers_initializing), (0, 0, 0));
    assert_eq!(fixture.platform.workers("e").unwrap()[0].status, WorkerStatus::Asleep);
    let called = std::time::Instant::now();
    assert_eq!(fixture.call("e", "pid", json!(null)).await.unwrap(), json!(pid));
    assert!(called.elapsed() < Duration::from_secs(1), "{:?}", called.elapsed());
    assert_eq!(fixture.log.count(|event| matches!(event, Event::WorkerStarting { .. })), 1);
    // Its idle time begins anew.
    clock.advance(Duration::from_secs(59));
    fixture.platform.endpoint("e").unwrap().tick();
    assert_ne!(state_of(pid), Some('T'));
}

#[tokio::test]
async fn worker_without_flashboot_stops_for_good() {
    let (fixture, clock) = manual(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    clock.advance(Duration::from_secs(61));
    fixture.log.until_event("stop", is_stopped).await;
    gone(pid).await;
}

#[tokio::test]
async fn sleeping_worker_is_stopped_when_it_slept_for_long() {
    let (fixture, clock) = manual(vec![with_flashboot(spec("e"))]);
    let pid = put_to_sleep(&fixture, &clock).await;
    clock.advance(Duration::from_mins(9));
    fixture.platform.endpoint("e").unwrap().tick();
    assert_eq!(state_of(pid), Some('T'));
    clock.advance(Duration::from_mins(1));
    fixture.log.until_event("stop", is_stopped).await;
    gone(pid).await;
    assert_eq!(fixture.platform.workers("e"), Some(Vec::new()));
}

#[tokio::test]
async fn few_workers_of_an_endpoint_sleep() {
    let (fixture, clock) = manual(vec![with_flashboot(with_workers(spec("e"), 0, 4))]);
    let calls = (0..4).map(|_| fixture.call("e", "sleep", json!(200)));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    clock.advance(Duration::from_secs(61));
    fixture
        .log
        .until("two stops", |events| events.iter().filter(|event| is_stopped(event)).count() == 2)
        .await;
    let states: Vec<_> = fixture.platform.workers("e").unwrap().iter().map(|worker| worker.status).collect();
    assert_eq!(states, [WorkerStatus::Asleep, WorkerStatus::Asleep]);
}

#[tokio::test]
async fn sleeping_worker_of_older_code_is_stopped() {
    let (fixture, clock) = manual(vec![with_flashboot(spec("e"))]);
    let pid = put_to_sleep(&fixture, &clock).await;
    fixture.platform.apply(vec![EndpointSpec { fingerprint: "2".to_owned(), ..with_flashboot(spec("e")) }]);
    gone(pid).await;
    assert_ne!(fixture.call("e", "pid", json!(null)).await.unwrap(), json!(pid));
}

#[tokio::test]
async fn sleeping_worker_ends_with_the_platform() {
    let (fixture, clock) = manual(vec![with_flashboot(spec("e"))]);
    let pid = put_to_sleep(&fixture, &clock).await;
    fixture.platform.shutdown(Duration::from_secs(20)).await;
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn sleeping_worker_that_is_killed_is_noticed_and_the_next_call_gets_another() {
    let (fixture, clock) = manual(vec![with_flashboot(spec("e"))]);
    let pid = put_to_sleep(&fixture, &clock).await;
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    fixture.log.until_event("end", is_stopped).await;
    let other = fixture.call("e", "pid", json!(null)).await.unwrap();
    assert_ne!(other, json!(pid));
}

#[tokio::test]
async fn command_that_sleeps_has_its_requests_answered_and_gets_a_job_when_it_wakes() {
    let endpoint = with_workers(super::commands::script("e", "sleep 100"), 0, 1);
    let (fixture, clock) = manual(vec![with_flashboot(endpoint)]);
    fixture.platform.listens_at("http://127.0.0.1:9");
    let endpoint = fixture.platform.endpoint("e").unwrap();
    fixture.platform.warm("e");
    let pid = async {
        loop {
            let pid = endpoint.lock().workers.get(&1).and_then(|worker| worker.switch.pid());
            if let Some(pid) = pid {
                return u64::from(pid);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let pid = tokio::time::timeout(PATIENCE, pid).await.unwrap();
    let mut poll = endpoint.open_poll(1, Wants::Jobs(1), false).unwrap();
    clock.advance(Duration::from_secs(61));
    endpoint.tick();
    assert!(matches!(poll.answered().await, Answer::Asleep));
    stopped(pid).await;
    // One that was on its way when the worker was stopped.
    let mut late = endpoint.open_poll(1, Wants::Jobs(1), false).unwrap();
    assert!(matches!(late.answered().await, Answer::Asleep));
    // Longer than silence is borne from one that is awake.
    clock.advance(Duration::from_mins(5));
    endpoint.tick();
    let id = fixture.submit("e", "", json!({"a": 1})).await;
    assert_ne!(state_of(pid), Some('T'));
    let mut next = endpoint.open_poll(1, Wants::Jobs(1), false).unwrap();
    let Answer::Jobs(jobs) = next.answered().await else { panic!("no job") };
    assert_eq!(jobs[0].id, id);
    assert_eq!(fixture.log.count(|event| matches!(event, Event::WorkerStarting { .. })), 1);
}
