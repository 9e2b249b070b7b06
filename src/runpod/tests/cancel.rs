//! Calls that are dropped: their jobs are cancelled where that is asked, and nothing is left.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rstest::rstest;
use tokio::sync::Semaphore;

use super::server::{Act, Server, endpoint, json, refuse};
use crate::runpod::error::ErrorKind;
use crate::runpod::job::CallOptions;
use crate::runpod::retry::Timing;
use crate::wire::payload::{Part, Payload};

const CANCELLED: &str = r#"{"id":"j1","status":"CANCELLED"}"#;

fn options(cancel_when_dropped: bool) -> CallOptions {
    CallOptions { cancel_when_dropped, ..CallOptions::default() }
}

/// A server that holds a request of this kind, and a submission until the gate opens.
async fn held(when: &'static str) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let server = Server::start(move |request, _| match request.kind() {
        "runsync" if when == "runsync" => {
            Act::AnswerAt(Arc::clone(&script_gate), r#"{"id":"j1","status":"IN_QUEUE"}"#.to_owned())
        }
        "runsync" => json(r#"{"id":"j1","status":"IN_QUEUE"}"#),
        "status-sync" => Act::Hang,
        _ => json(CANCELLED),
    })
    .await;
    (server, gate)
}

#[rstest]
#[case::while_it_is_submitted("runsync", true)]
#[case::while_it_is_submitted_unasked("runsync", false)]
#[case::while_it_runs("status-sync", true)]
#[case::while_it_runs_unasked("status-sync", false)]
#[tokio::test]
async fn dropped_call_cancels_its_job_where_that_is_asked(
    #[case] when: &'static str,
    #[case] is_asked: bool,
) {
    let (server, gate) = held(when).await;
    let (client, payload, options) = (server.client(), Payload::json("{}"), options(is_asked));
    let ep = endpoint();
    tokio::select! {
        _ = client.call(&ep, &payload, &options) => panic!("it cannot end"),
        () = server.wait_for(when, 1) => {}
    }
    gate.add_permits(1);
    if is_asked {
        server.wait_for("cancel", 1).await;
    } else {
        // The next request comes after whatever the dropped call would still send.
        client.health(&ep, &options).await.expect("an answer");
    }
    let cancelled: Vec<_> =
        server.requests().into_iter().filter(|request| request.kind() == "cancel").collect();
    let paths: Vec<_> =
        cancelled.iter().map(|request| (request.method.as_str(), request.path.as_str())).collect();
    assert_eq!(paths, if is_asked { vec![("POST", "cancel/j1")] } else { vec![] });
    assert_eq!(server.count("runsync"), 1);
}

