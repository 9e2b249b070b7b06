//! Scaling and worker life as Runpod has them, for endpoints that are not an app's
//! (`platform.md` 8.3, items 65 to 70).

use serde_json::json;

use super::*;

/// A platform with one endpoint `e`, which is put as management puts it, on a clock that stands.
fn put(spec: EndpointSpec) -> (Fixture, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let fixture = Fixture::with(options, Vec::new());
    fixture.platform.put(spec);
    (fixture, clock)
}

fn with_scaling(spec: EndpointSpec, scaling: Scaling) -> EndpointSpec {
    EndpointSpec { scaling, ..spec }
}

fn is_starting(event: &Event) -> bool {
    matches!(event, Event::WorkerStarting { .. })
}

impl Fixture {
    fn starts(&self) -> usize {
        self.log.count(is_starting)
    }

    /// Waits until so many workers were started.
    async fn until_starts(&self, number: usize) {
        let is_it = |events: &[Event]| events.iter().filter(|event| is_starting(event)).count() >= number;
        self.log.until("start", is_it).await;
    }

    /// Moves the clock and lets the endpoint look at it, as its time keeper does.
    fn pass(&self, clock: &ManualClock, span: Duration) {
        clock.advance(span);
        self.platform.endpoint("e").unwrap().tick();
    }

    fn statuses(&self) -> Vec<WorkerStatus> {
        self.platform.workers("e").unwrap().iter().map(|worker| worker.status).collect()
    }
}

#[tokio::test]
async fn queue_delay_starts_the_second_worker_once_a_job_waited_that_long_and_not_before() {
    let scaling = Scaling::QueueDelay(Duration::from_secs(4));
    let (fixture, clock) = put(with_scaling(with_workers(spec("e"), 0, 3), scaling));
    let first = fixture.submit("e", "progress", json!(null)).await;
    fixture.started("e", &first).await;
    for _ in 0..3 {
        fixture.submit("e", "progress", json!(null)).await;
    }
    fixture.pass(&clock, Duration::from_millis(3999));
    assert_eq!(fixture.statuses(), [WorkerStatus::Running]);
    fixture.pass(&clock, Duration::from_millis(1));
    assert_eq!(fixture.statuses().len(), 2, "one at the delay");
    fixture.pass(&clock, Duration::from_millis(999));
    assert_eq!(fixture.statuses().len(), 2, "one per evaluation");
    fixture.pass(&clock, Duration::from_millis(1));
    assert_eq!(fixture.statuses().len(), 3);
    fixture.pass(&clock, Duration::from_mins(1));
    assert_eq!(fixture.statuses().len(), 3, "no more than the maximum");
}

#[tokio::test]
async fn queue_delay_needs_no_event_but_time() {
    let scaling = Scaling::QueueDelay(Duration::from_secs(4));
    let (fixture, clock) = put(with_scaling(with_workers(spec("e"), 0, 2), scaling));
    let first = fixture.submit("e", "progress", json!(null)).await;
    fixture.started("e", &first).await;
    let second = fixture.submit("e", "echo", json!(2)).await;
    clock.advance(Duration::from_secs(4));
    assert_eq!(fixture.finished("e", &second).await.status, JobStatus::Completed);
}

#[tokio::test]
async fn request_count_starts_one_worker_for_every_so_many_jobs_at_once() {
    let (fixture, _clock) = put(with_scaling(with_workers(spec("e"), 0, 5), Scaling::RequestCount(4)));
    for number in 0..9 {
        fixture.submit("e", "progress", json!(number)).await;
    }
    assert_eq!(fixture.statuses(), [WorkerStatus::Initializing; 3]);
    for number in 0..30 {
        fixture.submit("e", "progress", json!(number)).await;
    }
    assert_eq!(fixture.statuses().len(), 5);
}

#[tokio::test]
async fn minimum_is_kept_and_raised_without_a_job() {
    let (fixture, _clock) = put(with_workers(spec("e"), 1, 3));
    fixture.log.until_event("ready worker", is_ready).await;
    fixture.platform.put(with_workers(spec("e"), 2, 3));
    assert_eq!(fixture.statuses(), [WorkerStatus::Idle, WorkerStatus::Initializing]);
}

#[tokio::test]
async fn lowered_maximum_lets_idle_workers_go_at_once() {
    let (fixture, _clock) = put(with_workers(spec("e"), 3, 3));
    let ready = |events: &[Event]| events.iter().filter(|event| is_ready(event)).count() == 3;
    fixture.log.until("three workers", ready).await;
    fixture.platform.put(with_workers(spec("e"), 0, 1));
    let stopped = |events: &[Event]| events.iter().filter(|event| is_stopped(event)).count() == 2;
    fixture.log.until("two stops", stopped).await;
    assert_eq!(fixture.statuses(), [WorkerStatus::Idle]);
}

#[tokio::test]
async fn idle_timeout_counts_from_the_end_of_the_last_job() {
    let (fixture, clock) = put(EndpointSpec { idle_timeout: Duration::from_secs(5), ..spec("e") });
    fixture.run("e", "echo", json!(1)).await;
    fixture.pass(&clock, Duration::from_secs(4));
    fixture.run("e", "echo", json!(2)).await;
    fixture.pass(&clock, Duration::from_millis(4999));
    assert_eq!(fixture.statuses(), [WorkerStatus::Idle]);
    // Nothing but time: its end is awaited to the millisecond.
    clock.advance(Duration::from_millis(1));
    fixture.log.until_event("stop", is_stopped).await;
    assert_eq!(fixture.starts(), 1);
}

