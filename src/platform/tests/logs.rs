//! What workers printed, by HTTP; and endpoints by the names of their app.

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::http::Server;
use super::*;
use crate::platform::directory::Directory;

fn printing(name: &str) -> EndpointSpec {
    let mut endpoint = spec(name);
    flash(&mut endpoint).load.callables = vec!["print".to_owned()];
    endpoint.account = "first".to_owned();
    endpoint.key = Some(format!("{name}-key"));
    endpoint
}

async fn server() -> Server {
    let options = options();
    options.access.admit("first-token".to_owned(), "first".to_owned());
    options.access.admit("second-token".to_owned(), "second".to_owned());
    Server::new(Fixture::with(options, vec![printing("p")])).await
}

const FIRST: &str = "authorization: Bearer first-token\r\n";

#[tokio::test]
async fn log_has_what_a_worker_printed_and_what_happened_to_it() {
    let server = server().await;
    let (_, job) = server.send_with("POST", "/v2/p/runsync", FIRST, br#"{"input": "hello there"}"#).await;
    let path = format!("/v1/pod/{}/logs", job["workerId"].as_str().unwrap());
    let has_line = |log: &Value, source: &str, text: &str| {
        let lines = log[source].as_array().unwrap();
        lines.iter().any(|line| {
            line.as_str().unwrap().split_once(' ').is_some_and(|(at, line)| {
                assert!(at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok(), "{at}");
                // The test harness has begun the first line already.
                line.ends_with(text)
            })
        })
    };
    let printed = async {
        loop {
            let (status, log) = server.send_with("GET", &path, FIRST, b"").await;
            assert_eq!(status, 200);
            assert!(has_line(&log, "system", "the worker is ready"), "{log}");
            if has_line(&log, "container", "hello there") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, printed).await.unwrap();
    for (authorization, status) in [
        ("", 401),
        ("authorization: wrong\r\n", 401),
        ("authorization: second-token\r\n", 404),
        ("authorization: p-key\r\n", 200),
    ] {
        assert_eq!(server.send_with("GET", &path, authorization, b"").await.0, status, "{authorization}");
    }
    assert_eq!(server.send_with("GET", "/v1/pod/nobody/logs", FIRST, b"").await.0, 404);
}

#[tokio::test]
async fn log_is_followed_as_events_until_the_worker_ends() {
    let options = options();
    let mut endpoint = spec("p");
    flash(&mut endpoint).load.callables = vec!["print".to_owned()];
    let server = Server::new(Fixture::with(options, vec![endpoint])).await;
    let (_, job) = server.send("POST", "/v2/p/runsync", br#"{"input": "first"}"#).await;
    let path = format!("/v1/pod/{}/logs?stream=true&type=all", job["workerId"].as_str().unwrap());
    let mut socket = server.open("GET", &path).await;
    let mut seen = Vec::new();
    for text in ["first", "second"] {
        if text == "second" {
            server.send("POST", "/v2/p/runsync", br#"{"input": "second"}"#).await;
        }
        let until = async {
            while !String::from_utf8_lossy(&seen).contains(&format!(r#"{text}"}}"#)) {
                assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
            }
        };
        tokio::time::timeout(PATIENCE, until).await.unwrap();
    }
    server.fixture.platform.shutdown(PATIENCE).await;
    let until = async {
        // The last chunk: the log has ended.
        while !seen.ends_with(b"0\r\n\r\n") {
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
        }
    };
    tokio::time::timeout(PATIENCE, until).await.unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("the worker has stopped"));
}

/// Knows one endpoint of one app.
struct Deployed;

impl Directory for Deployed {
    fn resolve(&self, account: &str, app: &str, environment: &str, endpoint: &str) -> Option<String> {
        ((account, app, environment, endpoint) == ("first", "shop", "live", "cart")).then(|| "p".to_owned())
    }
}

fn sentinel(token: &str, app: &str, environment: &str, endpoint: &str) -> String {
    format!(
        "authorization: {token}\r\nx-flash-app: {app}\r\nx-flash-environment: {environment}\r\n\
         x-flash-endpoint: {endpoint}\r\n"
    )
}

#[tokio::test]
async fn sentinel_resolves_by_headers() {
    let server = server().await;
    let deployed: Arc<dyn Directory> = Arc::new(Deployed);
    server.fixture.platform.set_directory(Arc::downgrade(&deployed));
    server.fixture.platform.set_app_name("served".to_owned());
    let body = br#"{"input": "x"}"#;
    for headers in [
        sentinel("first-token", "shop", "live", "cart"),
        sentinel("p-key", "shop", "live", "cart"),
        sentinel("first-token", "served", "any", "p"),
    ] {
        let (status, job) = server.send_with("POST", "/v2/flash/runsync", &headers, body).await;
        assert_eq!((status, &job["status"]), (200, &json!("COMPLETED")), "{headers}");
        let path = format!("/v2/flash/status/{}", job["id"].as_str().unwrap());
        assert_eq!(server.send_with("GET", &path, &headers, b"").await.1, job);
    }
    for (headers, expected) in [
        (sentinel("first-token", "shop", "live", "other"), 404),
        (sentinel("first-token", "shop", "test", "cart"), 404),
        (sentinel("second-token", "shop", "live", "cart"), 404),
        (sentinel("second-token", "served", "any", "p"), 404),
        (sentinel("wrong", "shop", "live", "cart"), 401),
        (FIRST.to_owned(), 404),
    ] {
        let (status, body) = server.send_with("POST", "/v2/flash/runsync", &headers, body).await;
        assert_eq!(status, expected, "{headers}");
        assert!(body["error"].is_string());
    }
}
