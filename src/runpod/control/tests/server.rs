//! An HTTP server that gives the answers of a script, one per request; the last one stays.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// The connection is reset after the request was read.
    Reset,
    /// The body ends before its announced length.
    Cut,
    /// A whole answer.
    Whole { status: u16, kind: String, body: String, headers: String },
}

impl Answer {
    pub(super) fn status(status: u16, kind: &str, body: &str) -> Self {
        Self::Whole { status, kind: kind.to_owned(), body: body.to_owned(), headers: String::new() }
    }

    pub(super) fn json(body: &Value) -> Self {
        Self::status(200, "application/json", &body.to_string())
    }

    pub(super) fn with_header(mut self, line: &str) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            *headers = format!("{line}\r\n");
        }
        self
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) line: String,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

pub(super) struct Script {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Script {
    pub(super) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers) = (Arc::clone(&seen), answers.clone());
                tokio::spawn(async move { serve(stream, &seen, &answers).await });
            }
        });
        Self { url, requests, task }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answers: &[Answer]) -> Option<()> {
    let request = read(&mut stream).await?;
    let number = {
        let mut seen = seen.lock().expect("not poisoned");
        seen.push(request);
        seen.len() - 1
    };
    match &answers[number.min(answers.len() - 1)] {
        Answer::Reset => {
            // No linger: the peer gets a reset, not an end.
            stream.set_zero_linger().ok()
        }
        Answer::Cut => {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"da";
            stream.write_all(head.as_bytes()).await.ok()
        }
        Answer::Whole { status, kind, body, headers } => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await.ok()
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                })
                .unwrap_or(0);
            let mut body = bytes.split_off(end + 4);
            while body.len() < length {
                if stream.read_buf(&mut body).await.ok()? == 0 {
                    return None;
                }
            }
            return Some(Request { line: head.lines().next()?.to_owned(), body });
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
