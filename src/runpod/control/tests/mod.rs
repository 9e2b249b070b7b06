//! Both control planes against a server that misbehaves as it is told.

mod server;

use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use self::server::{Answer, Script};
use super::choice::by_word;
use super::{
    ControlPlane, EndpointInput, EnvironmentVariable, GraphQl, RemoteEndpoint, RestV2, Sender, TemplateInput,
    VolumeInput,
};
use crate::runpod::client::Client;
use crate::runpod::credentials::ApiKey;
use crate::runpod::error::ErrorKind;
use crate::runpod::urls::Urls;

const KEY: &str = "rpa_SECRETKEY";

fn sender(url: &str) -> Sender {
    let urls = Urls {
        api: url.to_owned(),
        endpoints: format!("{url}/v2"),
        console: url.to_owned(),
        logs: url.to_owned(),
    };
    let client = Client::new(urls, ApiKey::new(KEY)).expect("a client");
    Sender::new(client).with_backoff(Duration::from_millis(1))
}

fn plane(name: &str, url: &str) -> Arc<dyn ControlPlane> {
    match name {
        "graphql" => Arc::new(GraphQl::with(sender(url))),
        _ => Arc::new(RestV2::with(sender(url))),
    }
}

fn variable(key: &str, value: &str) -> EnvironmentVariable {
    EnvironmentVariable { key: key.to_owned(), value: value.to_owned() }
}

fn input() -> EndpointInput {
    EndpointInput {
        name: "demo".to_owned(),
        kind: Some("QB".to_owned()),
        template: Some(TemplateInput {
            image_name: "image:1".to_owned(),
            container_disk_in_gb: 64,
            env: vec![variable("DB", "SECRETVALUE")],
            ..TemplateInput::default()
        }),
        ..EndpointInput::default()
    }
}

/// Every way in which a look-up can fail is an error of its kind: none says "there is none".
#[rstest]
#[case::outage(Answer::status(503, "text/html", "<h1>busy</h1>"), ErrorKind::Unavailable, 4)]
#[case::reset(Answer::Reset, ErrorKind::Connection, 4)]
#[case::cut(Answer::Cut, ErrorKind::Connection, 4)]
#[case::page(Answer::status(200, "text/html", "<h1>hello</h1>"), ErrorKind::Unavailable, 4)]
#[case::wrong_key(
    Answer::status(401, "application/json", r#"{"error":"unauthorized"}"#),
    ErrorKind::Authentication,
    1
)]
#[case::forbidden(Answer::status(403, "application/json", "{}"), ErrorKind::Authentication, 1)]
#[case::proxy(Answer::status(404, "text/html", "<h1>no such page</h1>"), ErrorKind::NotFound, 1)]
#[case::redirect(Answer::status(302, "text/html", ""), ErrorKind::Malformed, 1)]
#[case::busy(Answer::status(429, "application/json", r#"{"error":"slow down"}"#), ErrorKind::RateLimited, 4)]
#[tokio::test]
async fn outage_is_never_taken_for_an_endpoint_that_is_not_there(
    #[values("graphql", "rest")] name: &str,
    #[case] answer: Answer,
    #[case] kind: ErrorKind,
    #[case] requests: usize,
) {
    let server = Script::start(vec![answer]).await;
    let plane = plane(name, &server.url);
    let error = plane.endpoint("ep1").await.expect_err("an error");
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.starts_with("cannot look endpoint `ep1` up: "), "{error}");
    assert_eq!(server.requests().len(), requests);
    // Nor is a removal that nobody answered a success.
    assert!(plane.delete_endpoint("ep1").await.is_err());
}

#[rstest]
#[tokio::test]
async fn query_is_repeated_until_it_is_answered(#[values("graphql", "rest")] name: &str) {
    let answer = match name {
        "graphql" => json!({ "data": { "myself": { "endpoint": { "id": "ep1", "type": "NEW_KIND" } } } }),
        _ => json!({ "id": "ep1", "type": "NEW_KIND" }),
    };
    let script = vec![Answer::status(500, "text/plain", ""), Answer::Reset, Answer::json(&answer)];
    let server = Script::start(script).await;
    let found = plane(name, &server.url).endpoint("ep1").await.expect("answered").expect("there");
    assert_eq!((found.id.as_str(), found.kind.as_deref()), ("ep1", Some("NEW_KIND")));
    assert_eq!(server.requests().len(), 3);
}

