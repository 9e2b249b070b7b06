//! HTTP/2, which the server offers by ALPN: one connection for all, and what its frames say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio_rustls::server::TlsStream;

use super::server::endpoint;
use super::tls::{Log, TlsServer};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::{CallOptions, JobState, Output};
use crate::wire::payload::{Part, Payload};

const DONE: &str = r#"{"id":"j1","status":"COMPLETED","output":42}"#;

fn options() -> CallOptions {
    CallOptions { timeout: Some(Duration::from_mins(2)), ..CallOptions::default() }
}

#[rstest]
#[case::http2(&["h2", "http/1.1"], hyper::Version::HTTP_2)]
#[case::http1(&["http/1.1"], hyper::Version::HTTP_11)]
#[case::no_alpn(&[], hyper::Version::HTTP_11)]
#[tokio::test]
async fn version_is_the_one_that_the_server_offers(
    #[case] protocols: &[&str],
    #[case] version: hyper::Version,
) {
    let server = TlsServer::start(protocols, |_, _| async { DONE.into() }.boxed()).await;
    let state = server.client().call(&endpoint(), &Payload::json("{}"), &options()).await.expect("an end");
    assert!(matches!(state.output, Output::Json(_)));
    assert_eq!(server.log.requests(), [("runsync?wait=1000".to_owned(), version)]);
}

#[tokio::test]
async fn two_hundred_first_calls_share_one_connection() {
    const CALLS: usize = 200;
    // As many as may be held open are answered together, so that they are open at once.
    let together = Arc::new(Barrier::new(64));
    let server = TlsServer::start(&["h2", "http/1.1"], move |path, _| {
        let together = Arc::clone(&together);
        async move {
            match path.split(['/', '?']).next() {
                Some("runsync") => {
                    together.wait().await;
                }
                Some("run") => return r#"{"id":"j1","status":"IN_QUEUE"}"#.into(),
                _ => {}
            }
            DONE.into()
        }
        .boxed()
    })
    .await;
    let (client, ep, options) = (server.client(), endpoint(), options());
    let calls =
        join_all((0..CALLS).map(|_| async { client.call(&ep, &Payload::json("{}"), &options).await }));
    for state in calls.await {
        assert!(state.expect("an end").status.is_terminal());
    }
    assert_eq!(server.log.connections(), 1);
    assert_eq!(server.log.count("runsync") + server.log.count("run"), CALLS, "each was submitted once");
    assert!(server.log.requests().iter().all(|(_, version)| *version == hyper::Version::HTTP_2));
}

#[tokio::test]
async fn calls_of_a_server_without_http2_do_not_wait_for_each_other() {
    let together = Arc::new(Barrier::new(20));
    let server = TlsServer::start(&["http/1.1"], move |_, _| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            DONE.into()
        }
        .boxed()
    })
    .await;
    let (client, ep, options) = (server.client(), endpoint(), options());
    let calls = join_all((0..20).map(|_| async { client.call(&ep, &Payload::json("{}"), &options).await }));
    for state in calls.await {
        state.expect("an end");
    }
    assert_eq!(server.log.connections(), 20);
}

#[tokio::test]
async fn large_bodies_go_and_come_by_flow_control() {
    let server = TlsServer::start(&["h2"], |_, body| {
        async move {
            let mut answer = br#"{"id":"j1","status":"COMPLETED","output":"#.to_vec();
            answer.extend_from_slice(&body);
            answer.push(b'}');
            Bytes::from(answer)
        }
        .boxed()
    })
    .await;
    let raw: Vec<u8> = (0..9_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let expected = format!("[\"{}\"]", base64_simd::STANDARD.encode_to_string(&raw));
    let parts =
        vec![Part::Text("[\"".into()), Part::Base64(vec![Bytes::from(raw).into()]), Part::Text("\"]".into())];
    let (client, payload) = (server.client(), Payload::new(parts, Vec::new()));
    let (ep, options) = (endpoint(), options());
    let both = tokio::join!(client.call(&ep, &payload, &options), client.call(&ep, &payload, &options));
    for state in [both.0, both.1] {
        let Output::Json(output) = state.expect("an end").output else { panic!("no output") };
        assert!(output == expected.as_bytes());
    }
    assert_eq!(server.log.connections(), 1);
}

#[tokio::test]
async fn call_that_is_dropped_resets_its_stream_and_the_others_go_on() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let server = TlsServer::start(&["h2"], move |_, body| {
        let gate = Arc::clone(&opened);
        async move {
            if body == "stay" {
                gate.acquire().await.expect("open").forget();
            } else {
                std::future::pending::<()>().await;
            }
            DONE.into()
        }
        .boxed()
    })
    .await;
    let (client, ep, options) = (server.client(), endpoint(), options());
    let (go, stay) = (Payload::json("go"), Payload::json("stay"));
    let staying = client.call(&ep, &stay, &options);
    let going = async {
        tokio::select! {
            _ = client.call(&ep, &go, &options) => panic!("it cannot end"),
            () = server.log.wait_until(|log| log.requests().len() == 2) => {}
        }
        server.log.wait_until(|log| log.reset() == 1).await;
        gate.add_permits(1);
    };
    let (stayed, ()) = tokio::join!(staying, going);
    assert!(stayed.expect("an end").status.is_terminal());
    assert_eq!((server.log.connections(), server.log.reset()), (1, 1));
}

