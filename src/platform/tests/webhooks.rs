//! Webhooks, posted to a real HTTP server while the clock stands still.

use std::collections::VecDeque;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::http::Server;
use super::*;
use crate::platform::clock::{Clock, Moment};
use crate::platform::store::{JobStore, MemoryStore};

struct Post {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// A server that answers with these statuses, then with 200.
struct Receiver {
    url: String,
    posts: mpsc::UnboundedReceiver<Post>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    async fn new(answers: impl IntoIterator<Item = u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Mutex<VecDeque<u16>> = Mutex::new(answers.into_iter().collect());
        let (sender, posts) = mpsc::unbounded_channel();
        let state = Arc::new((answers, sender));
        let receive = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let state = Arc::clone(&state);
            async move {
                let answer = state.0.lock().unwrap().pop_front().unwrap_or(200);
                state.1.send(Post { uri, headers, body }).unwrap();
                match answer {
                    0 => std::future::pending::<Response>().await,
                    302 => Redirect::to("/elsewhere").into_response(),
                    status => StatusCode::from_u16(status).unwrap().into_response(),
                }
            }
        };
        let router = Router::new().fallback(receive);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, posts, serving }
    }

    async fn next(&mut self) -> Post {
        tokio::time::timeout(PATIENCE, self.posts.recv()).await.unwrap().unwrap()
    }

    /// Whether nothing has come; true only once the deliverer had every chance.
    async fn is_quiet(&mut self) -> bool {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        self.posts.try_recv().is_err()
    }
}

fn echo() -> EndpointSpec {
    let mut endpoint = spec("q");
    flash(&mut endpoint).load.callables = vec!["echo".to_owned()];
    endpoint
}