/// A create that may have been taken is never sent twice; one that was refused is.
#[rstest]
#[case::broken(Answer::Reset, 1, "it may have been done all the same")]
#[case::outage(Answer::status(500, "text/plain", ""), 1, "Runpod answered 500")]
#[case::refused(Answer::status(429, "text/plain", ""), 4, "Runpod answered 429")]
#[tokio::test]
async fn create_is_only_repeated_where_it_was_not_taken(
    #[values("graphql", "rest")] name: &str,
    #[case] answer: Answer,
    #[case] requests: usize,
    #[case] said: &str,
) {
    let server = Script::start(vec![answer]).await;
    let error = plane(name, &server.url).create_endpoint(&input()).await.expect_err("an error");
    assert_eq!(server.requests().len(), requests);
    assert!(error.message.contains(said), "{error}");
    assert_eq!(error.exchange.endpoint.as_deref(), Some("demo"));
}

#[tokio::test]
async fn create_is_sent_again_where_there_was_no_connection() {
    let server = Script::start(Vec::new()).await;
    let url = server.url.clone();
    drop(server);
    let error = plane("rest", &url).create_endpoint(&input()).await.expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Connection);
    assert!(
        error.message.contains("127.0.0.1 cannot be reached") && !error.message.contains("may have been")
    );
    assert!(error.hint.is_some());
}

#[tokio::test]
async fn date_to_come_back_at_is_kept_as_well() {
    let date = jiff::fmt::rfc2822::to_string(&(jiff::Zoned::now() + jiff::Span::new().seconds(2)));
    let busy =
        Answer::status(429, "text/plain", "").with_header(&format!("Retry-After: {}", date.expect("one")));
    let server = Script::start(vec![busy, Answer::json(&json!({ "id": "ep1" }))]).await;
    let start = std::time::Instant::now();
    plane("rest", &server.url).endpoint("ep1").await.expect("answered");
    // Dates have whole seconds.
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn wait_that_was_asked_for_is_kept() {
    let busy = Answer::status(429, "text/plain", "").with_header("Retry-After: 0.2");
    let server = Script::start(vec![busy, Answer::json(&json!({ "id": "ep1" }))]).await;
    let start = std::time::Instant::now();
    plane("rest", &server.url).endpoint("ep1").await.expect("answered");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[rstest]
#[case::graphql("graphql", json!({ "errors": [{ "message": r#"Variable got invalid value "SECRETVALUE" for rpa_SECRETKEY"# }], "data": null }))]
#[case::problem("rest", json!({ "title": "Bad Request", "status": 400, "detail": "env is SECRETVALUE with rpa_SECRETKEY",
    "errors": [{ "field": "env", "message": "SECRETVALUE is too long" }], "aiKey": "SECRETAI" }))]
#[tokio::test]
async fn refusal_names_operation_and_reason_without_secrets(#[case] name: &str, #[case] answer: Value) {
    let status = if name == "rest" { 400 } else { 200 };
    let server = Script::start(vec![Answer::status(status, "application/json", &answer.to_string())]).await;
    let error = plane(name, &server.url).create_endpoint(&input()).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
    assert!(error.message.starts_with("cannot create endpoint `demo`: Runpod answered"), "{error}");
    let all = format!("{error:?}");
    assert!(!all.contains("SECRET"), "{all}");
    assert!(all.contains("<redacted>"), "{all}");
}

#[tokio::test]
async fn unauthorised_call_names_where_the_key_is_from() {
    let server = Script::start(vec![Answer::status(401, "application/json", "{}")]).await;
    let error = plane("graphql", &server.url).endpoints().await.expect_err("refused");
    let hint = error.hint.expect("a hint");
    assert!(hint.starts_with("the key from the program was sent"), "{hint}");
    // Without a key GraphQL answers 200, and nobody is "myself".
    let server = Script::start(vec![Answer::json(&json!({ "data": { "myself": null } }))]).await;
    let error = plane("graphql", &server.url).endpoint("ep1").await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Authentication);
}

#[tokio::test]
async fn removal_that_fails_counts_where_the_endpoint_is_gone() {
    let gone = json!({ "data": { "myself": { "endpoint": null } } });
    let failed = json!({ "errors": [{ "message": "something went wrong" }] });
    let server = Script::start(vec![Answer::json(&failed), Answer::json(&gone)]).await;
    assert!(plane("graphql", &server.url).delete_endpoint("ep1").await.expect("gone"));
    let there = json!({ "data": { "myself": { "endpoint": { "id": "ep1" } } } });
    let missing = json!({ "errors": [{ "message": "template not found" }] });
    let server = Script::start(vec![Answer::json(&missing), Answer::json(&there)]).await;
    let error = plane("graphql", &server.url).delete_endpoint("ep1").await.expect_err("still there");
    assert!(error.message.contains("template not found"), "{error}");
}

