//! Asks workers that listen whether they are well (`platform.md` 3.2).

use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::platform::state::Phase;
use crate::platform::supervisor::Supervisor;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while nobody listens yet: a start is not to wait for the next full second.
const START_INTERVAL: Duration = Duration::from_millis(100);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Path that is asked where the endpoint's `HEALTH_CHECK_PATH` names none.
const PATH: &str = "/ping";

/// What a worker said.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Healthy,
    /// Alive, and not ready yet.
    Initializing,
    /// Nobody listens.
    Silent(String),
    /// Anything else.
    Unhealthy(String),
}

/// Asks a worker until it is gone.
pub(in crate::platform) async fn watch(
    supervisor: Weak<Supervisor>,
    number: u64,
    address: SocketAddr,
    path: Option<String>,
) {
    let path = path.filter(|path| !path.trim().is_empty()).unwrap_or_else(|| PATH.to_owned());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    loop {
        let answer = ask(address, &path).await;
        let Some(known) = supervisor.upgrade() else { return };
        let is_starting = match known.lock().workers.get(&number).map(|worker| worker.phase) {
            Some(Phase::Starting) => true,
            Some(Phase::Ready | Phase::Draining) => false,
            _ => return,
        };
        let pause = match &answer {
            Answer::Silent(_) if is_starting => START_INTERVAL,
            _ => INTERVAL,
        };
        known.worker_healthy(
            number,
            match answer {
                Answer::Healthy => None,
                Answer::Initializing => Some(format!("`{path}` says that it is not ready (204)")),
                Answer::Silent(reason) | Answer::Unhealthy(reason) => Some(reason),
            },
        );
        let clock = known.shared.options.clock.clone();
        drop(known);
        clock.sleep_until(clock.now() + pause).await;
    }
}

async fn ask(address: SocketAddr, path: &str) -> Answer {
    let Ok(Ok(stream)) = timeout(PATIENCE, TcpStream::connect(address)).await else {
        return Answer::Silent("it does not listen on its port".to_owned());
    };
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(path).header(header::HOST, address.to_string()).body(Body::empty());
        let status = match request {
            Ok(request) => sender.send_request(request).await?.status(),
            Err(_) => StatusCode::BAD_REQUEST,
        };
        Ok::<_, hyper::Error>(status)
    };
    match timeout(PATIENCE, asking).await {
        Ok(Ok(StatusCode::OK)) => Answer::Healthy,
        Ok(Ok(StatusCode::NO_CONTENT)) => Answer::Initializing,
        Ok(Ok(status)) => Answer::Unhealthy(format!("`{path}` answered {}", status.as_u16())),
        Ok(Err(_)) => Answer::Unhealthy(format!("`{path}` was not answered")),
        Err(_) => Answer::Unhealthy(format!("`{path}` was not answered within {PATIENCE:?}")),
    }
}