#[tokio::test]
async fn low_priority_job_starts_no_worker_and_runs_on_one_that_is_there() {
    let (fixture, clock) = put(spec("e"));
    let low = JobRequest { low_priority: true, ..job("echo", &json!("low")) };
    let low = fixture.platform.submit("e", low).await.unwrap();
    fixture.pass(&clock, Duration::from_mins(1));
    assert_eq!((fixture.statuses().len(), low.status), (0, JobStatus::InQueue));
    let other = fixture.submit("e", "echo", json!("other")).await;
    assert_eq!(fixture.finished("e", &low.id).await.status, JobStatus::Completed);
    assert_eq!(fixture.finished("e", &other).await.status, JobStatus::Completed);
    assert_eq!(fixture.starts(), 1);
}

#[tokio::test]
async fn crash_looping_endpoint_is_unhealthy_takes_jobs_and_is_tried_after_growing_pauses() {
    let (fixture, clock) = put(with_env(with_workers(spec("e"), 0, 3), "FAKE_LOAD", "exit"));
    let failed = |number: usize| {
        move |events: &[Event]| {
            events.iter().filter(|event| matches!(event, Event::WorkerFailed { .. })).count() >= number
        }
    };
    let first = fixture.submit("e", "echo", json!(1)).await;
    fixture.log.until("three crashes", failed(3)).await;
    for (crashes, pause) in [(3, 250), (4, 500), (5, 1000)] {
        let second = fixture.submit("e", "echo", json!(2)).await;
        let health = fixture.platform.health("e").await.unwrap();
        assert_eq!((health.workers_unhealthy, health.failed), (1, 0), "{health:?}");
        let waiting = fixture.platform.status("e", &second).await.unwrap();
        assert_eq!(waiting.status, JobStatus::InQueue);
        assert!(waiting.waiting_for.unwrap().contains("exited with code 7"));
        fixture.pass(&clock, Duration::from_millis(pause - 1));
        assert_eq!(fixture.starts(), crashes);
        clock.advance(Duration::from_millis(1));
        fixture.log.until("another crash", failed(crashes + 1)).await;
    }
    let views = fixture.platform.workers("e").unwrap();
    assert_eq!(views.iter().map(|view| view.status).collect::<Vec<_>>(), [WorkerStatus::Unhealthy]);
    assert!(views[0].reason.as_ref().unwrap().contains("exited with code 7"));
    // Code that works ends it at once, and nothing was lost.
    fixture.platform.put(EndpointSpec { fingerprint: "2".to_owned(), ..spec("e") });
    assert_eq!(fixture.finished("e", &first).await.status, JobStatus::Completed);
    assert_eq!(fixture.platform.health("e").await.unwrap().workers_unhealthy, 0);
}

#[tokio::test]
async fn code_that_does_not_load_keeps_the_jobs_of_an_endpoint_that_was_put() {
    let (fixture, clock) = put(with_env(spec("e"), "FAKE_LOAD", "fail"));
    let waiting = fixture.submit("e", "echo", json!(1)).await;
    let is_unhealthy = async {
        while fixture.platform.health("e").await.unwrap().workers_unhealthy == 0 {
            clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_unhealthy).await.unwrap();
    assert_eq!(fixture.platform.status("e", &waiting).await.unwrap().status, JobStatus::InQueue);
    // A call is not stored: whoever waits for it is told.
    let report = fixture.call("e", "echo", json!(1));
    let time = async {
        loop {
            clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = tokio::select! { report = report => report.unwrap_err(), () = time => unreachable!() };
    assert_eq!(report.failure, Failure::Load);
}

#[tokio::test]
async fn init_timeout_of_the_endpoint_counts() {
    let endpoint = with_env(with_env(spec("e"), "FAKE_LOAD", "hang"), "RUNPOD_INIT_TIMEOUT", "30");
    let (fixture, clock) = put(endpoint);
    fixture.submit("e", "echo", json!(1)).await;
    fixture.until_starts(1).await;
    fixture.pass(&clock, Duration::from_secs(29));
    assert_eq!(fixture.statuses(), [WorkerStatus::Initializing]);
    clock.advance(Duration::from_secs(1));
    let slow =
        |event: &Event| matches!(event, Event::WorkerFailed { reason, .. } if reason.contains("within 30s"));
    fixture.log.until_event("kill", slow).await;
}

#[tokio::test]
async fn workers_that_the_machine_does_not_bear_are_throttled_in_health_and_list() {
    let options = PlatformOptions { max_workers: Some(1), ..options() };
    let fixture = Fixture::with(options, Vec::new());
    fixture.platform.put(with_workers(spec("e"), 0, 3));
    for number in 0..3 {
        fixture.submit("e", "progress", json!(number)).await;
    }
    assert_eq!(fixture.platform.health("e").await.unwrap().workers_throttled, 2);
    assert_eq!(
        fixture.statuses(),
        [WorkerStatus::Initializing, WorkerStatus::Throttled, WorkerStatus::Throttled]
    );
}
