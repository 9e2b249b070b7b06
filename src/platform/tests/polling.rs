//! Workers that ask for their jobs, played by the test: what is handed out, taken back and lost.

use super::commands::script;
use super::*;
use crate::platform::polling::{News, Poll};
use crate::platform::polls::{Answer, Wants};
use crate::platform::record::Change;

/// A platform whose clock the test moves, with one worker whose process only waits.
struct Played {
    fixture: Fixture,
    clock: Arc<ManualClock>,
}

impl Played {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let options = PlatformOptions { clock: Arc::clone(&clock) as Arc<dyn clock::Clock>, ..options() };
        let fixture = Fixture::with(options, vec![with_workers(script("e", "exec sleep 1000"), 1, 1)]);
        fixture.platform.listens_at("http://127.0.0.1:9");
        Self { fixture, clock }
    }

    fn endpoint(&self) -> Arc<Supervisor> {
        self.fixture.platform.endpoint("e").unwrap()
    }

    fn poll(&self, wants: Wants) -> Poll {
        self.endpoint().open_poll(1, wants, false).unwrap()
    }

    async fn submit(&self) -> String {
        self.fixture.submit("e", "", Value::Null).await
    }

    async fn status(&self, job: &str) -> JobView {
        self.fixture.platform.status("e", job).await.unwrap()
    }

    fn end(&self, job: &str, stop_pod: bool) -> bool {
        let change = Change::Completed(Bytes::from_static(b"1"));
        self.endpoint().job_news(1, job, News::End(change, stop_pod)).is_ok()
    }
}

async fn taken(poll: &mut Poll) -> Vec<String> {
    match poll.answered().await {
        Answer::Jobs(jobs) => jobs.into_iter().map(|job| job.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_has_the_oldest_jobs_and_no_more_than_asked() {
    let played = Played::new();
    let jobs = [played.submit().await, played.submit().await, played.submit().await];
    let mut poll = played.poll(Wants::Jobs(2));
    assert_eq!(taken(&mut poll).await, jobs[..2]);
    assert_eq!(played.status(&jobs[2]).await.status, JobStatus::InQueue);
    assert!(played.end(&jobs[0], false));
    assert!(!played.end(&jobs[0], false), "a second result was taken");
    assert!(!played.end(&jobs[2], false), "a result for a job that it never had was taken");
    assert_eq!(played.status(&jobs[2]).await.status, JobStatus::InQueue);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_whose_poll_went_away_goes_to_the_next_uncounted() {
    let played = Played::new();
    drop(played.poll(Wants::Jobs(1)));
    let poll = played.poll(Wants::Jobs(1));
    let job = played.submit().await;
    assert_eq!(played.status(&job).await.status, JobStatus::InProgress);
    // The answer was never read.
    drop(poll);
    let view = played.status(&job).await;
    assert_eq!((view.status, view.retries, view.worker), (JobStatus::InQueue, 0, None));
    assert_eq!(taken(&mut played.poll(Wants::Jobs(1))).await, [job]);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_no_ping_lists_runs_again_once_and_then_fails() {
    let played = Played::new();
    let job = played.submit().await;
    for retries in [1, 1] {
        assert_eq!(taken(&mut played.poll(Wants::Jobs(1))).await, std::slice::from_ref(&job));
        for _ in 0..3 {
            played.clock.advance(Duration::from_secs(10));
            played.endpoint().ping(1, &[&job]);
        }
        for _ in 0..4 {
            played.clock.advance(Duration::from_secs(10));
            played.endpoint().ping(1, &[""]);
        }
        assert_eq!(played.status(&job).await.retries, retries);
        assert!(!played.end(&job, false), "a lost job was ended by the worker that lost it");
    }
    let view = played.status(&job).await;
    assert_eq!(view.status, JobStatus::Failed);
    assert_eq!(view.error.unwrap().message, "job timed out after 1 retries");
    assert_eq!(played.fixture.platform.health("e").await.unwrap().retried, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_job_is_told_to_its_worker_once() {
    let played = Played::new();
    let job = played.submit().await;
    assert_eq!(taken(&mut played.poll(Wants::Jobs(1))).await, std::slice::from_ref(&job));
    let mut stops = played.poll(Wants::Stops);
    let view = played.fixture.platform.cancel("e", &job).await.unwrap();
    assert_eq!(view.status, JobStatus::Cancelled);
    assert!(matches!(stops.answered().await, Answer::Stops(jobs) if jobs == std::slice::from_ref(&job)));
    let mut again = played.poll(Wants::Stops);
    assert!(matches!(again.give_up(), Answer::Nothing));
    assert!(!played.end(&job, false));
    assert_eq!(played.status(&job).await.status, JobStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_wants_to_be_replaced_gets_nothing_more() {
    let played = Played::new();
    let job = played.submit().await;
    assert_eq!(taken(&mut played.poll(Wants::Jobs(1))).await, std::slice::from_ref(&job));
    assert!(played.end(&job, true));
    let later = played.submit().await;
    if let Some(mut poll) = played.endpoint().open_poll(1, Wants::Jobs(1), false) {
        assert!(matches!(poll.give_up(), Answer::Nothing));
    }
    assert_eq!(played.status(&later).await.status, JobStatus::InQueue);
    played.fixture.log.until_event("end of the first", is_stopped).await;
}
