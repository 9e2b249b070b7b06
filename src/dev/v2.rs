//! `/v2/{endpoint}/…` of endpoints on Runpod: the routes of Runpod's own API, through the backend.
//!
//! Answers have the shapes of the platform's `client_api`, so that nobody can tell where it runs.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::json;

use super::answer;
use crate::endpoint::EndpointKind;
use crate::platform::{Refusal, routes};
use crate::project::DeclaredEndpoint;
use crate::wire::Backend;
use crate::wire::backend::JobView;
use crate::wire::job::{parse_envelope, parse_object, status_json};

/// How long `/stream` waits for items.
const ITEMS: Duration = Duration::from_secs(10);
/// How many jobs `requests` lists.
const RECENT: usize = 100;

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
    serve(backend, endpoint, rest, parts, body).await.unwrap_or_else(Refusal::into_response)
}

async fn serve(
    backend: &dyn Backend,
    endpoint: &DeclaredEndpoint,
    rest: &str,
    parts: &Parts,
    body: Bytes,
) -> Result<Response<Body>, Refusal> {
    let name = endpoint.name.as_str();
    let (verb, job) = rest.split_once('/').unwrap_or((rest, ""));
    let methods: &[Method] = match (verb, job.is_empty()) {
        ("run" | "runsync" | "purge-queue", true) | ("cancel" | "retry", false) => &[Method::POST],
        ("requests" | "health", true) => &[Method::GET],
        ("status" | "status-sync" | "stream", false) => &[Method::GET, Method::POST],
        _ => {
            let text = format!("endpoint `{name}` has no `/{rest}`");
            return Err(Refusal::new(StatusCode::NOT_FOUND, text));
        }
    };
    if !methods.contains(&parts.method) {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
    }
    let view = match verb {
        "run" => {
            let view = submit(backend, endpoint, false, body).await?;
            return Ok(queued(&view));
        }
        "runsync" => {
            let wait = routes::wait_of(parts)?;
            let view = submit(backend, endpoint, true, body).await?;
            backend.wait(name, &view.id, wait).await
        }
        "health" => {
            let health = backend.health(name).await.unwrap_or_default();
            return Ok(answer::json(StatusCode::OK, &routes::health_json(&health)));
        }
        "purge-queue" => {
            let removed = backend.purge(name).await.unwrap_or_default();
            return Ok(answer::json(StatusCode::OK, &json!({ "removed": removed, "status": "completed" })));
        }
        "requests" => {
            let jobs = backend.recent(name, RECENT).await.unwrap_or_default();
            return Ok(json_text(routes::requests_json(&jobs)));
        }
        "status-sync" => backend.wait(name, job, routes::wait_of(parts)?).await,
        "cancel" => backend.cancel(name, job).await,
        "retry" => {
            let view = backend.retry(name, job).await?.ok_or_else(Refusal::no_job)?;
            return Ok(queued(&view));
        }
        "stream" => {
            let (view, items) = backend.stream(name, job, ITEMS).await.ok_or_else(Refusal::no_job)?;
            return Ok(json_text(routes::stream_json(&view, &items)));
        }
        _ => backend.status(name, job).await,
    };
    view.map(|view| json_text(status_json(&view))).ok_or_else(Refusal::no_job)
}

async fn submit(
    backend: &dyn Backend,
    endpoint: &DeclaredEndpoint,
    is_sync: bool,
    body: Bytes,
) -> Result<JobView, Refusal> {
    let name = endpoint.name.as_str();
    if endpoint.kind == EndpointKind::LoadBalanced {
        let text = format!("endpoint `{name}` is load-balanced: it has routes, not a queue");
        return Err(Refusal::new(StatusCode::NOT_FOUND, text));
    }
    let mut job = parse_envelope(&body, is_sync).map_err(Refusal::bad_request)?;
    (job.callable, job.input) = callable(endpoint, job.input).map_err(Refusal::bad_request)?;
    Ok(backend.submit(name, job).await?)
}

/// Which function a job is for, and its input: the only one, else the one that `method` of the input
/// names, which is cut out.
fn callable(endpoint: &DeclaredEndpoint, input: Bytes) -> Result<(String, Bytes), String> {
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
        return Ok((only.clone(), input));
    }
    let short = |name: &str| name.rsplit_once('.').map_or(name, |(_, last)| last).to_owned();
    let object = parse_object(&input).unwrap_or_default();
    let method = object.iter().rev().find(|(key, _)| key == "method").map(|(_, value)| value.get());
    let known = names.iter().map(|name| short(name)).collect::<Vec<_>>().join(", ");
    let Some(method) = method.and_then(|text| serde_json::from_str::<String>(text).ok()) else {
        return Err(format!(
            "`{}` has several functions ({known}): name one as `method` of the input",
            endpoint.name
        ));
    };
    let found = names.iter().find(|name| **name == method || short(name) == method);
    let Some(found) = found else {
        return Err(format!("`{}` has no function `{method}`; it has {known}", endpoint.name));
    };
    let kept = object.iter().filter(|(key, _)| key != "method");
    let kept: Vec<String> = kept.map(|(key, value)| format!("{}:{}", json!(key), value.get())).collect();
    Ok((found.clone(), format!("{{{}}}", kept.join(",")).into()))
}

fn queued(view: &JobView) -> Response<Body> {
    answer::json(StatusCode::OK, &json!({ "id": view.id, "status": "IN_QUEUE" }))
}

fn json_text(text: Vec<u8>) -> Response<Body> {
    answer::text(StatusCode::OK, "application/json", text)
}
