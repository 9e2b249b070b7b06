//! Jobs that run again, queues that are purged, and what is still to be told to webhooks.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn failed_job_retried_runs_again_under_its_id() {
    let fixture = Fixture::new(vec![spec("f")]);
    let failed = fixture.run("f", "raise", json!("boom")).await;
    assert_eq!(failed.status, JobStatus::Failed);
    let again = fixture.platform.retry("f", &failed.id).await.unwrap().unwrap();
    assert!(!again.status.is_terminal(), "{again:?}");
    assert!(again.error.is_none() && again.output.is_none(), "{again:?}");
    assert_eq!(fixture.finished("f", &failed.id).await.status, JobStatus::Failed);
    assert_eq!(fixture.platform.health("f").await.unwrap().failed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_job_retried_is_invalid() {
    let fixture = Fixture::new(vec![spec("f")]);
    let done = fixture.run("f", "echo", json!(1)).await;
    let report = fixture.platform.retry("f", &done.id).await.unwrap_err();
    assert_eq!(report.failure, Failure::InvalidInput);
    assert!(report.message.contains("COMPLETED"), "{report:?}");
    assert_eq!(fixture.platform.status("f", &done.id).await.unwrap().status, JobStatus::Completed);
    assert!(fixture.platform.retry("f", "nothing").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_cancels_what_waits_and_wakes_who_waits_for_it() {
    let fixture = Fixture::new(vec![with_workers(spec("f"), 0, 0)]);
    let mut jobs = Vec::new();
    for number in 0..3 {
        jobs.push(fixture.submit("f", "echo", json!(number)).await);
    }
    let platform = Arc::clone(&fixture.platform);
    let first = jobs[0].clone();
    let waiting = tokio::spawn(async move { platform.wait("f", &first, PATIENCE).await });
    tokio::task::yield_now().await;
    assert_eq!(fixture.platform.purge("f").await, Some(3));
    assert_eq!(waiting.await.unwrap().unwrap().status, JobStatus::Cancelled);
    for job in &jobs {
        assert_eq!(fixture.platform.status("f", job).await.unwrap().status, JobStatus::Cancelled);
    }
    assert_eq!(fixture.platform.health("f").await.unwrap().in_queue, 0);
    assert_eq!(fixture.platform.purge("f").await, Some(0));
    assert_eq!(fixture.platform.purge("other").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn recent_jobs_are_the_newest_first() {
    let fixture = Fixture::new(vec![with_workers(spec("f"), 0, 0)]);
    let mut jobs = Vec::new();
    for number in 0..4 {
        jobs.push(fixture.submit("f", "echo", json!(number)).await);
    }
    let recent = fixture.platform.recent("f", 3).await.unwrap();
    let ids: Vec<&String> = recent.iter().map(|view| &view.id).collect();
    assert_eq!(ids, [&jobs[3], &jobs[2], &jobs[1]]);
    assert!(fixture.platform.recent("other", 3).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_job_with_webhook_is_to_be_delivered_once() {
    let fixture = Fixture::new(vec![spec("f")]);
    let store = Arc::clone(&fixture.platform.shared.options.store);
    let news = store.delivery_news();
    let request = JobRequest { webhook: Some("http://h/x".to_owned()), ..job("echo", &json!(1)) };
    let id = fixture.platform.submit("f", request).await.unwrap().id;
    fixture.finished("f", &id).await;
    assert!(news.has_changed().unwrap());
    let due = store.next_delivery().unwrap();
    let found = store.deliveries(due, 10).unwrap();
    assert_eq!((found.len(), &found[0].job, found[0].url.as_str()), (1, &id, "http://h/x"));
    let body: Value = serde_json::from_slice(&found[0].body).unwrap();
    assert_eq!((&body["id"], &body["status"]), (&json!(id), &json!("COMPLETED")));

    let later = due + Duration::from_secs(10);
    store.delivery_failed(&found[0].id, 1, later).unwrap();
    assert!(store.deliveries(due, 10).unwrap().is_empty());
    assert_eq!(store.next_delivery(), Some(later));
    let again = store.deliveries(later, 10).unwrap();
    assert_eq!((&again[0].id, again[0].attempts), (&found[0].id, 1));
    store.delivery_done(&found[0].id).unwrap();
    assert_eq!(store.next_delivery(), None);
}
