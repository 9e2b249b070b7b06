//! Workers that die, hang, or cannot load: what they held is retried or fails by rule.

use std::sync::atomic::{AtomicBool, Ordering};

use rstest::rstest;
use serde_json::json;

use super::*;

#[rstest]
#[case("exit", "exited with code 3")]
#[case("segfault", "was killed by SIGSEGV")]
#[case("kill", "was killed by SIGKILL")]
#[case("garbage", "not a frame")]
#[tokio::test]
async fn call_on_a_worker_that_dies_fails_at_once_and_says_how(
    #[case] callable: &str,
    #[case] expected: &str,
) {
    let fixture = Fixture::new(vec![spec("e")]);
    let report = fixture.call("e", callable, json!(null)).await.unwrap_err();
    assert_eq!(report.failure, Failure::WorkerDied);
    assert!(report.message.contains(expected), "{}", report.message);
    assert_eq!(fixture.call("e", "echo", json!(5)).await.unwrap(), json!(5), "the worker is replaced");
}

#[tokio::test]
async fn crash_keeps_the_last_lines_that_were_printed() {
    let fixture = Fixture::new(vec![spec("e")]);
    let report = fixture.call("e", "exit", json!(null)).await.unwrap_err();
    assert!(report.message.contains("about to exit"), "{}", report.message);
    let failed =
        |event: &Event| matches!(event, Event::WorkerFailed { reason, .. } if reason.contains("code 3"));
    fixture.log.until_event("failure", failed).await;
}

#[tokio::test]
async fn job_whose_worker_dies_is_retried_once() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(vec![spec("e")]);
    let marker = folder.path().join("died");
    let job = fixture.run("e", "kill_once", json!(marker)).await;
    assert_eq!((job.status, job.retries), (JobStatus::Completed, 1));
    assert_eq!(text(job.output.as_ref()), "\"survived\"");
    assert_eq!(fixture.platform.health("e").await.unwrap().retried, 1);
}

#[tokio::test]
async fn job_whose_worker_dies_twice_fails_with_the_signal() {
    let fixture = Fixture::new(vec![spec("e")]);
    let job = fixture.run("e", "segfault", json!(null)).await;
    assert_eq!((job.status, job.retries), (JobStatus::Failed, 1));
    assert!(job.error.unwrap().message.contains("SIGSEGV"));
}

#[tokio::test]
async fn job_that_is_retried_keeps_its_place_before_later_ones() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(vec![spec("e")]);
    let first = fixture.submit("e", "kill_once", json!(folder.path().join("died"))).await;
    let second = fixture.submit("e", "echo", json!(2)).await;
    let second = fixture.finished("e", &second).await;
    let first = fixture.platform.status("e", &first).await.unwrap();
    assert_eq!((first.status, second.status), (JobStatus::Completed, JobStatus::Completed));
}

#[tokio::test]
async fn job_beside_one_that_kills_its_worker_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(vec![with_concurrency(spec("e"), 4)]);
    let beside = fixture.submit("e", "sleep", json!(200)).await;
    fixture.started("e", &beside).await;
    let killer = fixture.submit("e", "kill_once", json!(folder.path().join("died"))).await;
    let (killer, beside) = (fixture.finished("e", &killer).await, fixture.finished("e", &beside).await);
    assert_eq!((killer.status, beside.status), (JobStatus::Completed, JobStatus::Completed));
    assert_eq!((killer.retries, beside.retries), (1, 1));
}

#[tokio::test]
async fn job_that_runs_too_long_times_out_and_its_worker_is_replaced() {
    let endpoint = EndpointSpec { execution_timeout: Some(Duration::from_millis(100)), ..spec("e") };
    let fixture = Fixture::new(vec![endpoint]);
    let job = fixture.run("e", "hang", json!(null)).await;
    assert_eq!(job.status, JobStatus::TimedOut);
    assert!(job.error.unwrap().message.contains("executionTimeout exceeded"));
    assert_eq!(fixture.platform.health("e").await.unwrap().in_progress, 0);
    let killed = |event: &Event| matches!(event, Event::WorkerFailed { reason, .. } if reason.contains("run too long"));
    fixture.log.until_event("kill", killed).await;
    assert_eq!(fixture.run("e", "echo", json!(1)).await.status, JobStatus::Completed);
}

#[tokio::test]
async fn job_beside_one_that_times_out_goes_back_to_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("hung");
    let limit = Duration::from_mins(1);
    let endpoint = with_concurrency(EndpointSpec { execution_timeout: Some(limit), ..spec("e") }, 2);
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let grace = options.cancel_grace;
    let fixture = Fixture::with(options, vec![endpoint]);
    let hanging = fixture.submit("e", "hang", json!(null)).await;
    fixture.started("e", &hanging).await;
    clock.advance(limit / 2);
    let beside = fixture.submit("e", "hang_once", json!(marker)).await;
    // On a worker is not enough: it must have begun to hang.
    while !marker.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    clock.advance(limit / 2);
    assert_eq!(fixture.finished("e", &hanging).await.status, JobStatus::TimedOut);
    clock.advance(grace);
    let beside = fixture.finished("e", &beside).await;
    assert_eq!((beside.status, beside.retries), (JobStatus::Completed, 1));
}

