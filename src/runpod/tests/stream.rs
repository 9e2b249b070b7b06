//! Streams of items, and how they end.

use futures_util::StreamExt;
use rstest::rstest;

use super::server::{Act, Server, endpoint, json, refuse};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::CallOptions;

async fn read(server: &Server) -> (Vec<String>, Option<RunpodError>) {
    let items = server.client().stream(endpoint(), "j1".to_owned(), CallOptions::default());
    let mut items = Box::pin(items);
    let mut read = Vec::new();
    while let Some(item) = items.next().await {
        match item {
            Ok(item) => read.push(String::from_utf8(item.to_vec()).expect("JSON")),
            Err(error) => {
                assert!(items.next().await.is_none(), "an error is the last thing");
                return (read, Some(error));
            }
        }
    }
    (read, None)
}

/// Two items, nothing, another item with the end, nothing.
fn two_answers(status: &'static str) -> impl Fn(&super::server::Request, usize) -> Act {
    move |request, before| match (request.kind(), before) {
        ("stream", 0) => json(r#"{"status":"IN_PROGRESS","stream":[{"output":1},{"output":"b"}]}"#),
        ("stream", 1) => json(r#"{"status":"IN_PROGRESS","stream":[]}"#),
        ("stream", 2) => json(&format!(r#"{{"status":"{status}","stream":[{{"output":{{"n":3}}}}]}}"#)),
        ("stream", _) => json(&format!(r#"{{"status":"{status}","stream":[]}}"#)),
        _ => json(&format!(r#"{{"id":"j1","status":"{status}","error":"boom"}}"#)),
    }
}

#[rstest]
#[case("COMPLETED", None)]
#[case("FAILED", Some(ErrorKind::JobFailed))]
#[case("CANCELLED", Some(ErrorKind::JobCancelled))]
#[case("TIMED_OUT", Some(ErrorKind::JobTimedOut))]
#[tokio::test]
async fn items_come_in_order_and_the_end_is_told(
    #[case] status: &'static str,
    #[case] kind: Option<ErrorKind>,
) {
    let server = Server::start(two_answers(status)).await;
    let (items, error) = read(&server).await;
    assert_eq!(items, ["1", "\"b\"", "{\"n\":3}"]);
    assert_eq!(error.as_ref().map(|error| error.kind), kind);
    if let Some(error) = error {
        assert!(error.message.contains("boom"), "{error}");
    }
    assert_eq!(server.count("stream"), 4, "none after the end");
}

#[rstest]
#[case::cut_off(Act::CutOff(r#"{"status":"IN_PROGRESS","stream":[{"output":2"#.to_owned()), ErrorKind::Connection)]
#[case::truncated(json(r#"{"status":"IN_PROGRESS","stream":[{"output":2"#), ErrorKind::Malformed)]
#[tokio::test]
async fn stream_with_a_gap_ends_with_an_error(#[case] act: Act, #[case] kind: ErrorKind) {
    let server = Server::start(move |_, before| match before {
        0 => json(r#"{"status":"IN_PROGRESS","stream":[{"output":1}]}"#),
        _ => act.clone(),
    })
    .await;
    let (items, error) = read(&server).await;
    assert_eq!(items, ["1"]);
    let error = error.expect("it broke");
    assert_eq!(error.kind, kind);
    assert!(error.message.ends_with("items may be lost"), "{error}");
}

#[tokio::test]
async fn refusals_leave_no_gap_and_are_repeated() {
    let server = Server::start(|request, before| match (request.kind(), before) {
        ("stream", 0) => refuse(500, None),
        ("stream", 1) => refuse(429, Some("0")),
        ("stream", 2) => json(r#"{"status":"COMPLETED","stream":[{"output":1}]}"#),
        _ => json(r#"{"status":"COMPLETED","stream":[]}"#),
    })
    .await;
    let (items, error) = read(&server).await;
    assert_eq!((items, error.is_none()), (vec!["1".to_owned()], true));
}
