//! Many jobs at once: what is asked of the store stays short, and what they took is given back.

use super::*;
use crate::platform::record::RETENTION;

#[tokio::test(flavor = "multi_thread")]
async fn file_shrinks_when_many_jobs_were_purged_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let size = || std::fs::metadata(folder.path().join("platform.sqlite3")).unwrap().len();
    let store = open(folder.path()).unwrap().store;
    accept_many(&store, &request(&format!("\"{}\"", "x".repeat(2000))), 10_000, 500).await;
    assert_eq!(store.end_waiting("f", &Change::Cancelled, seconds(9)).unwrap(), 10_000);
    store.close();
    drop(store);
    let full = size();
    assert!(full > 20_000_000, "{full}");

    let store = open(folder.path()).unwrap().store;
    assert_eq!(expire_all(&store, seconds(9)).await.0, 0);
    assert_eq!(expire_all(&store, seconds(9) + RETENTION).await.0, 10_000);
    store.close();
    assert!(size() < full / 4, "{} of {full}", size());
    assert!(store.recent("f", 1).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_end_their_time_at_once_are_forgotten_some_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap().store;
    let request = JobRequest { ttl: Some(seconds(60)), ..request("1") };
    accept_many(&store, &request, 5000, 500).await;
    let late = seconds(66);
    let mut pieces = Vec::new();
    while store.next_expiry("f").is_some_and(|moment| moment <= late) {
        pieces.push(store.expire("f", late).unwrap().len());
        let waiting = store.waiting("f", 10).unwrap().len();
        assert_eq!(waiting, store.depth("f").all.min(10));
        assert_eq!(store.depth("f").all, 5000 - pieces.iter().sum::<usize>());
    }
    assert!(pieces.iter().all(|piece| *piece <= EXPIRED), "{pieces:?}");
    assert_eq!(pieces.iter().sum::<usize>(), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_at_the_head_of_a_long_queue_keep_their_inputs_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap().store;
    accept_many(&store, &request("{\"n\": 1}"), 3000, 500).await;
    let mut seen = 0;
    loop {
        let window = store.waiting("f", 1000).unwrap();
        if window.is_empty() {
            break;
        }
        for job in &window {
            assert!(store.is_in_memory(&job.id), "{} after {seen}", job.id);
            assert_eq!(store.get("f", &job.id).unwrap().unwrap().request.input, "{\"n\": 1}");
            store.change("f", &job.id, started(), seconds(6)).unwrap();
            store.change("f", &job.id, Change::Completed(Bytes::new()), seconds(7)).unwrap();
            seen += 1;
        }
        store.settled().await;
    }
    assert_eq!((seen, store.depth("f").all), (3000, 0));
}
