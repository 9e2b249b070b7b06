//! The passthrough for `OpenAI` clients, over real HTTP.

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::http::Server;
use super::*;

async fn server() -> Server {
    let mut endpoint = spec("llm");
    flash(&mut endpoint).load.callables = vec!["openai".to_owned()];
    let mut plain = spec("plain");
    flash(&mut plain).load.callables = vec!["echo".to_owned()];
    Server::new(Fixture::new(vec![endpoint, plain])).await
}

#[tokio::test]
async fn answer_is_the_output_unwrapped() {
    let server = server().await;
    let (status, answer) = server.send("GET", "/v2/llm/openai/v1/models", b"").await;
    assert_eq!((status, answer), (200, json!({"route": "/v1/models", "asked": null})));
    let body = br#"{"model": "m", "n": 1.50}"#;
    let (status, answer) = server.send("POST", "/v2/llm/openai/v1/chat/completions", body).await;
    let expected = json!({"route": "/v1/chat/completions", "asked": {"model": "m", "n": 1.5}});
    assert_eq!((status, answer), (200, expected));
    let (_, answer) = server.send("POST", "/v2/plain/openai/v1/x", b"[1, 2]").await;
    assert_eq!(answer, json!({"openai_route": "/v1/x", "openai_input": [1, 2]}));
}

#[tokio::test]
async fn stream_is_relayed_event_by_event_and_not_twice() {
    let server = server().await;
    let (head, body) = server.exchange("POST", "/v2/llm/openai/v1/x", "", br#"{"stream": true}"#).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"), "{head}");
    let events: Vec<&str> = body.lines().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(events, ["data: {\"n\": 1}", "data: é", "data: [DONE]"], "{body}");
    // A handler that yields nothing has its output sent once.
    let (_, body) = server.exchange("POST", "/v2/plain/openai/v1/x", "", br#"{"stream": true}"#).await;
    let events: Vec<&str> = body.lines().filter(|line| line.starts_with("data: ")).collect();
    assert_eq!(events, [r#"data: {"openai_route":"/v1/x","openai_input":{"stream":true}}"#], "{body}");
}

#[tokio::test]
async fn failure_is_an_error_object_with_status_200() {
    let server = server().await;
    for body in [&br#"{"fail": true}"#[..], br#"{"fail": true, "stream": true}"#] {
        let (status, answer) = server.send("POST", "/v2/llm/openai/v1/x", body).await;
        assert_eq!((status, answer), (200, json!({"error": "ValueError: boom"})));
    }
}

#[tokio::test]
async fn client_that_leaves_a_stream_cancels_its_job() {
    let server = server().await;
    let body = br#"{"stream": true, "forever": true}"#;
    let mut socket = server.open_with("POST", "/v2/llm/openai/v1/x", body).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("data: {\"n\": 1}") {
        // The first event comes while the job still runs.
        assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
    }
    let job = server.fixture.platform.recent("llm", 1).await.unwrap().remove(0);
    assert_eq!(job.status, JobStatus::InProgress);
    drop(socket);
    assert_eq!(server.fixture.finished("llm", &job.id).await.status, JobStatus::Cancelled);
}

#[tokio::test]
async fn client_that_leaves_before_the_answer_cancels_its_job() {
    let options = options();
    let server = Server::new(Fixture::with(options, vec![with_workers(spec("none"), 0, 0)])).await;
    let socket = server.open_with("POST", "/v2/none/openai/v1/x", b"{}").await;
    let job = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(job) = server.fixture.platform.recent("none", 1).await.unwrap().pop() {
                return job;
            }
            tokio::task::yield_now().await;
        }
    });
    let job = job.await.unwrap();
    drop(socket);
    assert_eq!(server.fixture.finished("none", &job.id).await.status, JobStatus::Cancelled);
}
