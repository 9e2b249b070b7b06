//! Load-balanced endpoints, and the client API over real HTTP.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::wire::message::HttpHead;

fn balanced(name: &str) -> EndpointSpec {
    EndpointSpec { kind: EndpointKind::LoadBalanced, scaling: Scaling::RequestCount(4), ..spec(name) }
}

fn request(path: &str, body: &'static [u8]) -> HttpRequest {
    HttpRequest {
        head: HttpHead {
            method: "POST".to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: Vec::new(),
            root_path: String::new(),
            client: None,
        },
        body: Bytes::from_static(body),
    }
}

#[tokio::test]
async fn request_is_answered_with_status_headers_body_and_worker() {
    let fixture = Fixture::new(vec![balanced("lb")]);
    let mut reply = fixture.platform.request("lb", request("/x", b"body")).await.unwrap();
    assert_eq!(reply.start.status, 201);
    let header = |name: &[u8]| {
        reply
            .start
            .headers
            .iter()
            .find(|(known, _)| known.as_slice() == name)
            .map(|(_, value)| value.to_vec())
    };
    assert_eq!(header(b"x-path").unwrap(), b"/x");
    assert_eq!(header(b"x-runpod-worker-id").unwrap(), reply.worker.as_bytes());
    assert_eq!(reply.body.recv().await.unwrap().unwrap(), "body");
    assert!(reply.body.recv().await.is_none());
}

#[tokio::test]
async fn request_that_raises_gives_the_report() {
    let fixture = Fixture::new(vec![balanced("lb")]);
    let report = fixture.platform.request("lb", request("/fail", b"")).await.unwrap_err();
    assert_eq!(report.message, "boom");
}

#[tokio::test]
async fn request_whose_worker_dies_while_it_answers_ends_with_an_error() {
    let fixture = Fixture::new(vec![balanced("lb")]);
    let mut reply = fixture.platform.request("lb", request("/kill", b"")).await.unwrap();
    assert_eq!(reply.body.recv().await.unwrap().unwrap(), "first");
    assert_eq!(reply.body.recv().await.unwrap().unwrap_err().failure, Failure::WorkerDied);
    assert!(reply.body.recv().await.is_none());
}

#[tokio::test]
async fn requests_in_flight_start_a_worker_for_every_scaler_value_up_to_the_maximum() {
    let fixture = Fixture::new(vec![with_workers(balanced("lb"), 0, 3)]);
    let mut open = Vec::new();
    for (in_flight, workers) in [(4, 1), (8, 2), (12, 3), (20, 3)] {
        while open.len() < in_flight {
            let mut reply = fixture.platform.request("lb", request("/endless", b"")).await.unwrap();
            reply.body.recv().await.unwrap().unwrap();
            open.push(reply);
        }
        fixture
            .log
            .until("workers", |events| events.iter().filter(|event| is_ready(event)).count() == workers)
            .await;
        let starting = |event: &Event| matches!(event, Event::WorkerStarting { .. });
        assert_eq!(fixture.log.count(starting), workers);
    }
}

