//! How long requests to load-balanced commands wait, and for whom.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};

use super::commands::script;
use super::*;
use crate::endpoint::EndpointKind;
use crate::platform::balance::{route, serve};
use crate::platform::clock::manual::ManualClock;

/// Answers `/ping`, and nothing else ever.
const SILENT: &str = r#"exec python3 -c '
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/ping":
            print("asked", flush=True)
            time.sleep(1000)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'"#;

fn balanced(text: &str) -> (Arc<Fixture>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let endpoint = EndpointSpec { kind: EndpointKind::LoadBalanced, ..script("lb", text) };
    let fixture = Arc::new(Fixture::with(options, vec![endpoint]));
    fixture.platform.listens_at("http://127.0.0.1:9");
    (fixture, clock)
}

async fn ask(fixture: &Fixture, worker: &str) -> Response<Body> {
    let request = Request::get("/lb/lb/x").header("host", "localhost").header("x-runpod-worker-id", worker);
    let (parts, body) = request.body(Body::empty()).unwrap().into_parts();
    let found = route(&parts).unwrap();
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    serve(&fixture.platform, found, Request::from_parts(parts, body), peer).await
}

async fn said(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Asks, and moves the clock once the request waits.
async fn answered_after(
    fixture: &Arc<Fixture>,
    clock: &ManualClock,
    worker: &str,
    waits: [Duration; 2],
) -> (StatusCode, Value) {
    let (asking, worker) = (Arc::clone(fixture), worker.to_owned());
    let mut answer = tokio::spawn(async move { said(ask(&asking, &worker).await).await });
    let waiting = async {
        while fixture.platform.endpoint("lb").unwrap().lock().queue.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    clock.advance(waits[0]);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "{early:?}");
    clock.advance(waits[1]);
    tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_a_healthy_worker_waits_two_minutes() {
    let (fixture, clock) = balanced("sleep 1000");
    let waits = [Duration::from_secs(119), Duration::from_secs(1)];
    let answer = answered_after(&fixture, &clock, "", waits).await;
    assert_eq!(answer, (StatusCode::BAD_REQUEST, serde_json::json!({ "error": "no workers available" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_for_one_worker_waits_five_minutes_and_not_for_one_that_is_gone() {
    let (fixture, clock) = balanced("sleep 1000");
    fixture.platform.endpoint("lb").unwrap().warm();
    let worker = fixture.platform.workers("lb").unwrap()[0].id.clone();
    let waits = [Duration::from_secs(299), Duration::from_secs(1)];
    let answer = answered_after(&fixture, &clock, &format!("strict {worker}"), waits).await;
    let reason = serde_json::json!({ "error": "timed out waiting for worker", "reason": "worker_timeout" });
    assert_eq!(answer, (StatusCode::BAD_REQUEST, reason));
    let (status, gone) = said(ask(&fixture, "strict wgone").await).await;
    assert_eq!((status, gone["error"].as_str()), (StatusCode::NOT_FOUND, Some("affinity_worker_gone")));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_a_worker_does_not_answer_ends_after_five_and_a_half_minutes() {
    let (fixture, clock) = balanced(SILENT);
    let asking = Arc::clone(&fixture);
    let answer = tokio::spawn(async move { said(ask(&asking, "").await).await });
    // The health check asks again as time passes.
    let ticking = tokio::spawn({
        let clock = Arc::clone(&clock);
        async move {
            for _ in 0..600 {
                clock.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let is_asked = |event: &Event| matches!(event, Event::Output { line, .. } if line == "asked");
    fixture.log.until_event("the worker is asked", is_asked).await;
    ticking.abort();
    assert_eq!(fixture.platform.health("lb").await.unwrap().workers_running, 1);
    clock.advance(Duration::from_secs(330));
    let (status, body) = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{body}");
    assert_eq!(fixture.platform.health("lb").await.unwrap().workers_running, 0);
}
