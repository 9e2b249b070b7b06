//! Jobs: order, waiting, streaming, cancelling, forgetting.

use serde_json::json;

use super::*;
use crate::platform::record::{RETENTION, RETENTION_SYNC};

#[tokio::test]
async fn job_runs_and_says_when_and_where() {
    let fixture = Fixture::new(vec![spec("e")]);
    let job = fixture.run("e", "echo", json!({"a": 1})).await;
    assert_eq!(job.status, JobStatus::Completed);
    assert_eq!(text(job.output.as_ref()), r#"{"a":1}"#);
    assert!(job.worker.is_some() && job.delay_ms.is_some() && job.execution_ms.is_some());
    assert_eq!(job.retries, 0);
}

#[tokio::test]
async fn job_that_raises_fails_and_is_not_retried() {
    let fixture = Fixture::new(vec![spec("e")]);
    let job = fixture.run("e", "raise", json!(1)).await;
    assert_eq!((job.status, job.retries), (JobStatus::Failed, 0));
    assert_eq!(job.error.unwrap().message, "boom");
}

#[tokio::test]
async fn job_that_returns_an_error_fails_with_the_rest_as_output() {
    let fixture = Fixture::new(vec![spec("e")]);
    let job = fixture.run("e", "echo", json!({"error": "bad", "x": 1})).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.error.unwrap().message, "bad");
    assert_eq!(text(job.output.as_ref()), r#"{"x":1}"#);
}

#[tokio::test]
async fn jobs_run_in_the_order_they_came() {
    let fixture = Fixture::new(vec![spec("e")]);
    let mut jobs = Vec::new();
    for number in 0..30 {
        jobs.push(fixture.submit("e", "echo", json!(number)).await);
    }
    let last = fixture.finished("e", &jobs[29]).await;
    assert_eq!(text(last.output.as_ref()), "29");
    let mut delays = Vec::new();
    for job in &jobs {
        let view = fixture.platform.status("e", job).await.unwrap();
        assert_eq!(view.status, JobStatus::Completed);
        delays.push(fixture.platform.shared.options.store.get("e", job).unwrap().unwrap().started.unwrap());
    }
    assert!(delays.is_sorted());
}

#[tokio::test]
async fn job_ids_have_the_forms_of_runpod() {
    let fixture = Fixture::new(vec![spec("e")]);
    let id = fixture.submit("e", "echo", json!(1)).await;
    let (uuid, shard) = id.split_at(36);
    assert!(uuid::Uuid::parse_str(uuid).is_ok() && shard == "-u1", "{id}");
    let sync =
        fixture.platform.submit("e", JobRequest { sync: true, ..job("echo", &json!(1)) }).await.unwrap();
    assert!(sync.id.starts_with("sync-"), "{}", sync.id);
}

#[tokio::test]
async fn wait_that_ends_first_gives_the_state_then() {
    let fixture = Fixture::new(vec![spec("e")]);
    let id = fixture.submit("e", "sleep", json!(600_000)).await;
    fixture.started("e", &id).await;
    let view = fixture.platform.wait("e", &id, Duration::from_millis(20)).await.unwrap();
    assert_eq!(view.status, JobStatus::InProgress);
    assert!(fixture.platform.wait("e", "nonsense", PATIENCE).await.is_none());
}

#[tokio::test]
async fn job_cancelled_in_the_queue_never_runs() {
    let fixture = Fixture::new(vec![spec("e")]);
    let first = fixture.submit("e", "sleep", json!(100)).await;
    let second = fixture.submit("e", "echo", json!(1)).await;
    assert_eq!(fixture.platform.cancel("e", &second).await.unwrap().status, JobStatus::Cancelled);
    assert_eq!(fixture.finished("e", &first).await.status, JobStatus::Completed);
    let second = fixture.platform.status("e", &second).await.unwrap();
    assert_eq!((second.status, second.worker), (JobStatus::Cancelled, None));
    let again = fixture.platform.cancel("e", &first).await.unwrap();
    assert_eq!(again.status, JobStatus::Completed, "a finished job stays finished");
}

#[tokio::test]
async fn job_cancelled_while_it_runs_frees_its_worker() {
    let fixture = Fixture::new(vec![spec("e")]);
    let id = fixture.submit("e", "sleep", json!(600_000)).await;
    fixture.started("e", &id).await;
    assert_eq!(fixture.platform.cancel("e", &id).await.unwrap().status, JobStatus::Cancelled);
    assert_eq!(fixture.run("e", "echo", json!(1)).await.status, JobStatus::Completed);
    assert_eq!(fixture.platform.status("e", &id).await.unwrap().status, JobStatus::Cancelled);
    assert_eq!(fixture.log.count(is_ready), 1, "the worker was not replaced");
}

#[tokio::test]
async fn job_cancelled_that_does_not_stop_costs_its_worker() {
    let fixture = Fixture::new(vec![spec("e")]);
    let id = fixture.submit("e", "hang", json!(null)).await;
    fixture.started("e", &id).await;
    fixture.platform.cancel("e", &id).await.unwrap();
    assert_eq!(fixture.run("e", "echo", json!(1)).await.status, JobStatus::Completed);
    assert_eq!(fixture.platform.status("e", &id).await.unwrap().status, JobStatus::Cancelled);
    assert_eq!(fixture.log.count(is_ready), 2);
}

#[tokio::test]
async fn job_stream_gives_each_item_once_and_the_output_has_all() {
    let fixture = Fixture::new(vec![spec("e")]);
    let id = fixture.submit("e", "items", json!(5)).await;
    let mut items = Vec::new();
    loop {
        let (view, more) = fixture.platform.stream("e", &id, PATIENCE).await.unwrap();
        let is_over = view.status.is_terminal() && more.is_empty();
        items.extend(more);
        if is_over {
            break;
        }
    }
    assert_eq!(items, ["0", "1", "2", "3", "4"]);
    assert_eq!(text(fixture.finished("e", &id).await.output.as_ref()), "[0,1,2,3,4]");
}

#[tokio::test]
async fn job_progress_shows_while_it_runs() {
    let fixture = Fixture::new(vec![spec("e")]);
    let id = fixture.submit("e", "progress", json!(null)).await;
    let seen = async {
        loop {
            let (view, changed) = fixture.platform.endpoint("e").unwrap().watch(&id).unwrap();
            if view.output.is_some() {
                return view;
            }
            changed.unwrap().await;
        }
    };
    let view = tokio::time::timeout(PATIENCE, seen).await.unwrap();
    assert_eq!((view.status, text(view.output.as_ref())), (JobStatus::InProgress, "\"half\""));
    let view = fixture.platform.cancel("e", &id).await.unwrap();
    assert_eq!((view.status, view.output), (JobStatus::Cancelled, None));
}

#[tokio::test]
async fn job_of_class_endpoint_takes_its_method_from_the_input() {
    let mut endpoint = spec("e");
    flash(&mut endpoint).load.callables = vec!["C.run".to_owned(), "C.info".to_owned()];
    let fixture = Fixture::new(vec![endpoint]);
    let job = fixture.run("e", "", json!({"method": "run", "x": 1})).await;
    assert_eq!(text(job.output.as_ref()), r#"{"x":1}"#);
    let job = fixture.run("e", "", json!({"x": 1})).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert!(job.error.unwrap().message.contains("multiple methods: run, info"));
}

#[tokio::test]
async fn job_waits_for_the_environment_and_says_so() {
    let (state, environment) =
        watch::channel(EnvironmentState::Preparing { message: "installing numpy".to_owned() });
    let fixture = Fixture::new(vec![with_environment(spec("e"), environment)]);
    let id = fixture.submit("e", "echo", json!(1)).await;
    let view = fixture.platform.status("e", &id).await.unwrap();
    assert_eq!(view.status, JobStatus::InQueue);
    assert_eq!(view.waiting_for.as_deref(), Some("installing numpy"));
    state.send_replace(EnvironmentState::Ready(Interpreter { python: "p".into(), is_host: false }));
    assert_eq!(fixture.finished("e", &id).await.status, JobStatus::Completed);
}

#[tokio::test]
async fn environment_that_fails_fails_that_endpoint_alone() {
    let (state, environment) = watch::channel(EnvironmentState::Preparing { message: String::new() });
    let fixture = Fixture::new(vec![with_environment(spec("e"), environment), spec("other")]);
    let id = fixture.submit("e", "echo", json!(1)).await;
    let message = "no version of `nonsense` satisfies >=3".to_owned();
    state.send_replace(EnvironmentState::Failed { message, hint: Some("check its name".to_owned()) });
    let report = fixture.finished("e", &id).await.error.unwrap();
    assert_eq!(report.failure, Failure::Environment);
    assert!(report.message.contains("nonsense") && report.hint.is_some());
    assert_eq!(fixture.run("other", "echo", json!(1)).await.status, JobStatus::Completed);
}

fn manual(specs: Vec<EndpointSpec>) -> (Fixture, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    (Fixture::with(options, specs), clock)
}

#[tokio::test]
async fn result_is_forgotten_after_its_retention() {
    let (fixture, clock) = manual(vec![spec("e")]);
    for (sync, retention) in [(false, RETENTION), (true, RETENTION_SYNC)] {
        let request = JobRequest { sync, ..job("echo", &json!(1)) };
        let id = fixture.platform.submit("e", request).await.unwrap().id;
        fixture.finished("e", &id).await;
        clock.advance(retention.saturating_sub(Duration::from_millis(1)));
        fixture.platform.endpoint("e").unwrap().tick();
        assert!(fixture.platform.status("e", &id).await.is_some());
        clock.advance(Duration::from_millis(1));
        fixture.platform.endpoint("e").unwrap().tick();
        assert!(fixture.platform.status("e", &id).await.is_none());
    }
}

#[tokio::test]
async fn job_is_forgotten_when_its_time_to_live_ends() {
    let (fixture, clock) = manual(vec![spec("e"), with_workers(spec("none"), 0, 0)]);
    let request = || JobRequest { ttl: Some(Duration::from_secs(10)), ..job("sleep", &json!(600_000)) };
    let running = fixture.platform.submit("e", request()).await.unwrap().id;
    fixture.started("e", &running).await;
    let waiting = fixture.platform.submit("none", request()).await.unwrap().id;
    let (first, second) = (
        fixture.platform.wait("e", &running, PATIENCE * 100),
        fixture.platform.wait("none", &waiting, PATIENCE * 100),
    );
    let time = async { clock.advance(Duration::from_secs(10)) };
    let (first, second, ()) = tokio::join!(first, second, time);
    assert!(first.is_none() && second.is_none());
    assert_eq!(fixture.platform.health("none").await.unwrap().in_queue, 0);
}

#[tokio::test]
async fn job_life_can_be_shortened() {
    let (fixture, clock) = manual(vec![spec("e")]);
    let id = fixture.run("e", "echo", json!(1)).await.id;
    fixture.platform.shorten_life("e", &id, Duration::from_secs(6));
    clock.advance(Duration::from_secs(6));
    fixture.platform.endpoint("e").unwrap().tick();
    assert!(fixture.platform.status("e", &id).await.is_none());
}

#[tokio::test]
async fn job_of_low_priority_starts_no_worker_but_uses_one() {
    let fixture = Fixture::new(vec![spec("e")]);
    let low = JobRequest { low_priority: true, ..job("echo", &json!(1)) };
    let id = fixture.platform.submit("e", low).await.unwrap().id;
    let starting = |event: &Event| matches!(event, Event::WorkerStarting { .. });
    assert_eq!(fixture.log.count(starting), 0);
    fixture.run("e", "echo", json!(2)).await;
    assert_eq!(fixture.finished("e", &id).await.status, JobStatus::Completed);
}
