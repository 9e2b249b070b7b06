//! Waits at endpoints whose workers are all unhealthy.

use std::time::Duration;

use futures_util::StreamExt;
use rstest::rstest;

use super::server::{Act, Server, client_that_looks, endpoint, json};
use crate::runpod::client::Client;
use crate::runpod::error::ErrorKind;
use crate::runpod::job::CallOptions;
use crate::wire::payload::Payload;

const QUEUED: &str = r#"{"id":"j1","status":"IN_QUEUE","waitingFor":"no such image"}"#;
const UNHEALTHY: &str = r#"{"jobs":{},"workers":{"idle":0,"unhealthy":2}}"#;

/// Looks every 20 ms: the server is on this machine, where it is a tenth.
fn client(server: &Server) -> Client {
    client_that_looks(&format!("http://{}", server.address), Duration::from_millis(200))
}

/// A server whose jobs stay in the queue, and which tells of its workers as given.
async fn queued(health: impl Fn(usize) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |request, before| match request.kind() {
        "health" => json(&health(before)),
        "status-sync" => Act::Hang,
        "stream" => json(r#"{"status":"IN_QUEUE","stream":[]}"#),
        _ => json(QUEUED),
    })
    .await
}

#[tokio::test]
async fn call_ends_with_the_reason_where_no_worker_can_run_it() {
    let server = queued(|_| UNHEALTHY.to_owned()).await;
    let error = client(&server).call(&endpoint(), &Payload::json("{}"), &CallOptions::default()).await;
    let error = error.expect_err("nobody runs it");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.message, "job `j1` cannot be run: all its 2 workers are unhealthy: no such image");
    assert_eq!(error.exchange.job.as_deref(), Some("j1"));
    assert!(error.hint.is_some());
    assert_eq!(server.count("health"), 2, "once is not believed");
}

#[tokio::test]
async fn stream_ends_with_the_reason_where_no_worker_can_run_it() {
    let server = queued(|_| UNHEALTHY.to_owned()).await;
    let items = client(&server).stream(endpoint(), "j1".to_owned(), CallOptions::default());
    let ended = Box::pin(items).next().await.expect("an end").expect_err("nobody runs it");
    assert_eq!(ended.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn all_waits_at_an_endpoint_share_the_looks() {
    let server = queued(|_| UNHEALTHY.to_owned()).await;
    let (client, ep, options) = (client(&server), endpoint(), CallOptions::default());
    let waits = (0..100).map(|_| client.wait(&ep, "j1", &options));
    for ended in futures_util::future::join_all(waits).await {
        assert_eq!(ended.expect_err("nobody runs it").kind, ErrorKind::Unavailable);
    }
    assert_eq!(server.count("health"), 2);
}

#[rstest]
#[case::one_starts(r#"{"workers":{"unhealthy":1,"initializing":1}}"#)]
#[case::one_runs(r#"{"workers":{"unhealthy":1,"running":1}}"#)]
#[case::one_waits_for_hardware(r#"{"workers":{"unhealthy":1,"throttled":1}}"#)]
#[case::none_is_there(r#"{"workers":{"unhealthy":0}}"#)]
#[case::nothing_is_told("{}")]
#[tokio::test]
async fn wait_goes_on_while_there_is_hope(#[case] health: &'static str) {
    let server = queued(move |_| health.to_owned()).await;
    let (client, ep, options) = (client(&server), endpoint(), CallOptions::default());
    tokio::select! {
        ended = client.wait(&ep, "j1", &options) => panic!("{ended:?}"),
        () = server.wait_for("health", 4) => {}
    }
}

#[tokio::test]
async fn worker_that_comes_back_takes_the_verdict_back() {
    let well = r#"{"workers":{"idle":1,"unhealthy":0}}"#;
    let server = queued(move |before| if before % 2 == 0 { UNHEALTHY } else { well }.to_owned()).await;
    let (client, ep, options) = (client(&server), endpoint(), CallOptions::default());
    tokio::select! {
        ended = client.wait(&ep, "j1", &options) => panic!("{ended:?}"),
        () = server.wait_for("health", 5) => {}
    }
}

#[tokio::test]
async fn verdict_is_for_those_who_waited_when_it_was_made() {
    // Well again from the third look on.
    let well = r#"{"workers":{"initializing":1,"unhealthy":1}}"#;
    let server = queued(move |before| if before < 2 { UNHEALTHY } else { well }.to_owned()).await;
    let (client, ep, options) = (client(&server), endpoint(), CallOptions::default());
    assert!(client.wait(&ep, "j1", &options).await.is_err());
    tokio::select! {
        ended = client.wait(&ep, "j1", &options) => panic!("{ended:?}"),
        () = server.wait_for("health", 4) => {}
    }
}

#[tokio::test]
async fn deadline_says_why_the_job_waits() {
    let server = queued(|_| "{}".to_owned()).await;
    let options = CallOptions { timeout: Some(Duration::from_secs(1)), ..CallOptions::default() };
    let error = server.client().call(&endpoint(), &Payload::json("{}"), &options).await;
    let error = error.expect_err("too late");
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
    assert!(error.message.ends_with("; it waits: no such image"), "{}", error.message);
}