#[tokio::test]
async fn create_sends_what_1_21_sends() {
    let sent = json!({ "name": "live-demo", "type": "QB", "template": { "name": "t", "imageName": "runpod/flash:py3.12-latest",
        "containerDiskInGb": 64, "dockerArgs": "", "env": [{ "key": "A", "value": "1" }], "ports": "",
        "startScript": "", "containerRegistryAuthId": "", "advancedStart": false, "config": {} },
        "gpuIds": "ADA_24", "gpuCount": 1, "workersMin": 0, "workersMax": 1, "workersPFBTarget": 0, "idleTimeout": 60,
        "executionTimeoutMs": 0, "scalerType": "QUEUE_DELAY", "scalerValue": 4, "flashBootType": "FLASHBOOT",
        "locations": "US-CA-2", "allowedCudaVersions": "", "minCudaVersion": "12.8" });
    let answer = json!({ "data": { "saveEndpoint": { "id": "ep1", "type": "NEW", "aiKey": "k" } } });
    let server = Script::start(vec![Answer::json(&answer)]).await;
    let plane = plane("graphql", &server.url);
    let mut input: EndpointInput = serde_json::from_value(sent.clone()).expect("an input");
    plane.create_endpoint(&input).await.expect("made, whatever its type");
    input.needs_key = true;
    plane.create_endpoint(&input).await.expect("made");
    let requests = server.requests();
    let (first, second) = (requests[0].json(), requests[1].json());
    assert!(
        first["query"]
            .as_str()
            .expect("a query")
            .starts_with("mutation saveEndpoint($input: EndpointInput!)")
    );
    assert_eq!(first["variables"]["input"], sent);
    let env = &second["variables"]["input"]["template"]["env"];
    assert_eq!(env, &json!([{ "key": "A", "value": "1" }, { "key": "RUNPOD_API_KEY", "value": KEY }]));
    assert!(!format!("{input:?}").contains("SECRET"), "the key is in no input");
}

#[tokio::test]
async fn update_of_1_21_keeps_runpods_variables_and_drops_the_key_that_nobody_named() {
    let live = json!({ "data": { "podTemplate": { "id": "t1", "imageName": "image:1", "containerDiskInGb": 64,
        "dockerArgs": "", "name": "old", "readme": "hello", "env": [
            { "key": "PORT", "value": "80" }, { "key": "OLD", "value": "1" },
            { "key": "RUNPOD_API_KEY", "value": KEY } ] } } });
    let saved = json!({ "data": { "saveEndpoint": { "id": "ep1" }, "saveTemplate": { "id": "t1" } } });
    let server = Script::start(vec![Answer::json(&live), Answer::json(&saved)]).await;
    let existing = RemoteEndpoint {
        id: "ep1".to_owned(),
        template_id: Some("t1".to_owned()),
        ..RemoteEndpoint::default()
    };
    let mut before = input();
    before.needs_key = true;
    before.template.as_mut().expect("one").env = vec![variable("OLD", "1")];
    let plane = plane("graphql", &server.url);
    plane.update_endpoint(&existing, &input(), Some(&before)).await.expect("updated");
    let requests = server.requests();
    let bodies: Vec<Value> = requests.iter().map(server::Request::json).collect();
    assert!(bodies[0]["query"].as_str().expect("a query").starts_with("query getTemplate("));
    let endpoint = &bodies[1]["variables"]["input"];
    assert_eq!((&endpoint["id"], &endpoint["templateId"]), (&json!("ep1"), &json!("t1")));
    assert!(endpoint.get("template").is_none() && endpoint.get("needsKey").is_none());
    let template = &bodies[2]["variables"]["input"];
    let names: Vec<&str> =
        template["env"].as_array().expect("a list").iter().filter_map(|item| item["key"].as_str()).collect();
    assert_eq!(names, ["DB", "PORT"]);
    assert_eq!((&template["volumeInGb"], &template["readme"]), (&json!(0), &json!("hello")));
}

#[tokio::test]
async fn failure_between_both_mutations_is_said() {
    let live = json!({ "data": { "podTemplate": { "id": "t1", "imageName": "old", "env": [] } } });
    let saved = json!({ "data": { "saveEndpoint": { "id": "ep1" } } });
    let refused = json!({ "errors": [{ "message": "no" }] });
    let server = Script::start(vec![Answer::json(&live), Answer::json(&saved), Answer::json(&refused)]).await;
    let existing = RemoteEndpoint {
        id: "ep1".to_owned(),
        template_id: Some("t1".to_owned()),
        ..RemoteEndpoint::default()
    };
    let plane = plane("graphql", &server.url);
    let error = plane.update_endpoint(&existing, &input(), None).await.expect_err("refused");
    assert!(error.message.contains("its image and variables are not"), "{error}");
}