#[tokio::test]
async fn request_that_streams_does_not_block_others_and_stops_when_dropped() {
    let fixture = Fixture::new(vec![balanced("lb")]);
    let mut endless = fixture.platform.request("lb", request("/endless", b"")).await.unwrap();
    endless.body.recv().await.unwrap().unwrap();
    let other = fixture.platform.request("lb", request("/x", b"")).await.unwrap();
    assert_eq!(other.worker, endless.worker);
    drop((endless, other));
    let idle = async {
        while fixture.platform.health("lb").await.unwrap().in_progress > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.unwrap();
    assert_eq!(fixture.log.count(is_ready), 1);
}

#[tokio::test]
async fn request_without_a_worker_gives_up_after_two_minutes() {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let fixture = Fixture::with(options, vec![with_workers(balanced("lb"), 0, 0)]);
    let held = fixture.platform.request("lb", request("/x", b""));
    let time = async { clock.advance(Duration::from_mins(2)) };
    let (report, ()) = tokio::join!(held, time);
    assert!(report.unwrap_err().message.contains("no workers available"));
}

#[tokio::test]
async fn endpoint_of_one_kind_refuses_what_the_other_takes() {
    let fixture = Fixture::new(vec![spec("q"), balanced("lb")]);
    assert_eq!(
        fixture.platform.request("q", request("/", b"")).await.unwrap_err().failure,
        Failure::NotFound
    );
    assert_eq!(
        fixture.platform.submit("lb", job("", &json!(1))).await.unwrap_err().failure,
        Failure::NotFound
    );
}

/// A server of the platform's routes.
pub(super) struct Server {
    pub(super) fixture: Fixture,
    pub(super) address: std::net::SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    pub(super) async fn new(fixture: Fixture) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = fixture.platform.router();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { fixture, address, serving }
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        self.send_with(method, path, "", body).await
    }

    /// Sends a request with further header lines, each ended by CRLF.
    pub(super) async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let (head, body) = self.exchange(method, path, headers, body).await;
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Sends a request without a body and leaves its answer to be read.
    pub(super) async fn open(&self, method: &str, path: &str) -> TcpStream {
        self.open_with(method, path, b"").await
    }

    /// Sends a request and leaves its answer to be read.
    pub(super) async fn open_with(&self, method: &str, path: &str, body: &[u8]) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body).await.unwrap();
        socket
    }

    /// Sends a request and returns the answer's head and body as text.
    pub(super) async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> (String, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\nconnection: close\r\n{headers}\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

async fn server() -> Server {
    let mut endpoint = spec("my endpoint");
    flash(&mut endpoint).load.callables = vec!["echo".to_owned()];
    let mut items = spec("items");
    flash(&mut items).load.callables = vec!["items".to_owned()];
    let mut failing = spec("raise");
    flash(&mut failing).load.callables = vec!["raise".to_owned()];
    let none = with_workers(spec("none"), 0, 0);
    Server::new(Fixture::new(vec![endpoint, items, failing, none, balanced("lb")])).await
}

#[tokio::test]
async fn runsync_answers_with_the_finished_job() {
    let server = server().await;
    let body = br#"{"input": {"a": 1}, "unknown": true}"#;
    let (status, job) = server.send("POST", "/v2/my%20endpoint/runsync?wait=90000", body).await;
    assert_eq!(status, 200);
    assert_eq!((&job["status"], &job["output"]), (&json!("COMPLETED"), &json!({"a": 1})));
    assert!(job["id"].as_str().unwrap().starts_with("sync-"));
    assert!(job["delayTime"].is_u64() && job["executionTime"].is_u64() && job["workerId"].is_string());
}

#[tokio::test]
async fn run_is_accepted_and_its_status_read_by_get_and_post() {
    let server = server().await;
    let (status, job) = server.send("POST", "/v2/my%20endpoint/run", br#"{"input": "x"}"#).await;
    assert_eq!((status, job.as_object().unwrap().len(), &job["status"]), (200, 2, &json!("IN_QUEUE")));
    let id = job["id"].as_str().unwrap().to_owned();
    let (_, waited) = server.send("GET", &format!("/v2/my%20endpoint/status-sync/{id}?wait=5000"), b"").await;
    assert_eq!(waited["status"], "COMPLETED");
    for method in ["GET", "POST"] {
        let (status, job) = server.send(method, &format!("/v2/my%20endpoint/status/{id}"), b"").await;
        assert_eq!((status, &job), (200, &waited));
    }
    assert_eq!(server.send("POST", &format!("/v2/my%20endpoint/cancel/{id}"), b"{}").await.1, waited);
}

#[tokio::test]
async fn failure_is_never_completed() {
    let server = server().await;
    let (status, job) = server.send("POST", "/v2/raise/runsync", br#"{"input": {}}"#).await;
    assert_eq!((status, &job["status"], &job["error"]), (200, &json!("FAILED"), &json!("ValueError: boom")));
    assert_eq!(job["output"]["error_type"], "ValueError");
    assert!(job["output"]["error_traceback"].as_str().unwrap().starts_with("Traceback"));
}

#[tokio::test]
async fn stream_drains_items_and_always_has_the_key() {
    let server = server().await;
    let (_, job) = server.send("POST", "/v2/items/run", br#"{"input": 3}"#).await;
    let path = format!("/v2/items/stream/{}", job["id"].as_str().unwrap());
    let mut items = Vec::new();
    loop {
        let (status, part) = server.send("GET", &path, b"").await;
        assert_eq!(status, 200);
        let stream = part["stream"].as_array().unwrap().clone();
        if stream.is_empty() && part["status"] == "COMPLETED" {
            break;
        }
        items.extend(stream);
    }
    assert_eq!(items, [json!({"output": 0}), json!({"output": 1}), json!({"output": 2})]);
}

#[tokio::test]
async fn cancel_of_a_waiting_job_and_health_count_it() {
    let server = server().await;
    let (_, job) = server.send("POST", "/v2/none/run", br#"{"input": 1}"#).await;
    assert_eq!(server.send("GET", "/v2/none/health", b"").await.1["jobs"]["inQueue"], 1);
    let (status, cancelled) =
        server.send("POST", &format!("/v2/none/cancel/{}", job["id"].as_str().unwrap()), b"").await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("CANCELLED")));
    let (_, health) = server.send("GET", "/v2/none/health", b"").await;
    let expected = json!({
        "jobs": {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0},
        "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0},
    });
    assert_eq!(health, expected);
}

#[tokio::test]
async fn failed_job_runs_again_and_others_do_not() {
    let server = server().await;
    let (_, job) = server.send("POST", "/v2/raise/runsync", br#"{"input": {}}"#).await;
    let id = job["id"].as_str().unwrap();
    let (status, again) = server.send("POST", &format!("/v2/raise/retry/{id}"), b"").await;
    assert_eq!((status, again), (200, json!({"id": id, "status": "IN_QUEUE"})));
    let (_, job) = server.send("GET", &format!("/v2/raise/status-sync/{id}"), b"").await;
    assert_eq!((&job["status"], &job["id"]), (&json!("FAILED"), &json!(id)));
    assert_eq!(server.fixture.platform.health("raise").await.unwrap().failed, 2);

    let (_, job) = server.send("POST", "/v2/my%20endpoint/runsync", br#"{"input": 1}"#).await;
    let path = format!("/v2/my%20endpoint/retry/{}", job["id"].as_str().unwrap());
    let (status, refused) = server.send("POST", &path, b"").await;
    let text = refused["error"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(text.starts_with("bad request: job `sync-") && text.contains("COMPLETED"), "{text}");
    assert_eq!(server.send("POST", "/v2/my%20endpoint/retry/nonsense", b"").await.0, 404);
}

#[tokio::test]
async fn purge_removes_what_waits_and_requests_lists_the_newest_first() {
    let server = server().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (_, job) = server.send("POST", "/v2/none/run", br#"{"input": 1}"#).await;
        ids.insert(0, job["id"].clone());
    }
    let (status, listed) = server.send("GET", "/v2/none/requests", b"").await;
    let listed = listed["requests"].as_array().unwrap();
    assert_eq!((status, listed.iter().map(|job| job["id"].clone()).collect::<Vec<_>>()), (200, ids.clone()));
    assert!(listed.iter().all(|job| job["status"] == "IN_QUEUE"), "{listed:?}");

    let (status, purged) = server.send("POST", "/v2/none/purge-queue", b"").await;
    assert_eq!((status, purged), (200, json!({"removed": 3, "status": "completed"})));
    assert_eq!(server.send("GET", "/v2/none/health", b"").await.1["jobs"]["inQueue"], 0);
    let path = format!("/v2/none/status/{}", ids[0].as_str().unwrap());
    assert_eq!(server.send("GET", &path, b"").await.1["status"], "CANCELLED");
    let (_, purged) = server.send("POST", "/v2/none/purge-queue", b"{}").await;
    assert_eq!(purged["removed"], 0);
}

#[tokio::test]
async fn metrics_name_the_workers_that_are_ready() {
    let server = server().await;
    let (_, metrics) = server.send("GET", "/v2/my%20endpoint/metrics", b"").await;
    assert_eq!(metrics["readyWorkers"], json!([]));
    let (_, job) = server.send("POST", "/v2/my%20endpoint/runsync", br#"{"input": 1}"#).await;
    let (status, metrics) = server.send("GET", "/v2/my%20endpoint/metrics", b"").await;
    assert_eq!(status, 200);
    assert_eq!(metrics["readyWorkers"], json!([job["workerId"]]));
    let counters = metrics["workers"].as_object().unwrap();
    assert_eq!((counters.len(), &metrics["workers"]["ready"]), (6, &json!(1)));
}

#[tokio::test]
async fn status_with_ttl_lets_the_job_vanish() {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let server = Server::new(Fixture::with(options, vec![with_workers(spec("none"), 0, 0)])).await;
    let (_, job) = server.send("POST", "/v2/none/run", br#"{"input": 1}"#).await;
    let path = format!("/v2/none/status/{}", job["id"].as_str().unwrap());
    assert_eq!(server.send("GET", &format!("{path}?ttl=6000"), b"").await.0, 200);
    clock.advance(Duration::from_millis(5999));
    assert_eq!(server.send("GET", &path, b"").await.0, 200);
    clock.advance(Duration::from_millis(1));
    let gone = async {
        while server.send("GET", &path, b"").await.0 != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn body_that_stops_coming_is_given_up() {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let server = Server::new(Fixture::with(options, vec![spec("q")])).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = b"POST /v2/q/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    socket.write_all(head).await.unwrap();
    let mut answer = String::new();
    let reading = socket.read_to_string(&mut answer);
    let time = async {
        loop {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
        }
    };
    tokio::select! {
        read = reading => drop(read.unwrap()),
        () = time => {}
    }
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.ends_with(r#"{"error":"bad request: body: it took too long to arrive"}"#), "{answer}");
}

#[tokio::test]
async fn request_that_is_wrong_is_refused_in_json() {
    let server = server().await;
    let deep = format!("{{\"input\": {}{}}}", "[".repeat(600), "]".repeat(600));
    let cases: [(&str, &str, &[u8], u16, &str); 17] = [
        ("POST", "/v2/my%20endpoint/run", b"{}", 400, "bad request: `input` is missing"),
        ("POST", "/v2/my%20endpoint/run", b"{", 400, "not valid JSON"),
        ("POST", "/v2/my%20endpoint/runsync?wait=soon", b"{\"input\":1}", 400, "`wait` must be"),
        ("POST", "/v2/my%20endpoint/runsync?wait=-1", b"{\"input\":1}", 400, "`wait` must be"),
        (
            "POST",
            "/v2/my%20endpoint/run",
            b"{\"input\":1,\"policy\":{\"ttl\":1}}",
            400,
            "`policy.ttl` must be",
        ),
        ("POST", "/v2/my%20endpoint/run", b"{\"input\":1,\"webhook\":\"x\"}", 400, "`webhook` must be"),
        ("POST", "/v2/my%20endpoint/run", deep.as_bytes(), 400, "nested more than 512 levels"),
        ("POST", "/v2/my%20endpoint/openai/v1/x", b"1},\"a\":{", 400, "not valid JSON"),
        ("POST", "/v2/my%20endpoint/cancel/nonsense", b"", 404, "job not found"),
        ("POST", "/v2/%ff/run", b"{\"input\":1}", 400, "the path is not UTF-8"),
        ("POST", "/v2/nobody", b"{\"input\":1}", 404, "there is no endpoint `nobody`"),
        ("POST", "/v2/nobody/run", b"{\"input\":1}", 404, "there is no endpoint `nobody`"),
        ("POST", "/v2/lb/run", b"{\"input\":1}", 404, "load-balanced"),
        ("GET", "/v2/my%20endpoint/status/nonsense", b"", 404, "job not found"),
        ("GET", "/v2/my%20endpoint/stream/nonsense", b"", 404, "job not found"),
        ("GET", "/v2/my%20endpoint/run", b"", 405, "method not allowed"),
        ("GET", "/v2/my%20endpoint/nothing", b"", 404, "has no `/nothing`"),
    ];
    for (method, path, body, expected, message) in cases {
        let (status, answer) = server.send(method, path, body).await;
        assert_eq!(status, expected, "{path}");
        assert!(answer["error"].as_str().unwrap().contains(message), "{answer}");
    }
}

#[tokio::test]
async fn body_that_is_too_large_is_refused_with_the_limit() {
    let server = server().await;
    let body = |mebibytes: usize| format!("{{\"input\": \"{}\"}}", "x".repeat(mebibytes << 20)).into_bytes();
    let (status, answer) = server.send("POST", "/v2/my%20endpoint/run", &body(10)).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("exceeded max body size of 10MiB"));
    let (status, job) = server.send("POST", "/v2/my%20endpoint/runsync", &body(15)).await;
    assert_eq!((status, &job["status"]), (200, &json!("COMPLETED")));
    assert_eq!(server.send("POST", "/v2/my%20endpoint/runsync", &body(20)).await.0, 400);
}

#[tokio::test]
async fn runsync_whose_wait_ends_says_how_far_the_job_is() {
    let server = server().await;
    let (status, job) = server.send("POST", "/v2/none/runsync?wait=5", br#"{"input": 1}"#).await;
    assert_eq!((status, &job["status"]), (200, &json!("IN_QUEUE")));
    assert!(job["waitingFor"].as_str().unwrap().contains("no workers"), "{job}");
    assert_eq!(server.fixture.platform.health("none").await.unwrap().in_queue, 1);
}