struct World {
    server: Server,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl World {
    async fn new() -> Self {
        Self::with(Arc::new(MemoryStore::default()), Arc::new(ManualClock::new())).await
    }

    async fn with(store: Arc<MemoryStore>, clock: Arc<ManualClock>) -> Self {
        let options =
            PlatformOptions { store: Arc::clone(&store) as _, clock: Arc::clone(&clock) as _, ..options() };
        let specs = vec![echo(), with_workers(spec("none"), 0, 0)];
        let server = Server::new(Fixture::with(options, specs)).await;
        Self { server, store, clock }
    }

    /// Runs a job with a webhook and returns its status object.
    async fn run(&self, webhook: &str) -> Value {
        let body = json!({"input": {"a": 1}, "webhook": webhook}).to_string();
        self.server.send("POST", "/v2/q/runsync", body.as_bytes()).await.1
    }

    /// Waits until the outcome of an attempt is noted, then returns when the next one is due.
    async fn noted(&self, before: Option<Moment>) -> Option<Moment> {
        let waiting = async {
            loop {
                let due = self.store.next_delivery();
                if due != before {
                    return due;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap()
    }
}

#[tokio::test]
async fn webhook_gets_the_status_object_once() {
    let world = World::new().await;
    let mut receiver = Receiver::new([]).await;
    let job = world.run(&format!("{}/hook?secret=1", receiver.url)).await;
    let post = receiver.next().await;
    let id = job["id"].as_str().unwrap();
    let (head, status) = world.server.exchange("GET", &format!("/v2/q/status/{id}"), "", b"").await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert_eq!(post.body, status.as_bytes());
    assert_eq!(post.uri, "/hook?secret=1");
    assert_eq!(post.headers["content-type"], "application/json");
    assert_eq!(post.headers["x-request-id"], id);
    assert!(!post.headers["idempotency-key"].is_empty());
    assert_eq!(world.noted(Some(world.clock.now())).await, None);
    world.clock.advance(Duration::from_mins(1));
    assert!(receiver.is_quiet().await);
}

#[tokio::test]
async fn webhook_that_fails_is_tried_three_times_ten_seconds_apart() {
    for status in [500, 302, 201] {
        let world = World::new().await;
        let mut receiver = Receiver::new([status; 5]).await;
        world.run(&receiver.url).await;
        let first = receiver.next().await;
        let mut due = Some(world.clock.now());
        for _ in 0..2 {
            let next = world.noted(due).await;
            assert_eq!(next, Some(world.clock.now() + Duration::from_secs(10)));
            due = next;
            world.clock.advance(Duration::from_millis(9999));
            assert!(receiver.is_quiet().await);
            world.clock.advance(Duration::from_millis(1));
            let again = receiver.next().await;
            assert_eq!((&again.body, again.uri), (&first.body, Uri::from_static("/")));
            assert_eq!(again.headers["idempotency-key"], first.headers["idempotency-key"]);
        }
        assert_eq!(world.noted(due).await, None);
        world.clock.advance(Duration::from_mins(1));
        assert!(receiver.is_quiet().await);
    }
}

#[tokio::test]
async fn webhook_that_recovers_is_not_called_again() {
    let world = World::new().await;
    let mut receiver = Receiver::new([503]).await;
    world.run(&receiver.url).await;
    receiver.next().await;
    world.noted(Some(world.clock.now())).await;
    world.clock.advance(Duration::from_secs(10));
    receiver.next().await;
    assert_eq!(world.noted(Some(world.clock.now())).await, None);
    assert!(receiver.is_quiet().await);
}

#[tokio::test]
async fn webhook_that_hangs_or_is_not_there_holds_up_nobody() {
    let world = World::new().await;
    let mut hanging = Receiver::new([0; 3]).await;
    world.run(&hanging.url).await;
    hanging.next().await;
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.run(&format!("http://{nowhere}/")).await;
    let mut receiver = Receiver::new([]).await;
    world.run(&receiver.url).await;
    receiver.next().await;
    // Given up after 30 seconds, and tried again at once: ten seconds are long over.
    world.clock.advance(Duration::from_secs(30));
    hanging.next().await;
}

#[tokio::test]
async fn webhook_of_a_cancelled_job_is_called() {
    let world = World::new().await;
    let mut receiver = Receiver::new([]).await;
    let body = json!({"input": 1, "webhookV2": receiver.url}).to_string();
    let (_, job) = world.server.send("POST", "/v2/none/run", body.as_bytes()).await;
    let path = format!("/v2/none/cancel/{}", job["id"].as_str().unwrap());
    world.server.send("POST", &path, b"").await;
    let body: Value = serde_json::from_slice(&receiver.next().await.body).unwrap();
    assert_eq!(
        body,
        json!({"id": job["id"], "status": "CANCELLED", "delayTime": 0, "executionTime": 0, "workerId": ""})
    );
}

#[tokio::test]
async fn webhook_is_delivered_after_a_restart_with_the_same_id() {
    let (store, clock) = (Arc::new(MemoryStore::default()), Arc::new(ManualClock::new()));
    let mut receiver = Receiver::new([500]).await;
    let world = World::with(Arc::clone(&store), Arc::clone(&clock)).await;
    world.run(&receiver.url).await;
    let first = receiver.next().await;
    world.noted(Some(clock.now())).await;
    drop(world);
    clock.advance(Duration::from_hours(1));
    let world = World::with(store, clock).await;
    let again = receiver.next().await;
    assert_eq!(again.headers["idempotency-key"], first.headers["idempotency-key"]);
    assert_eq!(again.body, first.body);
    drop(world);
}

#[tokio::test]
async fn webhook_over_https_starts_with_a_handshake() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.run(&format!("https://{}/", listener.local_addr().unwrap())).await;
    let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap();
    let mut first = [0];
    accepted.unwrap().0.read_exact(&mut first).await.unwrap();
    assert_eq!(first, [0x16]);
}

#[tokio::test]
async fn many_webhooks_are_all_delivered_some_at_a_time() {
    let world = World::new().await;
    let mut receiver = Receiver::new([]).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let body = json!({"input": 1, "webhook": receiver.url}).to_string();
        let (_, job) = world.server.send("POST", "/v2/none/run", body.as_bytes()).await;
        ids.insert(job["id"].as_str().unwrap().to_owned());
    }
    assert!(receiver.is_quiet().await);
    world.server.send("POST", "/v2/none/purge-queue", b"").await;
    for _ in 0..100 {
        let post = receiver.next().await;
        assert!(ids.remove(post.headers["x-request-id"].to_str().unwrap()));
    }
}
