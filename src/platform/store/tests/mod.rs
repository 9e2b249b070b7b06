//! Tests of the stores: both do the same, and the durable one survives.

mod folder;
mod full;
mod killed;
mod many;
mod measure;
mod same;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::endpoint::JobStatus;
use crate::platform::record::new_id;
use crate::platform::store::folder::open;
use crate::wire::backend::JobRequest;

fn request(input: &str) -> JobRequest {
    JobRequest {
        callable: String::new(),
        input: Bytes::copy_from_slice(input.as_bytes()),
        sync: false,
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        s3_config: None,
    }
}

fn record(id: &str, request: JobRequest, now: Moment) -> JobRecord {
    JobRecord::new(id.to_owned(), "f".to_owned(), request, now)
}

/// Accepts many jobs of `f`, `at_once` in parallel.
async fn accept_many(store: &Arc<SqliteStore>, request: &JobRequest, count: usize, at_once: usize) {
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (store, request) = (Arc::clone(store), request.clone());
            tokio::spawn(async move {
                for _ in 0..count / at_once {
                    let job = record(&new_id(false), request.clone(), seconds(5));
                    store.accept(job).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Forgets all jobs whose time has come; returns how many and the longest of the single calls.
async fn expire_all(store: &SqliteStore, now: Moment) -> (usize, Duration) {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while store.next_expiry("f").is_some_and(|moment| moment <= now) {
        let start = Instant::now();
        let gone = store.expire("f", now).unwrap().len();
        longest = longest.max(start.elapsed());
        count += gone;
        if gone == 0 {
            store.settled().await;
        }
    }
    (count, longest)
}

fn started() -> Change {
    Change::Started { worker: "w1".to_owned() }
}

fn seconds(count: u64) -> Moment {
    Duration::from_secs(count)
}
