//! A server that does what a test says, good or bad, over real connections.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use crate::runpod::client::Client;
use crate::runpod::credentials::ApiKey;
use crate::runpod::job::EndpointRef;
use crate::runpod::retry::Timing;
use crate::runpod::urls::Urls;

/// What the server does with a request.
#[derive(Clone)]
pub(super) enum Act {
    /// Answers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Answers when the gate has a permit.
    AnswerAt(Arc<Semaphore>, String),
    /// Breaks the connection when the request has been read.
    Reset,
    /// Breaks the connection without reading the body.
    ResetBeforeBody,
    /// Reads the body when the gate has a permit, and no more than there is of it.
    ReadAt(Arc<Semaphore>),
    /// Sends these bytes, and goes on with the second ones for ever.
    Raw(&'static [u8], &'static [u8]),
    /// Says that more bytes come than do, and closes.
    CutOff(String),
    /// Sends a byte of the answer now and then, for ever.
    Dribble,
    /// Does nothing.
    Hang,
}

/// A success with this JSON.
pub(super) fn json(text: &str) -> Act {
    Act::Answer(200, vec![("Content-Type", "application/json".to_owned())], text.to_owned())
}

/// A refusal with this status, and how long to wait.
pub(super) fn refuse(status: u16, retry_after: Option<&str>) -> Act {
    let headers = retry_after.map(|text| ("Retry-After", text.to_owned())).into_iter().collect();
    Act::Answer(status, headers, format!(r#"{{"error":"it is {status}"}}"#))
}

/// A request that the server has read.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path below the endpoint, with its query.
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

type Script = dyn Fn(&Request, usize) -> Act + Send + Sync;

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Request>>,
    came: Notify,
    connections: AtomicUsize,
    ended: AtomicUsize,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
}

/// The server; it ends when this is dropped.
pub(super) struct Server {
    pub(super) address: String,
    log: Arc<Log>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server; the script gets each request and how many of its kind (the first word of
    /// the path) came before.
    pub(super) async fn start(script: impl Fn(&Request, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let log = Arc::new(Log::default());
        let (script, shared): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&log));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (script, log) = (Arc::clone(&script), Arc::clone(&shared));
                connections.spawn(async move {
                    serve(stream, script, Arc::clone(&log)).await;
                    log.ended.fetch_add(1, Ordering::SeqCst);
                    log.came.notify_waiters();
                });
            }
        });
        Self { address, log, task: task.abort_handle() }
    }

    pub(super) fn client(&self) -> Client {
        client(&self.address)
    }

    /// Returns a client with other waits.
    pub(super) fn client_with(&self, timing: Timing) -> Client {
        made(&format!("http://{}", self.address), timing)
    }

    /// Returns the requests so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.log.lock().clone()
    }

    /// Returns how many requests of a kind came.
    pub(super) fn count(&self, kind: &str) -> usize {
        self.log.lock().iter().filter(|request| request.kind() == kind).count()
    }

    /// Waits until so many requests of a kind have come.
    pub(super) async fn wait_for(&self, kind: &str, count: usize) {
        loop {
            let came = self.log.came.notified();
            if self.count(kind) >= count {
                return;
            }
            came.await;
        }
    }

    /// Waits until so many connections have ended.
    pub(super) async fn wait_for_end(&self, count: usize) {
        loop {
            let came = self.log.came.notified();
            if self.log.ended.load(Ordering::SeqCst) >= count {
                return;
            }
            came.await;
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    pub(super) fn most_inside(&self) -> usize {
        self.log.most_inside.load(Ordering::SeqCst)
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// The first word of the path: `runsync`, `status` …
    pub(super) fn kind(&self) -> &str {
        self.path.split(['/', '?']).next().unwrap_or_default()
    }
}

/// A client that waits for milliseconds where the real one waits for seconds.
pub(super) fn client(address: &str) -> Client {
    client_that_looks(&format!("http://{address}"), Duration::from_hours(1))
}

/// The same for a URL.
pub(super) fn client_at(base: &str) -> Client {
    client_that_looks(base, Duration::from_hours(1))
}

/// The same, with a pause between looks at workers of its own.
pub(super) fn client_that_looks(base: &str, health: Duration) -> Client {
    let ms = Duration::from_millis;
    let timing = Timing {
        first_wait: ms(1000),
        cancellable_wait: ms(1000),
        sync_wait: ms(1000),
        first_pause: ms(2),
        most_pause: ms(10),
        young: Duration::from_secs(30),
        patience: ms(100),
        answer: ms(2000),
        silence: ms(500),
        backoff: ms(2),
        health,
    };
    made(base, timing)
}

fn made(base: &str, timing: Timing) -> Client {
    let urls = Urls {
        api: base.to_owned(),
        endpoints: format!("{base}/v2"),
        console: String::new(),
        logs: String::new(),
    };
    Client::with_timing(urls, ApiKey::new("rpa_SECRET"), timing).expect("a client")
}

pub(super) fn endpoint() -> EndpointRef {
    EndpointRef::Id("ep".to_owned())
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, log: Arc<Log>) {
    let mut read = Vec::new();
    loop {
        let Some(head) = read_until(&mut stream, &mut read, |read| {
            read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
        })
        .await
        else {
            return;
        };
        let mut request = parse(&head);
        let number = log.lock().iter().filter(|earlier| earlier.kind() == request.kind()).count();
        let act = script(&request, number);
        if !matches!(act, Act::ResetBeforeBody | Act::ReadAt(_)) {
            let length =
                request.headers.get("content-length").map_or(0, |text| text.parse().expect("a length"));
            let Some(body) =
                read_until(&mut stream, &mut read, |read| (read.len() >= length).then_some(length)).await
            else {
                return;
            };
            request.body = body;
        }
        log.lock().push(request);
        log.came.notify_waiters();
        let inside = log.inside.fetch_add(1, Ordering::SeqCst) + 1;
        log.most_inside.fetch_max(inside, Ordering::SeqCst);
        let goes_on = perform(&mut stream, act).await;
        log.inside.fetch_sub(1, Ordering::SeqCst);
        if !goes_on {
            return;
        }
    }
}

async fn perform(stream: &mut TcpStream, act: Act) -> bool {
    match act {
        Act::Answer(status, headers, body) => {
            let mut text =
                format!("HTTP/1.1 {status} X\r\nX-Request-Id: req-7\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in headers {
                text.extend([name, ": ", &value, "\r\n"]);
            }
            stream.write_all((text + "\r\n" + &body).as_bytes()).await.is_ok()
        }
        Act::AnswerAt(gate, body) => {
            gate.acquire().await.expect("open").forget();
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await.is_ok()
        }
        Act::Reset | Act::ResetBeforeBody => {
            stream.set_zero_linger().expect("set");
            false
        }
        Act::ReadAt(gate) => {
            gate.acquire().await.expect("open").forget();
            // A request that is whole is hung up on, which the client sees as a broken connection.
            while matches!(stream.read(&mut vec![0; 1 << 20]).await, Ok(1..)) {}
            false
        }
        Act::Raw(first, then) => {
            if stream.write_all(first).await.is_ok() {
                while !then.is_empty() && stream.write_all(then).await.is_ok() {}
            }
            false
        }
        Act::CutOff(body) => {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 10);
            let _ = stream.write_all(text.as_bytes()).await;
            false
        }
        Act::Dribble => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{").await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        }
        Act::Hang => {
            // Ends when the client leaves.
            while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
            false
        }
    }
}

async fn read_until(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = end(read) {
            let rest = read.split_off(end);
            return Some(std::mem::replace(read, rest));
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(head: &[u8]) -> Request {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let path = target.strip_prefix("/v2/ep/").or_else(|| target.strip_prefix("/v2/flash/")).unwrap_or(target);
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Request { method, path: path.to_owned(), headers, body: Vec::new() }
}