#[tokio::test]
async fn deadline_cancels_the_job_too() {
    let server = Server::start(|request, _| match request.kind() {
        "runsync" => json(r#"{"id":"j1","status":"IN_QUEUE"}"#),
        "status-sync" => Act::Hang,
        _ => json(CANCELLED),
    })
    .await;
    let options = CallOptions { timeout: Some(Duration::from_millis(100)), ..options(true) };
    let error =
        server.client().call(&endpoint(), &Payload::json("{}"), &options).await.expect_err("too late");
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
    server.wait_for("cancel", 1).await;
}

#[tokio::test]
async fn call_that_ends_cancels_nothing() {
    let server = Server::start(|request, _| match request.kind() {
        "runsync" => json(r#"{"id":"j1","status":"IN_QUEUE"}"#),
        "status-sync" => json(r#"{"id":"j1","status":"FAILED","error":"boom"}"#),
        _ => json("{}"),
    })
    .await;
    let client = server.client();
    let state = client.call(&endpoint(), &Payload::json("{}"), &options(true)).await.expect("an end");
    assert_eq!(state.into_result().expect_err("it failed").kind, ErrorKind::JobFailed);
    client.health(&endpoint(), &options(false)).await.expect("an answer");
    assert_eq!(server.count("cancel"), 0);
}

#[tokio::test]
async fn hundreds_of_dropped_calls_are_cancelled_a_few_at_once_and_nothing_is_left() {
    const CALLS: usize = 300;
    let server = Server::start(|request, before| match request.kind() {
        "runsync" | "run" => json(&format!(r#"{{"id":"{}{before}","status":"IN_QUEUE"}}"#, request.kind())),
        "status-sync" => Act::Hang,
        // Too often: it is tried again.
        "cancel" if before % 10 == 3 => refuse(429, Some("0")),
        "cancel" => json(CANCELLED),
        _ => json(r#"{"id":"j1","status":"IN_QUEUE"}"#),
    })
    .await;
    let (client, options) = (server.client(), options(true));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let (client, options) = (client.clone(), options.clone());
        calls.spawn(async move { client.call(&endpoint(), &Payload::json("{}"), &options).await.is_ok() });
    }
    // They are all in, and being looked at.
    loop {
        let submitted = server.count("runsync") + server.count("run");
        if submitted == CALLS && server.count("status") > 0 {
            break;
        }
        server.wait_for("status", server.count("status") + 1).await;
    }
    calls.shutdown().await;
    server.wait_for("cancel", CALLS).await;
    let mut cancelled: Vec<String> = server
        .requests()
        .into_iter()
        .filter(|request| request.kind() == "cancel")
        .map(|request| request.path)
        .collect();
    // Those that were refused come once more.
    while {
        cancelled.sort();
        cancelled.dedup();
        cancelled.len() < CALLS
    } {
        server.wait_for("cancel", server.count("cancel") + 1).await;
        cancelled = server
            .requests()
            .into_iter()
            .filter(|request| request.kind() == "cancel")
            .map(|request| request.path)
            .collect();
    }
    assert_eq!(server.count("runsync") + server.count("run"), CALLS);
    // The tasks that looked and cancelled end by themselves.
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    drop(client);
    let connections_and_server = server.connections() * 2 + 1;
    while alive() > connections_and_server {
        tokio::task::yield_now().await;
    }
}

#[rstest]
#[case::dropped(None)]
#[case::too_late(Some(Duration::from_millis(200)))]
#[tokio::test]
async fn call_whose_body_is_still_sent_is_taken_back(#[case] timeout: Option<Duration>) {
    // More than the buffers between the two ends hold.
    let watched = Arc::new(Bytes::from(vec![b' '; 13 << 20]));
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let server = Server::start(move |_, _| Act::ReadAt(Arc::clone(&script_gate))).await;
    let (client, ep) = (server.client(), endpoint());
    let owned = Bytes::from_owner(Shared(Arc::clone(&watched)));
    let payload = Payload::new(vec![Part::Base64(vec![owned.into()])], Vec::new());
    let options = CallOptions { timeout, ..options(true) };
    let call = client.call(&ep, &payload, &options);
    if timeout.is_some() {
        let error = call.await.expect_err("too late");
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
        assert!(error.message.ends_with("nothing was submitted"), "{error}");
    } else {
        tokio::select! {
            _ = call => panic!("it cannot end"),
            () = server.wait_for("runsync", 1) => {}
        }
    }
    drop(payload);
    // The memory is given back though the server reads nothing, and the connection closed.
    while Arc::strong_count(&watched) > 1 {
        tokio::task::yield_now().await;
    }
    client.end().await;
    gate.add_permits(1);
    server.wait_for_end(1).await;
    assert_eq!(server.requests().len(), 1);
}

struct Shared(Arc<Bytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn call_that_waits_to_be_sent_again_is_taken_back_and_its_memory_released() {
    let server = Server::start(|request, _| match request.kind() {
        "runsync" => refuse(429, Some("60")),
        _ => json("{}"),
    })
    .await;
    let (client, ep, options) = (server.client(), endpoint(), options(true));
    let watched = Arc::new(Bytes::from_static(b"{}"));
    let payload = Payload::json(Bytes::from_owner(Shared(Arc::clone(&watched))));
    let options = CallOptions { timeout: Some(Duration::from_mins(2)), ..options };
    let call = tokio::spawn({
        let (client, payload) = (client.clone(), payload.clone());
        async move { client.call(&ep, &payload, &options).await.is_ok() }
    });
    server.wait_for("runsync", 1).await;
    call.abort();
    drop(payload);
    while Arc::strong_count(&watched) > 1 {
        tokio::task::yield_now().await;
    }
    client.end().await;
    assert_eq!(server.count("runsync"), 1);
}

#[tokio::test]
async fn memory_is_released_while_the_id_of_a_dropped_job_is_waited_for() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let server = Server::start(move |request, _| match request.kind() {
        "runsync" => Act::AnswerAt(Arc::clone(&script_gate), r#"{"id":"j1","status":"IN_QUEUE"}"#.to_owned()),
        _ => json(CANCELLED),
    })
    .await;
    let (client, ep, options) = (server.client(), endpoint(), options(true));
    let watched = Arc::new(Bytes::from_static(b"{}"));
    let payload = Payload::json(Bytes::from_owner(Shared(Arc::clone(&watched))));
    tokio::select! {
        _ = client.call(&ep, &payload, &options) => panic!("it cannot end"),
        () = server.wait_for("runsync", 1) => {}
    }
    drop(payload);
    while Arc::strong_count(&watched) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.count("cancel"), 0, "its ID is not known yet");
    gate.add_permits(1);
    client.end().await;
    assert_eq!(server.count("cancel"), 1);
}

#[rstest]
#[case::while_it_is_submitted("runsync")]
#[case::while_it_runs("status-sync")]
#[tokio::test]
async fn end_of_the_process_cancels_the_jobs_that_go_with_their_calls(#[case] when: &'static str) {
    let (server, gate) = held(when).await;
    let (client, ep, options) = (server.client(), endpoint(), options(true));
    let payload = Payload::json("{}");
    let call = client.call(&ep, &payload, &options);
    let end = async {
        server.wait_for(when, 1).await;
        tokio::join!(client.end(), async { gate.add_permits(1) });
    };
    let (called, ()) = tokio::join!(call, end);
    assert_eq!(called.expect_err("it ends").kind, ErrorKind::Connection);
    assert_eq!(server.count("cancel"), 1);
    let late = client.call(&endpoint(), &Payload::json("{}"), &options).await.expect_err("too late");
    assert!(late.message.contains("the program is ending"), "{late}");
    assert_eq!(server.count("runsync"), 1);
}

#[tokio::test]
async fn id_of_a_job_that_may_have_to_be_cancelled_is_asked_for_within_a_second() {
    let server = Server::start(|_, _| json(r#"{"id":"j1","status":"COMPLETED","output":1}"#)).await;
    let timing = Timing::default();
    for (cancel_when_dropped, wait) in [(true, Duration::from_secs(1)), (false, timing.first_wait)] {
        let client = server.client_with(timing);
        client.call(&endpoint(), &Payload::json("{}"), &options(cancel_when_dropped)).await.expect("an end");
        let last = server.requests().pop().expect("a request");
        assert_eq!(last.path, format!("runsync?wait={}", wait.as_millis()));
    }
}