/// Frames of a server (RFC 9113, 6).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a server does with a whole request.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Answers 200.
    Answer,
    /// Answers 200 and resets within the body.
    ResetInAnswer(u32),
    /// Resets the stream, for a reason.
    Reset(u32),
    /// Says that it goes away, for a reason, and whether this stream is the last one that it serves.
    GoAway(u32, bool),
    /// Closes the connection.
    Close,
}

/// Serves a connection frame by frame; each request, on whatever connection, gets the next act.
async fn serve(mut stream: TlsStream<TcpStream>, acts: Arc<std::sync::Mutex<Vec<Act>>>, log: Arc<Log>) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err()
        || stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.is_err()
    {
        return;
    }
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("short")];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let (kind, flags, id) = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        let answer = match kind {
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
            DATA | HEADERS if flags & END_STREAM != 0 => {
                log.note("request");
                let act = acts.lock().expect("not poisoned").pop().expect("no more requests than acts");
                // `0x88` is `:status: 200` (RFC 7541, appendix A).
                let head = frame(HEADERS, END_HEADERS, id, &[0x88]);
                match act {
                    Act::Answer => [head, frame(DATA, END_STREAM, id, DONE.as_bytes())].concat(),
                    Act::ResetInAnswer(reason) => [
                        head,
                        frame(DATA, 0, id, &DONE.as_bytes()[..9]),
                        frame(RST_STREAM, 0, id, &reason.to_be_bytes()),
                    ]
                    .concat(),
                    Act::Reset(reason) => frame(RST_STREAM, 0, id, &reason.to_be_bytes()),
                    Act::GoAway(reason, is_served) => {
                        let last = if is_served { id } else { 0 };
                        let said = frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat());
                        let _ = stream.write_all(&said).await;
                        let _ = stream.shutdown().await;
                        return;
                    }
                    Act::Close => return,
                }
            }
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn acted(acts: &[Act]) -> (Result<JobState, RunpodError>, usize) {
    let left = Arc::new(std::sync::Mutex::new(acts.iter().rev().copied().collect::<Vec<_>>()));
    let server =
        TlsServer::start_raw(&["h2"], move |stream, log| serve(stream, Arc::clone(&left), log)).await;
    let called = server.client().call(&endpoint(), &Payload::json("{}"), &options()).await;
    (called, server.log.count("request"))
}

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

#[rstest]
#[case::refused(Act::Reset(REFUSED_STREAM))]
#[case::left_out(Act::GoAway(NO_ERROR, false))]
#[tokio::test]
async fn request_that_the_server_has_not_begun_is_sent_again(#[case] act: Act) {
    let (called, requests) = acted(&[act, act, Act::Answer]).await;
    assert!(called.expect("an end").status.is_terminal());
    assert_eq!(requests, 3);
    // Not for ever.
    let (called, requests) = acted(&[act; 4]).await;
    let error = called.expect_err("refused");
    assert_eq!((error.kind, requests), (ErrorKind::Connection, 4), "{error}");
    assert!(!error.message.contains("accepted"), "{error}");
}

#[rstest]
#[case::internal_error(Act::Reset(INTERNAL_ERROR))]
#[case::cancel(Act::Reset(CANCEL))]
#[case::calm(Act::Reset(ENHANCE_YOUR_CALM))]
#[case::no_error(Act::Reset(NO_ERROR))]
#[case::in_the_answer(Act::ResetInAnswer(INTERNAL_ERROR))]
#[case::refused_in_the_answer(Act::ResetInAnswer(REFUSED_STREAM))]
#[case::goes_away_after_it(Act::GoAway(NO_ERROR, true))]
#[case::goes_away_in_anger(Act::GoAway(INTERNAL_ERROR, true))]
#[case::closed(Act::Close)]
#[tokio::test]
async fn request_that_may_have_been_begun_is_not_sent_again(#[case] act: Act) {
    let (called, requests) = acted(&[act]).await;
    let error = called.expect_err("it broke");
    assert_eq!((error.kind, requests), (ErrorKind::Connection, 1), "{error}");
    assert!(error.message.contains("may have been accepted"), "{error}");
}

#[tokio::test]
async fn connection_that_broke_is_replaced_for_what_comes_next() {
    let acts = [Act::Answer, Act::GoAway(NO_ERROR, false), Act::Answer];
    let left = Arc::new(std::sync::Mutex::new(acts.iter().rev().copied().collect::<Vec<_>>()));
    let server =
        TlsServer::start_raw(&["h2"], move |stream, log| serve(stream, Arc::clone(&left), log)).await;
    let client = server.client();
    for _ in 0..2 {
        client.call(&endpoint(), &Payload::json("{}"), &options()).await.expect("an end");
    }
    assert_eq!((server.log.connections(), server.log.count("request")), (2, 3));
}
