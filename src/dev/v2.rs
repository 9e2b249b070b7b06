//! `/v2/{endpoint}/…` of endpoints on Runpod: the routes of Runpod's own API, through the backend.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::json;

use super::answer;
use crate::project::DeclaredEndpoint;
use crate::wire::Backend;
use crate::wire::backend::JobView;
use crate::wire::job::{parse_envelope, status_json};

/// How long `/runsync` waits where nothing is said, and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(90), Duration::from_mins(5));
/// How long `/stream` waits for items.
const ITEMS: Duration = Duration::from_secs(10);

/// Splits `/v2/{endpoint}/{rest}`.
pub(super) fn parse(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/v2/")?.split_once('/')
}

/// Answers a request for an endpoint on Runpod.
pub(super) async fn answer(
    backend: &dyn Backend,
    endpoint: &DeclaredEndpoint,
    rest: &str,
    parts: &Parts,
    body: Bytes,
) -> Response<Body> {
    let name = endpoint.name.as_str();
    let (verb, job) = rest.split_once('/').unwrap_or((rest, ""));
    let job = urlencoding::decode(job).map_or_else(|_| job.to_owned(), std::borrow::Cow::into_owned);
    let is_post = parts.method == Method::POST;
    let view = match (verb, job.as_str()) {
        ("run" | "runsync", "") if is_post => {
            return submit(backend, endpoint, verb == "runsync", parts, body).await;
        }
        ("health", "") => {
            let health = backend.health(name).await.unwrap_or_default();
            return answer::json(
                StatusCode::OK,
                &json!({
                    "jobs": {
                        "completed": health.completed, "failed": health.failed, "inProgress": health.in_progress,
                        "inQueue": health.in_queue, "retried": health.retried,
                    },
                    "workers": {
                        "idle": health.workers_idle, "initializing": health.workers_initializing,
                        "running": health.workers_running, "throttled": health.workers_throttled,
                        "unhealthy": health.workers_unhealthy,
                    },
                }),
            );
        }
        ("purge-queue", "") if is_post => {
            let removed = backend.purge(name).await.unwrap_or_default();
            return answer::json(StatusCode::OK, &json!({ "removed": removed, "status": "completed" }));
        }
        ("status", job) if !job.is_empty() => backend.status(name, job).await,
        ("status-sync", job) if !job.is_empty() => backend.wait(name, job, WAIT.0).await,
        ("cancel", job) if is_post && !job.is_empty() => backend.cancel(name, job).await,
        ("retry", job) if is_post && !job.is_empty() => match backend.retry(name, job).await {
            Ok(view) => view,
            Err(report) => return answer::failure(&report),
        },
        ("stream", job) if !job.is_empty() => {
            let Some((view, items)) = backend.stream(name, job, ITEMS).await else { return missing() };
            let mut text = String::from_utf8_lossy(&status_json(&view)).into_owned();
            text.pop();
            let items: Vec<String> = items
                .iter()
                .map(|item| format!("{{\"output\":{}}}", String::from_utf8_lossy(item)))
                .collect();
            _ = write!(text, ",\"stream\":[{}]}}", items.join(","));
            return answer::text(StatusCode::OK, "application/json", text);
        }
        _ => return answer::not_found(),
    };
    view.map_or_else(missing, |view| shown(&view))
}

async fn submit(
    backend: &dyn Backend,
    endpoint: &DeclaredEndpoint,
    is_sync: bool,
    parts: &Parts,
    body: Bytes,
) -> Response<Body> {
    let mut job = match parse_envelope(&body, is_sync) {
        Ok(job) => job,
        Err(error) => {
            let text = format!("bad request: {error}");
            return answer::json(StatusCode::BAD_REQUEST, &json!({ "error": text }));
        }
    };
    job.callable = match callable(endpoint, &job.input) {
        Ok(callable) => callable,
        Err(text) => return answer::json(StatusCode::BAD_REQUEST, &json!({ "error": text })),
    };
    let name = endpoint.name.as_str();
    let mut view = match backend.submit(name, job).await {
        Ok(view) => view,
        Err(report) => return answer::failure(&report),
    };
    if is_sync && !view.status.is_terminal() {
        let asked =
            parts.uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("wait="));
        let wait = asked.and_then(|millis| millis.parse().ok()).map_or(WAIT.0, Duration::from_millis);
        let id = view.id.clone();
        view = backend.wait(name, &id, wait.min(WAIT.1)).await.unwrap_or(view);
    }
    shown(&view)
}

/// Which function a job is for: the only one, else `method` of its input.
fn callable(endpoint: &DeclaredEndpoint, input: &[u8]) -> Result<String, String> {
    let mut names = Vec::new();
    for callable in &endpoint.callables {
        match &callable.methods {
            Some(methods) => {
                names.extend(methods.iter().map(|method| format!("{}.{}", callable.name, method.name)));
            }
            None => names.push(callable.name.clone()),
        }
    }
    if let [only] = names.as_slice() {
        return Ok(only.clone());
    }
    let input: serde_json::Value = serde_json::from_slice(input).unwrap_or_default();
    let wanted = input["method"].as_str().unwrap_or_default();
    let found = names
        .iter()
        .find(|name| *name == wanted || name.split_once('.').is_some_and(|(_, method)| method == wanted));
    found.cloned().ok_or_else(|| {
        format!(
            "`{}` has several functions: name one as `method` of the input ({})",
            endpoint.name,
            names.join(", ")
        )
    })
}

fn shown(view: &JobView) -> Response<Body> {
    answer::text(StatusCode::OK, "application/json", status_json(view))
}

fn missing() -> Response<Body> {
    answer::json(StatusCode::NOT_FOUND, &json!({ "error": "job not found" }))
}
