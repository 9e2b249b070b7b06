//! Each fault: nothing submitted twice, no hang beyond the deadline, one clear error.

use std::time::Duration;

use rstest::rstest;

use super::server::{Act, Request, Server, client, endpoint, json, refuse};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::{CallOptions, JobState, Output, Status};
use crate::wire::payload::Payload;

const DONE: &str = r#"{"id":"j1","status":"COMPLETED","output":42}"#;
const RUNS: &str = r#"{"id":"j1","status":"IN_PROGRESS"}"#;
/// Far more than any of these tests needs: that it passed means that something waited for nothing.
const LONG: Duration = Duration::from_mins(2);

fn within(timeout: Duration) -> CallOptions {
    CallOptions { timeout: Some(timeout), ..CallOptions::default() }
}

async fn call(server: &Server, timeout: Duration) -> Result<JobState, RunpodError> {
    let payload = Payload::json(r#"{"input":{"a":1}}"#);
    server.client().call(&endpoint(), &payload, &within(timeout)).await
}

/// Submissions succeed and say that the job runs; looking at it goes as told.
fn looked_at(look: impl Fn(usize) -> Act + Send + Sync + 'static) -> impl Fn(&Request, usize) -> Act {
    move |request, before| match request.kind() {
        "runsync" => json(RUNS),
        // Not documented, so it need not be there: looking is done by `/status` then.
        "status-sync" => refuse(404, None),
        _ => look(before),
    }
}

fn is_42(state: &JobState) -> bool {
    state.status == Status::Completed && matches!(&state.output, Output::Json(text) if &text[..] == b"42")
}

#[rstest]
#[case::error_500(refuse(500, None), ErrorKind::Unavailable, true)]
#[case::error_502(refuse(502, None), ErrorKind::Unavailable, true)]
#[case::error_503_without_a_time(refuse(503, None), ErrorKind::Unavailable, true)]
#[case::error_504(refuse(504, Some("0")), ErrorKind::Unavailable, true)]
#[case::reset_before_the_body(Act::ResetBeforeBody, ErrorKind::Connection, true)]
#[case::reset_after_the_body(Act::Reset, ErrorKind::Connection, true)]
#[case::cut_off(Act::CutOff(RUNS.to_owned()), ErrorKind::Connection, true)]
#[case::truncated_json(json(r#"{"id":"j1","status":"COMP"#), ErrorKind::Malformed, true)]
#[case::page(json("<html><title>502</title></html>"), ErrorKind::Malformed, true)]
#[case::empty(json(""), ErrorKind::Malformed, true)]
#[case::no_id(json(r#"{"status":"IN_QUEUE"}"#), ErrorKind::Malformed, true)]
#[case::redirect(Act::Answer(307, vec![("Location", "/v2/ep/runsync".to_owned())], String::new()), ErrorKind::Malformed, false)]
#[case::error_400(refuse(400, None), ErrorKind::InvalidRequest, false)]
#[case::error_401(refuse(401, None), ErrorKind::Authentication, false)]
#[case::error_403(refuse(403, None), ErrorKind::Authentication, false)]
#[case::error_404(refuse(404, None), ErrorKind::NotFound, false)]
#[case::error_413(refuse(413, None), ErrorKind::PayloadTooLarge, false)]
#[case::error_429_for_too_long(refuse(429, Some("600")), ErrorKind::RateLimited, false)]
#[tokio::test]
async fn submission_fails_once_and_clearly(
    #[case] act: Act,
    #[case] kind: ErrorKind,
    #[case] may_be_accepted: bool,
) {
    let status = if let Act::Answer(status, ..) = &act { Some(*status) } else { None };
    let server = Server::start(move |_, _| act.clone()).await;
    let error = call(&server, LONG).await.expect_err("it failed");
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!(error.message.contains("may have been accepted"), may_be_accepted, "{error}");
    assert_eq!(server.requests().len(), 1, "submitted once");
    assert_eq!(error.exchange.endpoint.as_deref(), Some("ep"));
    if kind != ErrorKind::Malformed {
        assert_eq!(error.exchange.status, status, "{error:?}");
    }
    if status.is_some() {
        assert_eq!(error.exchange.request_id.as_deref(), Some("req-7"), "{error:?}");
    }
}

#[rstest]
#[case(429)]
#[case(503)]
#[tokio::test]
async fn refusal_with_a_time_is_repeated_until_it_is_taken(#[case] status: u16) {
    let server = Server::start(move |_, before| match before {
        0 | 1 => refuse(status, Some("0")),
        _ => json(DONE),
    })
    .await;
    assert!(is_42(&call(&server, LONG).await.expect("a result")));
    assert_eq!(server.count("runsync"), 3);
}

#[tokio::test]
async fn refused_connection_is_tried_again_and_says_that_nothing_was_sent() {
    let server = Server::start(|_, _| Act::Hang).await;
    let address = server.address.clone();
    drop(server);
    let error =
        client(&address).call(&endpoint(), &Payload::json("{}"), &within(LONG)).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Connection);
    assert!(error.message.contains("cannot connect") && !error.message.contains("accepted"), "{error}");
}

