//! Answers made to do harm: one clear error each, in bounded memory.

use rstest::rstest;

use super::server::{Act, Server, endpoint, json};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::{CallOptions, JobState};
use crate::wire::payload::Payload;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";

async fn call(server: &Server) -> Result<JobState, RunpodError> {
    server.client().call(&endpoint(), &Payload::json("{}"), &CallOptions::default()).await
}

fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

fn raw(headers: &str, body: &[u8], then: &'static [u8]) -> Act {
    Act::Raw(leak([HEAD, headers.as_bytes(), b"\r\n", body].concat()), then)
}

/// What does not end, or is longer than it says, is in `tests/test_client_hostile.py`.
#[rstest]
#[case::length_of_ten_gigabytes(raw("Content-Length: 10737418240\r\n", b"{", b" "), "is 10.0 GB")]
#[case::unknown_coding(
    raw("Content-Encoding: br\r\nContent-Length: 1\r\n", b"x", b""),
    "its Content-Encoding is `br`"
)]
#[case::coding_twice(
    raw("Content-Encoding: gzip, gzip\r\nContent-Length: 1\r\n", b"x", b""),
    "its Content-Encoding is `gzip, gzip`"
)]
#[case::no_gzip(raw("Content-Encoding: gzip\r\nContent-Length: 9\r\n", b"not gzip!", b""), "broke")]
#[case::two_lengths(raw("Content-Length: 5\r\nContent-Length: 2\r\n", b"{}{}{}", b""), "broke")]
#[case::length_that_is_none(raw("Content-Length: 5x\r\n", b"{}{}{}", b""), "broke")]
#[case::endless_header(
    raw("X: ", b"x", b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    "broke"
)]
#[case::many_headers(Act::Raw(HEAD, b"X: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\n"), "broke")]
#[case::bad_chunk(raw("Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\n", b""), "broke")]
#[case::length_and_chunks(
    raw("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"2\r\n{}\r\n0\r\n\r\n", b""),
    "no `id`"
)]
#[case::nested_json(json(&format!("{}1{}", "[".repeat(1 << 20), "]".repeat(1 << 20))), "cannot be read")]
#[case::nested_output_that_does_not_end(json(&format!(r#"{{"id":"j","status":"COMPLETED","output":{}"#, "[".repeat(1 << 20))), "cannot be read")]
#[case::no_http(Act::Raw(b"220 smtp.example ready\r\n\r\n", b""), "broke")]
#[tokio::test]
async fn answer_is_one_clear_error(#[case] act: Act, #[case] text: &str) {
    let server = Server::start(move |_, _| act.clone()).await;
    let error = call(&server).await.expect_err("it cannot be read");
    assert!(error.message.contains(text), "{error}");
    assert!(error.message.contains("may have been accepted"), "{error}");
    assert!(matches!(error.kind, ErrorKind::Malformed | ErrorKind::Connection), "{error:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn nested_output_and_error_are_passed_on_as_text() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let failed = format!(r#"{{"id":"j","status":"FAILED","error":{deep},"output":{deep}}}"#);
    let server = Server::start(move |_, _| json(&failed)).await;
    let error = call(&server).await.expect("an end").into_result().expect_err("it failed");
    assert_eq!(error.kind, ErrorKind::JobFailed);
    assert!(error.message.len() < 500, "{}", error.message.len());
}

#[rstest]
#[case("1e19")]
#[case("inf")]
#[case("-1")]
#[case("99999999999999999999999999")]
#[case("Fri, 31 Dec 9999 23:59:59 GMT")]
#[tokio::test]
async fn wait_that_no_clock_can_count_to_is_no_crash(#[case] asked: &'static str) {
    let server = Server::start(move |request, before| match (request.kind(), before) {
        ("runsync", _) => json(r#"{"id":"j1","status":"IN_QUEUE"}"#),
        ("status-sync", _) => Act::Answer(429, vec![("Retry-After", asked.to_owned())], String::new()),
        _ => json("{}"),
    })
    .await;
    let (client, ep) = (server.client(), endpoint());
    let payload = Payload::json("{}");
    let options = CallOptions::default();
    // The task that looks lives on: another wait learns as little, and nothing is broken.
    tokio::select! {
        ended = client.call(&ep, &payload, &options) => assert_eq!(ended.expect_err("refused").kind, ErrorKind::RateLimited),
        () = server.wait_for("status-sync", 1) => {}
    }
    client.health(&ep, &options).await.expect("an answer");
}

#[tokio::test]
async fn redirect_to_another_host_gets_neither_key_nor_body() {
    let other = Server::start(|_, _| json("{}")).await;
    let location = format!("http://user:SECRET@{}/v2/ep/runsync?key=SECRET", other.address);
    let server =
        Server::start(move |_, _| Act::Answer(307, vec![("Location", location.clone())], String::new()))
            .await;
    let error = call(&server).await.expect_err("not followed");
    assert!(error.message.contains("307") && error.message.contains("http://127.0.0.1"), "{error}");
    assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    assert_eq!(other.connections(), 0);
}
