//! A backend that answers from a table, a project built by hand, and a client.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::dev::app::App;
use crate::dev::console::{Console, Terminal};
use crate::dev::describe::{Describe, Descriptions};
use crate::endpoint::JobStatus;
use crate::project::Project;
use crate::server::guard::Guard;
use crate::server::listen;
use crate::wire::backend::{Call, Health, HttpReply, HttpRequest, JobRequest, JobView, Reply};
use crate::wire::message::{ErrorReport, Failure, HttpStartHead, ReadyHead};
use crate::wire::{Backend, BoxFuture};

/// Echoes jobs and requests; a few inputs make it fail.
#[derive(Default)]
pub(in crate::dev) struct FakeBackend {
    jobs: Mutex<BTreeMap<String, JobView>>,
    /// Told when the receiver of a stream went away.
    pub(in crate::dev) gone: Mutex<Option<oneshot::Sender<()>>>,
}

fn view(id: &str, status: JobStatus) -> JobView {
    JobView {
        id: id.to_owned(),
        status,
        delay_ms: Some(0),
        execution_ms: None,
        worker: None,
        output: None,
        error: None,
        retries: 0,
        waiting_for: None,
    }
}

fn boom() -> ErrorReport {
    let mut report = ErrorReport::new(Failure::Raised, "ValueError", "boom");
    report.traceback =
        "Traceback (most recent call last):\n  File \"app.py\", line 3\nValueError: boom".to_owned();
    report
}

impl Backend for FakeBackend {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Reply, ErrorReport>> {
        Box::pin(async { Err(ErrorReport::new(Failure::Internal, "RuntimeError", "not a test of calls")) })
    }

    fn request<'a>(
        &'a self,
        endpoint: &'a str,
        request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpReply, ErrorReport>> {
        Box::pin(async move {
            if request.head.path == "/boom" {
                return Err(boom());
            }
            let (send, body) = mpsc::channel(1);
            if request.head.path == "/endless" {
                let gone = self.gone.lock().expect("lock").take();
                tokio::spawn(async move {
                    while send.send(Ok(Bytes::from_static(b"tick\n"))).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    if let Some(gone) = gone {
                        let _ = gone.send(());
                    }
                });
            } else {
                let headers: BTreeMap<&str, &str> = request
                    .head
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap_or("?")))
                    .collect();
                let echo = json!({
                    "endpoint": endpoint,
                    "method": request.head.method,
                    "path": request.head.path,
                    "query": request.head.query,
                    "root_path": request.head.root_path,
                    "body": String::from_utf8_lossy(&request.body),
                    "content_type": headers.get("content-type"),
                });
                send.send(Ok(Bytes::from(echo.to_string()))).await.expect("room for one");
            }
            let headers = vec![(ByteBuf::from(*b"content-type"), ByteBuf::from(*b"application/json"))];
            Ok(HttpReply { start: HttpStartHead { status: 201, headers }, body, worker: "w1".to_owned() })
        })
    }

    fn submit<'a>(
        &'a self,
        endpoint: &'a str,
        job: JobRequest,
    ) -> BoxFuture<'a, Result<JobView, ErrorReport>> {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&job.input).into_owned();
            let mut done = view("sync-1", JobStatus::Completed);
            if text.contains("raise") {
                done.status = JobStatus::Failed;
                done.error = Some(boom());
            } else if text.contains("wrong") {
                done.status = JobStatus::Failed;
                let mut report = ErrorReport::new(Failure::InvalidInput, "ValidationError", "wrong");
                report.detail = Some(json!([{ "type": "missing", "loc": ["body", "input", "a"] }]));
                done.error = Some(report);
            } else if text.contains("refuse") {
                return Err(ErrorReport::new(
                    Failure::Environment,
                    "EnvironmentError",
                    "cannot install numpy",
                ));
            } else {
                let output = json!({ "endpoint": endpoint, "callable": job.callable, "input": text });
                done.output = Some(Bytes::from(output.to_string()));
            }
            self.jobs.lock().expect("lock").insert("sync-1".to_owned(), done);
            Ok(view("sync-1", JobStatus::InQueue))
        })
    }

    fn wait<'a>(
        &'a self,
        _endpoint: &'a str,
        job: &'a str,
        _wait: Duration,
    ) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move { self.jobs.lock().expect("lock").get(job).cloned() })
    }

    fn status<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        self.wait(endpoint, job, Duration::ZERO)
    }

    fn cancel<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        self.wait(endpoint, job, Duration::ZERO)
    }

    fn retry<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Option<JobView>, ErrorReport>> {
        Box::pin(async move { Ok(self.wait(endpoint, job, Duration::ZERO).await) })
    }

    fn purge<'a>(&'a self, _endpoint: &'a str) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async { Some(0) })
    }

    fn recent<'a>(&'a self, _endpoint: &'a str, limit: usize) -> BoxFuture<'a, Option<Vec<JobView>>> {
        Box::pin(async move { Some(self.jobs.lock().expect("lock").values().take(limit).cloned().collect()) })
    }

    fn stream<'a>(
        &'a self,
        _endpoint: &'a str,
        _job: &'a str,
        _wait: Duration,
    ) -> BoxFuture<'a, Option<(JobView, Vec<Bytes>)>> {
        Box::pin(async { None })
    }

    fn health<'a>(&'a self, _endpoint: &'a str) -> BoxFuture<'a, Option<Health>> {
        Box::pin(async { None })
    }
}

