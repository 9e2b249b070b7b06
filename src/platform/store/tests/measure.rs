//! Figures: `cargo test --no-default-features measure_store -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "the output of a measurement")]

use super::*;
use crate::platform::queue::{Queue, Work, WorkKind};

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

async fn accept(store: &Arc<SqliteStore>, count: usize, at_once: usize) -> f64 {
    let start = Instant::now();
    accept_many(store, &request("{\"prompt\": \"hello\"}"), count, at_once).await;
    rate(count, start)
}

/// Accepts, takes from the queue's head, starts and completes; `at_once` in parallel.
async fn cycle(store: &Arc<SqliteStore>, count: usize, at_once: usize) -> f64 {
    let queue = Queue::new("f".to_owned(), Arc::clone(store) as Arc<dyn JobStore>);
    let queue = Arc::new(std::sync::Mutex::new(queue));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let (store, queue) = (Arc::clone(store), Arc::clone(&queue));
        tasks.push(tokio::spawn(async move {
            for _ in 0..count / at_once {
                let id = new_id(false);
                store.accept(record(&id, request("1"), seconds(5))).await.unwrap();
                let id = {
                    let mut queue = queue.lock().unwrap();
                    let (key, since) = (queue.take_key(), seconds(5));
                    queue.push_back(Work { key, since, kind: WorkKind::Job { id, low_priority: false } });
                    let work = queue.pop_front().unwrap();
                    let WorkKind::Job { id, .. } = work.kind else { panic!() };
                    assert!(store.get("f", &id).unwrap().is_some());
                    store.change("f", &id, started(), seconds(6)).unwrap();
                    id
                };
                store.change("f", &id, Change::Completed(Bytes::from_static(b"2")), seconds(7)).unwrap();
                store.settled().await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    rate(count, start)
}

/// Some rounds, since what the disk still writes of the last step slows the first.
async fn cycles(store: &Arc<SqliteStore>, queued: &str) {
    let mut rates = Vec::new();
    for _ in 0..6 {
        rates.push(format!("{:.0}", cycle(store, 6400, 64).await));
    }
    println!("cycles per second, {queued} queued: {}; {} MiB", rates.join(", "), resident());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_store() {
    let place = std::env::var("FLASH_MEASURE_IN").unwrap_or_else(|_| "target".to_owned());
    let folder = tempfile::tempdir_in(place).unwrap();
    let store = open(folder.path()).unwrap().store;
    println!("accepts per second, 1 at a time: {:.0}", accept(&store, 500, 1).await);
    println!("accepts per second, 64 at a time: {:.0}", accept(&store, 6400, 64).await);
    store.end_waiting("f", &Change::Cancelled, seconds(9)).unwrap();
    accept(&store, 1000, 64).await;
    cycles(&store, "1,000").await;
    let start = Instant::now();
    accept(&store, 1_000_000, 500).await;
    println!("1,000,000 more queued in {:?}; {} MiB", start.elapsed(), resident());
    cycles(&store, "1,000,000").await;
    drop(store);
    let start = Instant::now();
    let store = open(folder.path()).unwrap().store;
    let queue = Queue::new("f".to_owned(), Arc::clone(&store) as Arc<dyn JobStore>);
    println!("opened with {} queued in {:?}; {} MiB", queue.len(), start.elapsed(), resident());
    let start = Instant::now();
    store.end_waiting("f", &Change::Cancelled, seconds(9)).unwrap();
    store.settled().await;
    println!("purged in {:?}", start.elapsed());
    drop((queue, store));
    let size = || std::fs::metadata(folder.path().join("platform.sqlite3")).unwrap().len() >> 20;
    println!("file: {} MiB", size());
    let store = open(folder.path()).unwrap().store;
    let start = Instant::now();
    let (count, longest) = expire_all(&store, seconds(100_000)).await;
    println!("{count} forgotten in {:?}, the longest call {longest:?}; {} MiB", start.elapsed(), resident());
    drop(store);
    println!("file: {} MiB", size());
}