#[tokio::test]
async fn volume_is_found_behind_pages_by_name_and_data_center() {
    let volume =
        |id: &str, center: &str| json!({ "id": id, "name": "data", "size": 50, "dataCenterId": center });
    let first = json!({ "networkVolumes": [volume("v1", "EU-RO-1")],
        "pagination": { "hasNextPage": true, "nextCursor": "a b" } });
    let second =
        json!({ "networkVolumes": [volume("v2", "US-CA-2")], "pagination": { "hasNextPage": false } });
    let server = Script::start(vec![Answer::json(&first), Answer::json(&second)]).await;
    let wanted = VolumeInput {
        id: None,
        name: Some("data".to_owned()),
        size: Some(100),
        data_center_id: "US-CA-2".to_owned(),
    };
    let found = plane("graphql", &server.url).ensure_volume(&wanted).await.expect("found");
    assert_eq!((found.id.as_str(), found.is_new), ("v2", false));
    assert!(found.warning.expect("a warning").contains("exists with 50 GB, not 100 GB"));
    assert_eq!(server.requests()[1].line, "GET /v2/network-volumes?cursor=a%20b HTTP/1.1");
}

#[tokio::test]
async fn price_is_that_of_the_dearest_hardware_and_nothing_where_it_is_not_said() {
    let prices = |list: &[Value]| {
        let list: Vec<Value> =
            list.iter().map(|price| json!({ "lowestPrice": { "uninterruptablePrice": price } })).collect();
        Answer::json(&json!({ "data": { "gpuTypes": list } }))
    };
    let wanted = EndpointInput {
        gpu_ids: Some("AMPERE_24".to_owned()),
        gpu_count: Some(2),
        ..EndpointInput::default()
    };
    let server = Script::start(vec![prices(&[json!(0.4), json!(0.5), Value::Null])]).await;
    let price = plane("graphql", &server.url).price_per_hour(&wanted).await.expect("answered");
    assert_eq!(price, Some(1.0));
    let server = Script::start(vec![prices(&[json!(0), Value::Null])]).await;
    assert_eq!(plane("rest", &server.url).price_per_hour(&wanted).await.expect("answered"), None);
    let server = Script::start(vec![Answer::status(404, "text/plain", "")]).await;
    assert_eq!(plane("rest", &server.url).price_per_hour(&wanted).await.expect("no error"), None);
}

#[rstest]
#[case("graphql", Answer::Reset, Ok("control plane: GraphQL (FLASH_CONTROL_PLANE)"))]
#[case(" REST ", Answer::Reset, Ok("control plane: REST v2 (FLASH_CONTROL_PLANE)"))]
#[case("", Answer::json(&json!({ "data": { "myself": { "id": "u" } } })), Ok("control plane: GraphQL (default)"))]
#[case(
    "",
    Answer::status(410, "text/plain", ""),
    Ok("control plane: REST v2 (GraphQL is not served any more)")
)]
#[case(
    "",
    Answer::status(404, "text/html", ""),
    Ok("control plane: REST v2 (GraphQL is not served any more)")
)]
#[case(
    "",
    Answer::status(
        400,
        "application/json",
        r#"{"errors":[{"message":"The GraphQL API is deprecated, use REST v2"}]}"#
    ),
    Ok("control plane: REST v2 (GraphQL is not served any more)")
)]
#[case(
    "",
    Answer::json(&json!({ "errors": [{ "message": "this API has been retired" }] })),
    Ok("control plane: REST v2 (GraphQL is not served any more)")
)]
#[case(
    "",
    Answer::json(&json!({ "errors": [{ "message": "Cannot query field \"myself\" on type \"Query\"." }] })),
    Err(ErrorKind::InvalidRequest)
)]
#[case("", Answer::status(503, "text/html", ""), Err(ErrorKind::Unavailable))]
#[case("", Answer::status(401, "text/html", ""), Err(ErrorKind::Authentication))]
#[case("soap", Answer::Reset, Err(ErrorKind::Configuration))]
#[tokio::test]
async fn control_plane_is_the_one_that_is_asked_for_or_served(
    #[case] word: &str,
    #[case] answer: Answer,
    #[case] expected: Result<&str, ErrorKind>,
) {
    let server = Script::start(vec![answer]).await;
    let chosen = by_word(word, sender(&server.url)).await;
    let line = chosen.map(|chosen| chosen.line).map_err(|error| error.kind);
    assert_eq!(line.as_deref().map_err(|kind| *kind), expected);
}
