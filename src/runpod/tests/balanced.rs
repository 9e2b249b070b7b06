//! Requests to load-balanced endpoints: what is sent, what is repeated.

use std::time::Duration;

use rstest::rstest;

use super::server::{Act, Server, endpoint, refuse};
use crate::runpod::balanced::BalancedRequest;
use crate::runpod::error::ErrorKind;
use crate::runpod::job::EndpointRef;
use crate::wire::payload::Payload;

fn request(method: &str) -> BalancedRequest {
    BalancedRequest {
        endpoint: endpoint(),
        method: method.to_owned(),
        path: "/a/b?x=1".to_owned(),
        query: vec![("y".to_owned(), "ä &".to_owned())],
        headers: [("X-Mine".to_owned(), "7".to_owned())].into(),
        body: Payload::json(if method == "POST" { "{\"n\":1}" } else { "" }),
        timeout: Some(Duration::from_mins(2)),
    }
}

fn from_worker(status: u16) -> Act {
    Act::Answer(status, vec![("X-Runpod-Worker-Id", "w1".to_owned())], "\"hi\"".to_owned())
}

#[tokio::test]
async fn request_arrives_as_it_was_made() {
    let server = Server::start(|_, _| from_worker(201)).await;
    let answer = server.client().request(&request("POST")).await.expect("an answer");
    assert_eq!(
        (answer.status, &answer.body[..], answer.header("x-runpod-worker-id")),
        (201, &b"\"hi\""[..], Some("w1"))
    );
    let deployed =
        EndpointRef::Deployed { app: "a".to_owned(), environment: "e".to_owned(), endpoint: "lb".to_owned() };
    server
        .client()
        .request(&BalancedRequest { endpoint: deployed, ..request("GET") })
        .await
        .expect("an answer");
    let [sent, by_name] = server.requests().try_into().expect("two requests");
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/a/b?x=1&y=%C3%A4+%26"));
    let header = |name: &str| sent.headers[name].as_str();
    assert_eq!(
        (header("host"), header("x-mine"), header("content-type"), header("authorization")),
        ("ep.api.localhost", "7", "application/json", "Bearer rpa_SECRET")
    );
    assert_eq!(sent.body, b"{\"n\":1}");
    assert_eq!(
        (by_name.headers["host"].as_str(), by_name.headers["x-flash-endpoint"].as_str()),
        ("flash.api.localhost", "lb")
    );
    assert!(!by_name.headers.contains_key("content-type") && by_name.body.is_empty());
}

#[rstest]
#[case::read_again_where_runpod_fails("GET", refuse(502, None), true)]
#[case::not_sent_again_where_it_may_have_arrived("POST", refuse(502, None), false)]
#[case::sent_again_where_it_was_refused("POST", refuse(429, Some("0")), true)]
#[case::sent_again_where_no_worker_came(
    "POST", Act::Answer(400, Vec::new(), r#"{"error":"no workers available"}"#.to_owned()), true
)]
#[case::not_where_the_application_says_so("GET", from_worker(503), false)]
#[case::not_where_the_application_fails("GET", from_worker(500), false)]
#[tokio::test]
async fn repetition_needs_a_reason(#[case] method: &str, #[case] first: Act, #[case] is_repeated: bool) {
    let server =
        Server::start(move |_, before| if before == 0 { first.clone() } else { from_worker(200) }).await;
    let answer = server.client().request(&request(method)).await.expect("an answer");
    assert_eq!(
        (server.requests().len(), answer.status == 200),
        if is_repeated { (2, true) } else { (1, false) }
    );
    assert_eq!(answer.check().is_ok(), is_repeated);
}

#[rstest]
#[case("POST", Act::Reset, 1)]
#[case("PUT", Act::Reset, 4)]
#[tokio::test]
async fn broken_connection_is_an_error(#[case] method: &str, #[case] act: Act, #[case] tries: usize) {
    let server = Server::start(move |_, _| act.clone()).await;
    let error = server.client().request(&request(method)).await.expect_err("it broke");
    assert_eq!((error.kind, server.requests().len()), (ErrorKind::Connection, tries), "{error}");
    assert!(!error.exchange.request.expect("a request").contains('?'), "queries may hold secrets");
}

#[tokio::test]
async fn deadline_holds() {
    let server = Server::start(|_, _| Act::Hang).await;
    let request = BalancedRequest { timeout: Some(Duration::from_millis(100)), ..request("GET") };
    let error = server.client().request(&request).await.expect_err("too late");
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
}
