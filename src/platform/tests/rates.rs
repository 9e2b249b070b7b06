//! How often an endpoint may be asked, over real HTTP.

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::http::Server;
use super::*;
use crate::platform::options::RateLimits;

async fn server(clock: &Arc<ManualClock>, limits: RateLimits) -> Server {
    let options = PlatformOptions { clock: Arc::clone(clock) as _, rate_limits: limits, ..options() };
    let specs = vec![with_workers(spec("none"), 0, 0), with_workers(spec("other"), 0, 0)];
    Server::new(Fixture::with(options, specs)).await
}

#[tokio::test]
async fn request_beyond_the_window_is_429_until_it_has_moved_on() {
    let clock = Arc::new(ManualClock::new());
    let server = server(&clock, RateLimits::Runpod).await;
    let cancel = async |endpoint: &str| {
        server.exchange("POST", &format!("/v2/{endpoint}/cancel/nobody"), "", b"").await
    };
    for second in 0..5 {
        for _ in 0..20 {
            let (head, _) = cancel("none").await;
            assert!(head.starts_with("HTTP/1.1 404"), "{second}: {head}");
        }
        clock.advance(Duration::from_secs(1));
    }
    // The first twenty came five seconds ago.
    let (head, body) = cancel("none").await;
    assert!(head.starts_with("HTTP/1.1 429"), "{head}");
    assert!(head.to_lowercase().contains("\r\nretry-after: 5"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"error": "rate limit exceeded: cancel takes 100 requests in 10 seconds"}));
    assert!(cancel("other").await.0.starts_with("HTTP/1.1 404"));
    assert_eq!(server.send("GET", "/v2/none/health", b"").await.0, 200);

    clock.advance(Duration::from_millis(4999));
    assert!(cancel("none").await.0.starts_with("HTTP/1.1 429"));
    clock.advance(Duration::from_millis(1));
    for _ in 0..20 {
        assert!(cancel("none").await.0.starts_with("HTTP/1.1 404"));
    }
    assert!(cancel("none").await.0.starts_with("HTTP/1.1 429"));
}

#[tokio::test]
async fn requests_at_once_are_limited_and_count_until_they_end() {
    let clock = Arc::new(ManualClock::new());
    let server = server(&clock, RateLimits::Runpod).await;
    let waiting_for = async |server: &Server| {
        let id = server.fixture.submit("none", "", json!(1)).await;
        let path = format!("/v2/none/status-sync/{id}");
        let mut held = Vec::new();
        for _ in 0..400 {
            held.push(server.open("GET", &path).await);
        }
        let full = async {
            while !server
                .exchange("GET", "/v2/none/status-sync/x", "", b"")
                .await
                .0
                .starts_with("HTTP/1.1 429")
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, full).await.unwrap();
        (id, held)
    };
    let (id, sockets) = waiting_for(&server).await;
    let (head, body) = server.exchange("GET", "/v2/none/status-sync/x", "", b"").await;
    assert!(head.to_lowercase().contains("\r\nretry-after: 1"), "{head}");
    assert!(body.contains("400 requests at once"), "{body}");
    server.fixture.platform.cancel("none", &id).await.unwrap();
    for mut socket in sockets {
        let mut start = [0; 12];
        socket.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
    // Those that were answered count no more, and neither do those that left.
    clock.advance(Duration::from_secs(10));
    drop(waiting_for(&server).await);
    let free = async {
        while server.exchange("GET", "/v2/none/status-sync/x", "", b"").await.0.starts_with("HTTP/1.1 429") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test]
async fn limits_are_off_unless_asked_for() {
    let clock = Arc::new(ManualClock::new());
    let server = server(&clock, RateLimits::Off).await;
    for _ in 0..150 {
        assert_eq!(server.send("POST", "/v2/none/cancel/nobody", b"").await.0, 404);
    }
}