/// Workers that describe themselves once they are asked for.
pub(in crate::dev) struct Workers {
    ready: Vec<(&'static str, Arc<ReadyHead>)>,
    awake: Mutex<Vec<String>>,
    changes: watch::Sender<u64>,
}

impl Workers {
    /// Descriptions by endpoint; those in `awake` are there from the start.
    pub(in crate::dev) fn new(ready: Vec<(&'static str, ReadyHead)>, awake: &[&str]) -> Arc<Self> {
        let ready = ready.into_iter().map(|(name, head)| (name, Arc::new(head))).collect();
        let awake = Mutex::new(awake.iter().map(|name| (*name).to_owned()).collect());
        Arc::new(Self { ready, awake, changes: watch::Sender::new(0) })
    }
}

impl Describe for Workers {
    fn get(&self, endpoint: &str) -> Option<Arc<ReadyHead>> {
        let is_awake = self.awake.lock().expect("lock").iter().any(|name| name == endpoint);
        let known = self.ready.iter().find(|(name, _)| *name == endpoint && is_awake);
        known.map(|(_, head)| Arc::clone(head))
    }

    fn warm(&self, endpoint: &str) {
        self.awake.lock().expect("lock").push(endpoint.to_owned());
        self.changes.send_modify(|count| *count += 1);
    }
}

/// A terminal that keeps its lines.
#[derive(Clone, Default)]
pub(in crate::dev) struct Lines(pub(super) Arc<Mutex<Vec<String>>>);

impl Terminal for Lines {
    fn line(&self, text: &str) {
        self.0.lock().expect("lock").push(text.to_owned());
    }

    fn has_color(&self) -> bool {
        false
    }
}

/// A running server.
pub(in crate::dev) struct Server {
    pub(in crate::dev) app: Arc<App>,
    pub(in crate::dev) backend: Arc<FakeBackend>,
    pub(in crate::dev) lines: Lines,
    pub(in crate::dev) port: u16,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts a server for `project`.
pub(in crate::dev) async fn start(project: Project, source: Arc<Workers>) -> Server {
    let backend = Arc::new(FakeBackend::default());
    let lines = Lines::default();
    let console = Arc::new(Console::new(Box::new(lines.clone())));
    let platform =
        Router::new().route("/v2/{endpoint}/health", axum::routing::get(|| async { "from the platform" }));
    let app = Arc::new(App::new(
        Arc::clone(&backend) as Arc<dyn Backend>,
        platform,
        Descriptions::new(Arc::clone(&source) as Arc<dyn Describe>, source.changes.subscribe()),
        Guard::default(),
        console,
        Arc::new(project),
    ));
    let listeners = listen::bind("127.0.0.1", 0).await.expect("bind");
    let port = listeners.port;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(listen::serve(listeners, Arc::clone(&app) as _, stopped));
    Server { app, backend, lines, port, stop, task }
}

/// An answer as read.
#[derive(Debug)]
pub(in crate::dev) struct Answer {
    pub(in crate::dev) status: u16,
    pub(in crate::dev) head: String,
    pub(in crate::dev) body: Vec<u8>,
}

impl Answer {
    pub(in crate::dev) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(in crate::dev) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Server {
    pub(in crate::dev) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(in crate::dev) async fn post(&self, path: &str, body: &str) -> Answer {
        // What curl sends with `-d` and no header.
        self.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], body).await
    }

    pub(in crate::dev) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = self.open(method, path, headers, body).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("read");
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, body: bytes[end..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = dechunk(&answer.body);
        }
        answer
    }

    /// Sends a request and leaves the answer to be read.
    pub(in crate::dev) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connect");
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("write");
        stream
    }

    pub(in crate::dev) async fn stop(self) {
        self.stop.send(true).expect("server");
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("drained").expect("no panic");
    }
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).expect("size"), 16).expect("hex");
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}