#[rstest]
#[case::submission_hangs(Act::Hang, true)]
#[case::submission_dribbles(Act::Dribble, true)]
#[case::status_hangs(Act::Hang, false)]
#[case::status_dribbles(Act::Dribble, false)]
#[case::status_fails_for_ever(refuse(429, Some("600")), false)]
#[case::job_runs_for_ever(json(RUNS), false)]
#[tokio::test]
async fn deadline_holds(#[case] act: Act, #[case] at_once: bool) {
    let script = looked_at({
        let act = act.clone();
        move |_| act.clone()
    });
    let server =
        Server::start(move |request, before| if at_once { act.clone() } else { script(request, before) })
            .await;
    let error = call(&server, Duration::from_millis(150)).await.expect_err("too late");
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{error}");
    assert_eq!(server.count("runsync"), 1);
    assert_eq!(error.exchange.job.as_deref(), (!at_once).then_some("j1"), "{error:?}");
}

#[rstest]
#[case::error_500(refuse(500, None))]
#[case::error_429(refuse(429, Some("0")))]
#[case::error_408(refuse(408, None))]
#[case::reset(Act::Reset)]
#[case::cut_off(Act::CutOff(RUNS.to_owned()))]
#[case::truncated_json(json(r#"{"id":"j1","sta"#))]
#[case::page(json("<html>"))]
#[case::not_known_yet(refuse(404, None))]
#[tokio::test]
async fn passing_trouble_with_the_status_is_borne(
    #[case] act: Act,
    #[values("status", "status-sync")] way: &'static str,
) {
    let server = Server::start(move |request, before| match (request.kind(), before) {
        ("run" | "runsync", _) => json(RUNS),
        ("status-sync", 0) | ("status", 0 | 1) => act.clone(),
        _ => json(DONE),
    })
    .await;
    let client = server.client();
    // Where others hold as many requests as may be held, jobs are looked at now and then.
    let held = if way == "status" { 64 } else { 0 };
    let _others = client.shared.held.acquire_many(held).await.expect("free");
    let state = client.call(&endpoint(), &Payload::json("{}"), &within(LONG)).await;
    assert!(is_42(&state.expect("the trouble has passed")));
    assert_eq!(server.count("run") + server.count("runsync"), 1);
    assert!(server.count(way) > 1, "{:?}", server.requests());
}

#[rstest]
#[case::error_500(refuse(500, None), ErrorKind::Unavailable)]
#[case::reset(Act::Reset, ErrorKind::Connection)]
#[case::truncated_json(json(r#"{"id":"j1","sta"#), ErrorKind::Malformed)]
#[case::job_vanished(refuse(404, None), ErrorKind::JobNotFound)]
#[case::key_was_withdrawn(refuse(401, None), ErrorKind::Authentication)]
#[tokio::test]
async fn lasting_trouble_with_the_status_ends_the_wait(#[case] act: Act, #[case] kind: ErrorKind) {
    let server = Server::start(looked_at(move |_| act.clone())).await;
    let error = call(&server, LONG).await.expect_err("it is given up");
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!((error.exchange.job.as_deref(), error.exchange.endpoint.as_deref()), (Some("j1"), Some("ep")));
    assert_eq!(server.count("runsync"), 1);
}

#[tokio::test]
async fn answers_are_taken_whatever_they_call_themselves() {
    let page = vec![("Content-Type", "text/html; charset=utf-7".to_owned())];
    let server = Server::start(move |_, _| Act::Answer(200, page.clone(), DONE.to_owned())).await;
    let state = call(&server, LONG).await.expect("a result");
    assert!(is_42(&state));
    assert_eq!(state.request_id.as_deref(), Some("req-7"));
}

#[tokio::test]
async fn states_may_come_twice_and_in_unknown_words() {
    let server = Server::start(|request, before| match (request.kind(), before) {
        ("runsync", _) => json(r#"{"id":"j1","status":"IN_QUEUE"}"#),
        ("status-sync", _) => refuse(404, None),
        (_, 0 | 1) => json(RUNS),
        (_, 2) => json(r#"{"id":"j1","status":"WARMING_UP"}"#),
        (_, 3) => json(r#"{"id":"j1","status":"COMPLETED","status":"IN_PROGRESS"}"#),
        _ => json(r#"{"id":"j1","status":"IN_PROGRESS","status":"COMPLETED","output":1,"output":42}"#),
    })
    .await;
    assert!(is_42(&call(&server, LONG).await.expect("a result")));
    assert_eq!((server.count("runsync"), server.count("status-sync"), server.count("status")), (1, 1, 5));
}

#[tokio::test]
async fn key_is_in_no_error_even_where_the_server_repeats_it() {
    let server = Server::start(|request, _| {
        let authorization = request.headers.get("authorization").cloned().unwrap_or_default();
        Act::Answer(400, Vec::new(), format!(r#"{{"error":"bad header {authorization}"}}"#))
    })
    .await;
    let error = call(&server, LONG).await.expect_err("refused");
    assert!(error.message.contains("bad header Bearer"), "{error}");
    assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
}

#[tokio::test]
async fn deployed_endpoint_is_named_by_headers() {
    let server = Server::start(|_, _| json(DONE)).await;
    let deployed = crate::runpod::job::EndpointRef::Deployed {
        app: "größe".to_owned(),
        environment: "production".to_owned(),
        endpoint: "w1".to_owned(),
    };
    let state = server.client().call(&deployed, &Payload::json("{}"), &within(LONG)).await.expect("a result");
    assert!(is_42(&state));
    let requests = server.requests();
    let named =
        ["x-flash-app", "x-flash-environment", "x-flash-endpoint"].map(|name| &requests[0].headers[name][..]);
    assert_eq!(named, ["größe", "production", "w1"]);
    assert!(requests[0].headers["user-agent"].starts_with("Runpod Flash/"), "{requests:?}");
    assert_eq!(requests[0].headers["accept-encoding"], "gzip");
}
