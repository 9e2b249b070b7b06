//! A platform with a state folder that ends and starts again.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::platform::store::{self, JobStore, StateFolder};

fn with_state(folder: &Path, specs: Vec<EndpointSpec>) -> (Fixture, StateFolder) {
    let state = store::open(folder).unwrap();
    let store = Arc::clone(&state.store) as Arc<dyn JobStore>;
    (Fixture::with(PlatformOptions { store, ..options() }, specs), state)
}

/// Ends both, as the end of a server does.
async fn close(fixture: Fixture, state: StateFolder) {
    fixture.platform.shutdown(Duration::ZERO).await;
    drop(fixture);
    state.store.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_jobs_are_run_by_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let (fixture, state) = with_state(folder.path(), vec![with_workers(spec("f"), 0, 0)]);
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push(fixture.submit("f", "echo", json!(number)).await);
    }
    close(fixture, state).await;

    let (fixture, state) = with_state(folder.path(), vec![spec("f")]);
    for (number, id) in jobs.iter().enumerate() {
        let done = fixture.finished("f", id).await;
        assert_eq!(text(done.output.as_ref()), number.to_string());
        assert_eq!(done.retries, 0);
    }
    assert_eq!(fixture.platform.health("f").await.unwrap().completed, 20);
    close(fixture, state).await;

    let (fixture, state) = with_state(folder.path(), vec![spec("f")]);
    assert_eq!(fixture.platform.health("f").await.unwrap().completed, 20);
    assert_eq!(text(fixture.platform.status("f", &jobs[7]).await.unwrap().output.as_ref()), "7");
    close(fixture, state).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_runs_at_a_shutdown_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let once = json!(folder.path().join("died"));
    let (fixture, state) = with_state(folder.path(), vec![spec("f")]);
    let hanging = fixture.submit("f", "hang", once).await;
    fixture.started("f", &hanging).await;
    let behind = fixture.submit("f", "echo", json!(1)).await;
    close(fixture, state).await;

    let (fixture, state) = with_state(folder.path(), vec![with_workers(spec("f"), 0, 0)]);
    let health = fixture.platform.health("f").await.unwrap();
    assert_eq!((health.in_queue, health.retried), (2, 1));
    let view = fixture.platform.status("f", &hanging).await.unwrap();
    assert_eq!((view.status, view.retries), (JobStatus::InQueue, 1));
    assert_eq!(fixture.platform.cancel("f", &hanging).await.unwrap().status, JobStatus::Cancelled);
    fixture.platform.apply(vec![spec("f")]);
    assert_eq!(fixture.finished("f", &behind).await.status, JobStatus::Completed);
    close(fixture, state).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_with_a_store_on_disk_runs_and_purges_more_jobs_than_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (fixture, state) = with_state(folder.path(), vec![with_workers(spec("f"), 0, 0)]);
    let mut submitting = Vec::new();
    for number in 0..1500 {
        let platform = Arc::clone(&fixture.platform);
        submitting.push(tokio::spawn(async move {
            platform.submit("f", job("echo", &json!(number))).await.unwrap().id
        }));
    }
    let mut jobs = Vec::new();
    for submitted in submitting {
        jobs.push(submitted.await.unwrap());
    }
    assert_eq!(fixture.platform.health("f").await.unwrap().in_queue, 1500);
    fixture.platform.apply(vec![with_workers(with_concurrency(spec("f"), 32), 0, 1)]);
    for id in &jobs {
        assert_eq!(fixture.finished("f", id).await.status, JobStatus::Completed);
    }
    assert_eq!(fixture.platform.purge("f").await, Some(0));
    close(fixture, state).await;
}
