//! Who may use which endpoint, over real HTTP.

use serde_json::json;

use super::http::Server;
use super::*;

fn owned(name: &str, account: &str, key: &str) -> EndpointSpec {
    let mut spec = with_workers(spec(name), 0, 0);
    spec.account = account.to_owned();
    spec.key = Some(key.to_owned());
    spec
}

/// Two accounts, `first` and `second`, with an endpoint each: `one` and `two`.
async fn server() -> Server {
    let options = options();
    options.access.admit("first-token".to_owned(), "first".to_owned());
    options.access.admit("second-token".to_owned(), "second".to_owned());
    let specs = vec![owned("one", "first", "one-key"), owned("two", "second", "two-key")];
    Server::new(Fixture::with(options, specs)).await
}

const ROUTES: [(&str, &str); 13] = [
    ("POST", "run"),
    ("POST", "runsync?wait=1000"),
    ("GET", "status/j"),
    ("POST", "status/j"),
    ("GET", "status-sync/j"),
    ("POST", "status-sync/j"),
    ("GET", "stream/j"),
    ("POST", "stream/j"),
    ("POST", "cancel/j"),
    ("GET", "health"),
    ("GET", "run"),
    ("GET", "nothing"),
    ("DELETE", ""),
];

#[tokio::test]
async fn route_without_or_with_a_wrong_token_is_401_before_the_body() {
    let server = server().await;
    for (method, route) in ROUTES {
        for authorization in ["", "authorization: Bearer wrong\r\n", "authorization: two-key\r\n"] {
            let path = format!("/v2/one/{route}");
            let (status, body) = server.send_with(method, &path, authorization, b"not json").await;
            assert_eq!((status, &body), (401, &json!({"error": "unauthorized"})), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn refused_client_gets_to_read_the_answer_however_much_it_sends() {
    let server = server().await;
    let body = vec![b'x'; 15 << 20];
    for (path, expected) in [("/v2/one/run", 401), ("/v2/one/nothing", 401), ("/v2/one/health", 401)] {
        let (status, answer) = server.send_with("POST", path, "", &body).await;
        assert_eq!((status, answer), (expected, json!({"error": "unauthorized"})), "{path}");
    }
}

#[tokio::test]
async fn account_token_and_endpoint_key_open_bare_and_as_bearer() {
    let server = server().await;
    for token in ["first-token", "one-key"] {
        for authorization in
            [format!("authorization: {token}\r\n"), format!("authorization: Bearer {token}\r\n")]
        {
            let (status, job) =
                server.send_with("POST", "/v2/one/run", &authorization, br#"{"input": 1}"#).await;
            assert_eq!((status, &job["status"]), (200, &json!("IN_QUEUE")), "{authorization}");
        }
    }
    let (_, health) = server.send_with("GET", "/v2/one/health", "authorization: one-key\r\n", b"").await;
    assert_eq!(health["jobs"]["inQueue"], 4);
}

#[tokio::test]
async fn endpoint_of_another_account_is_as_one_that_is_not_there() {
    let server = server().await;
    for (method, route) in ROUTES {
        let mut answers = Vec::new();
        for endpoint in ["two", "nobody"] {
            let path = format!("/v2/{endpoint}/{route}");
            let authorization = "authorization: Bearer first-token\r\n";
            let (status, body) = server.send_with(method, &path, authorization, br#"{"input": 1}"#).await;
            let text = body.to_string().replace(endpoint, "NAME");
            assert_eq!(status, 404, "{method} {path}");
            answers.push(text);
        }
        assert_eq!(answers[0], answers[1]);
        assert!(!answers[0].contains("one") && !answers[0].contains("two"), "{}", answers[0]);
    }
    let second = "authorization: Bearer second-token\r\n";
    assert_eq!(server.send_with("GET", "/v2/two/health", second, b"").await.1["jobs"]["inQueue"], 0);
}