#[tokio::test]
async fn call_that_answers_cancel_after_its_timeout_keeps_its_worker() {
    let endpoint = EndpointSpec { execution_timeout: Some(Duration::from_millis(100)), ..spec("e") };
    let fixture = Fixture::new(vec![endpoint]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap();
    let report = fixture.call("e", "sleep", json!(600_000)).await.unwrap_err();
    assert_eq!(report.failure, Failure::TimedOut);
    assert_eq!(fixture.call("e", "pid", json!(null)).await.unwrap(), pid);
}

#[tokio::test]
async fn code_that_does_not_load_answers_every_call_until_it_changes() {
    let fixture = Fixture::new(vec![with_env(spec("e"), "FAKE_LOAD", "fail"), spec("other")]);
    for _ in 0..3 {
        let report = fixture.call("e", "echo", json!(1)).await.unwrap_err();
        assert_eq!((report.failure, report.error_type.as_str()), (Failure::Load, "ModuleNotFoundError"));
    }
    assert_eq!(fixture.run("e", "echo", json!(1)).await.status, JobStatus::Failed);
    let tried =
        fixture.log.count(|event| matches!(event, Event::WorkerStarting { endpoint, .. } if endpoint == "e"));
    assert_eq!(tried, 1, "a known failure is not tried again at once");
    assert_eq!(fixture.call("other", "echo", json!(1)).await.unwrap(), json!(1));
    fixture.platform.apply(vec![EndpointSpec { fingerprint: "2".to_owned(), ..spec("e") }]);
    assert_eq!(fixture.call("e", "echo", json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn code_that_did_not_load_is_tried_again_after_a_pause() {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let fixture = Fixture::with(options, vec![with_env(spec("e"), "FAKE_LOAD", "fail")]);
    fixture.call("e", "echo", json!(1)).await.unwrap_err();
    let starting = |event: &Event| matches!(event, Event::WorkerStarting { .. });
    assert_eq!(fixture.log.count(starting), 1);
    clock.advance(Duration::from_secs(6));
    fixture.call("e", "echo", json!(1)).await.unwrap_err();
    assert_eq!(fixture.log.count(starting), 2);
}

#[tokio::test]
async fn worker_that_dies_while_loading_fails_what_waits_after_a_second_try() {
    let fixture = Fixture::new(vec![with_env(spec("e"), "FAKE_LOAD", "exit")]);
    let report = fixture.call("e", "echo", json!(1)).await.unwrap_err();
    assert_eq!(report.failure, Failure::WorkerDied);
    assert!(report.message.contains("exited with code 7 before it had loaded"), "{}", report.message);
}

#[tokio::test]
async fn worker_that_cannot_be_started_says_why() {
    struct Nothing;
    impl WorkerCommand for Nothing {
        fn command(&self, _: &Interpreter) -> CommandLine {
            CommandLine {
                program: "/nonexistent/python".into(),
                arguments: vec![],
                variables: BTreeMap::new(),
                withheld: &[],
            }
        }
    }
    let options = PlatformOptions { command: Arc::new(Nothing), ..options() };
    let fixture = Fixture::with(options, vec![spec("e")]);
    let report = fixture.call("e", "echo", json!(1)).await.unwrap_err();
    assert!(report.message.contains("could not be started"), "{}", report.message);
}

#[tokio::test]
async fn worker_that_loads_for_too_long_is_killed() {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let fixture = Fixture::with(options, vec![with_env(spec("e"), "FAKE_LOAD", "hang")]);
    let call = fixture.call("e", "echo", json!(1));
    let time = async {
        for number in 1..=2 {
            let started = |events: &[Event]| {
                events.iter().filter(|event| matches!(event, Event::WorkerStarting { .. })).count() >= number
            };
            fixture.log.until("start", started).await;
            clock.advance(Duration::from_secs(421));
        }
    };
    let (report, ()) = tokio::join!(call, time);
    assert_eq!(report.unwrap_err().failure, Failure::WorkerDied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_64_clients_while_workers_are_killed_are_answered_once_each() {
    const CLIENTS: usize = 64;
    const JOBS: usize = 5;
    let endpoint = with_concurrency(with_workers(spec("e"), 0, 4), 3);
    let fixture = Arc::new(Fixture::new(vec![endpoint]));
    let is_over = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let (fixture, is_over) = (Arc::clone(&fixture), Arc::clone(&is_over));
        async move {
            let mut killed = 0;
            while !is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let endpoint = fixture.platform.endpoint("e").unwrap();
                let state = endpoint.lock();
                let busy = state.workers.values().find(|worker| !worker.running.is_empty());
                let pid = busy.and_then(|worker| Some(worker.ready.as_ref()?.pid));
                drop(state);
                if let Some(pid) = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().unwrap()))
                {
                    killed += 1;
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            killed
        }
    });
    let clients = (0..CLIENTS).map(|client| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move {
            let mut ends = (0u64, 0u64);
            for number in 0..JOBS {
                let input = json!(10 + (client * JOBS + number) * 10 % 70);
                let view = fixture.run("e", "sleep", input.clone()).await;
                match view.status {
                    JobStatus::Completed => {
                        assert_eq!(text(view.output.as_ref()), input.to_string());
                        ends.0 += 1;
                    }
                    JobStatus::Failed => {
                        assert_eq!(view.error.unwrap().failure, Failure::WorkerDied);
                        assert_eq!(view.retries, 1);
                        ends.1 += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            ends
        })
    });
    let mut ends = (0, 0);
    for client in clients.collect::<Vec<_>>() {
        let (completed, failed) = client.await.unwrap();
        ends = (ends.0 + completed, ends.1 + failed);
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(killer.await.unwrap() > 3, "workers were killed");
    let health = fixture.platform.health("e").await.unwrap();
    assert_eq!((health.completed, health.failed), ends);
    assert_eq!(ends.0 + ends.1, (CLIENTS * JOBS) as u64);
    assert_eq!((health.in_queue, health.in_progress), (0, 0));
    fixture.platform.shutdown(Duration::ZERO).await;
}
