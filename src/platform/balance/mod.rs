//! Load-balanced endpoints by host and by path (`platform.md` 3): any method, any path, HTTP as it
//! is. Requests wait for a worker that is well, and are never queued for longer or sent twice.
//!
//! A worker of our own is reached by frames ([`frames`]), a command by the port that it listens on.

mod affinity;
pub mod frames;
mod health;
mod lease;
mod port;
mod refusal;
mod route;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

pub(super) use self::affinity::{Affinity, WORKER_ID};
pub(super) use self::health::watch;
pub(super) use self::lease::Granted;
use self::refusal::{refusal, report_refusal, too_large};
use self::route::Target;
pub(super) use self::route::{Route, route};
use super::Platform;
use super::access::Caller;
use super::spec::Runtime;
use super::supervisor::Supervisor;
use crate::endpoint::EndpointKind;
use crate::server::answer;
use crate::wire::message::HttpHead;

/// Largest request and largest answer, in bytes.
const LIMIT: usize = 30 << 20;
/// How long a request may take once a worker has it, as on Runpod.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(330);

/// Which worker a request wants that is sent in frames.
pub(super) fn affinity_of(head: &HttpHead) -> Affinity {
    let mut headers = head.headers.iter();
    let named = headers.find(|(name, _)| name.eq_ignore_ascii_case(WORKER_ID.as_str()));
    Affinity::parse(named.map(|(_, value)| value.as_slice()))
}

/// Answers a request that [`route`] found to be for a load-balanced endpoint.
pub(super) async fn serve(
    platform: &Arc<Platform>,
    route: Route,
    request: Request<Body>,
    peer: SocketAddr,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let caller = platform.shared.options.access.caller(&parts.headers);
    let supervisor = match admit(platform, &caller, &route.target) {
        Ok(supervisor) => supervisor,
        Err(refusal) => return *refusal,
    };
    if caller != Caller::Anyone {
        // The account's token is not the worker's to know.
        parts.headers.remove(header::AUTHORIZATION);
    }
    let (kind, is_command) = {
        let spec = &supervisor.lock().spec;
        (spec.kind, !matches!(spec.runtime, Runtime::Flash(_)))
    };
    if kind != EndpointKind::LoadBalanced {
        let name = &supervisor.name;
        let text = format!("endpoint `{name}` is queue-based: call it at /v2/{name}/run");
        return refusal(StatusCode::NOT_FOUND, text);
    }
    if declared_length(&parts.headers).is_some_and(|length| length > LIMIT) {
        return too_large();
    }
    if is_command {
        return port::forward(&supervisor, parts, body, &route.path_and_query).await;
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    in_frames(platform, &supervisor, parts, &route.path_and_query, body, peer).await
}

async fn in_frames(
    platform: &Arc<Platform>,
    supervisor: &Supervisor,
    mut parts: Parts,
    path_and_query: &str,
    body: Bytes,
    peer: SocketAddr,
) -> Response<Body> {
    let Ok(uri) = path_and_query.parse() else {
        return refusal(StatusCode::BAD_REQUEST, "bad request: the path cannot be forwarded");
    };
    parts.uri = uri;
    let asked = (parts.method.clone(), parts.uri.path().to_owned());
    let answered =
        frames::forward(platform.as_ref(), &supervisor.name, "", &parts, body, peer.to_string()).await;
    match answered {
        Ok(response)
            if response.status() == StatusCode::NOT_FOUND && asked == (Method::GET, "/ping".into()) =>
        {
            // Runpod's own worker program answers this itself (`platform.md` 3.2).
            let mut healthy = answer::json(StatusCode::OK, &serde_json::json!({ "status": "healthy" }));
            if let Some(worker) = response.headers().get(WORKER_ID) {
                healthy.headers_mut().insert(WORKER_ID, worker.clone());
            }
            healthy
        }
        Ok(response) => response.map(|body| Body::new(Limited::new(body, LIMIT))),
        Err(report) => report_refusal(&report),
    }
}

/// Returns the endpoint that a caller may use. That there is one of another account is not told.
fn admit(
    platform: &Arc<Platform>,
    caller: &Caller,
    target: &Target,
) -> Result<Arc<Supervisor>, Box<Response<Body>>> {
    let unauthorized = || Box::new(refusal(StatusCode::UNAUTHORIZED, "unauthorized"));
    if *caller == Caller::Nobody {
        return Err(unauthorized());
    }
    let opens = |supervisor: &Arc<Supervisor>| {
        let spec = &supervisor.lock().spec;
        caller.opens(&spec.account, spec.key.as_deref())
    };
    let (found, name) = match target {
        Target::Id(id) => (platform.endpoint_of_host(id, opens), id),
        Target::Deployed { app, environment, endpoint } => {
            let found = match caller {
                Caller::Account(account) => platform.resolve(account, app, environment, endpoint),
                _ => None,
            };
            (found.and_then(|id| platform.endpoint(&id)).filter(opens), endpoint)
        }
    };
    found.ok_or_else(|| match caller {
        Caller::Token(_) | Caller::Nobody => unauthorized(),
        Caller::Anyone | Caller::Account(_) => {
            Box::new(refusal(StatusCode::NOT_FOUND, format!("there is no endpoint `{name}`")))
        }
    })
}

impl Platform {
    /// Returns an endpoint by its ID, in any letter case: hosts have none.
    fn endpoint_of_host(
        &self,
        id: &str,
        opens: impl Fn(&Arc<Supervisor>) -> bool,
    ) -> Option<Arc<Supervisor>> {
        if let Some(exact) = self.endpoint(id) {
            return Some(exact).filter(opens);
        }
        let name = self.known_names().into_iter().find(|name| name.eq_ignore_ascii_case(id))?;
        self.endpoint(&name).filter(opens)
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(body: Body) -> Result<Bytes, Box<Response<Body>>> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Box::new(too_large())),
        Err(_) => Err(Box::new(refusal(StatusCode::BAD_REQUEST, "bad request: the body could not be read"))),
    }
}
