//! The client API of queue endpoints under `/v2/{endpoint}/`, as Runpod's.
//!
//! Every success is exactly 200, every error is JSON: clients rely on both. Bodies are read as
//! JSON whatever their Content-Type says.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::Platform;
use crate::wire::backend::{Backend, Health, JobView};
use crate::wire::job::{error_text, parse_envelope, status_json};
use crate::wire::message::{ErrorReport, Failure};

const RUN_LIMIT_MIB: usize = 10;
const RUNSYNC_LIMIT_MIB: usize = 20;
/// How much of a body that is too large is read on, so that the client gets to read the answer.
const DISCARD_LIMIT: usize = 256 << 20;
const DEFAULT_WAIT: Duration = Duration::from_secs(90);
/// How long `/stream` waits for an item.
const STREAM_WAIT: Duration = Duration::from_secs(5);

/// Builds the router.
pub(super) fn router(platform: Arc<Platform>) -> Router {
    Router::new()
        .route("/v2/{endpoint}/run", post(run).fallback(wrong_method))
        .route("/v2/{endpoint}/runsync", post(run_sync).fallback(wrong_method))
        .route("/v2/{endpoint}/status/{job}", get(status).post(status).fallback(wrong_method))
        .route("/v2/{endpoint}/status-sync/{job}", get(status_sync).post(status_sync).fallback(wrong_method))
        .route("/v2/{endpoint}/stream/{job}", get(stream).post(stream).fallback(wrong_method))
        .route("/v2/{endpoint}/cancel/{job}", post(cancel).fallback(wrong_method))
        .route("/v2/{endpoint}/health", get(health).fallback(wrong_method))
        .route("/v2/{endpoint}/{*rest}", any(no_route))
        .with_state(platform)
}

/// What is answered instead of a result.
struct Refusal(StatusCode, Value);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<ErrorReport> for Refusal {
    fn from(report: ErrorReport) -> Self {
        let code = match report.failure {
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Failure::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            Failure::InvalidInput => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text =
            if report.failure == Failure::NotFound { report.message.clone() } else { error_text(&report) };
        let mut body = json!({ "error": text });
        if let Some(hint) = report.hint {
            body["hint"] = hint.into();
        }
        Self(code, body)
    }
}

impl From<Box<ErrorReport>> for Refusal {
    fn from(report: Box<ErrorReport>) -> Self {
        Self::from(*report)
    }
}

fn bad_request(reason: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, json!({ "error": format!("bad request: {reason}") }))
}

fn json_response(text: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

type Parameters = Query<Vec<(String, String)>>;

async fn run(
    State(platform): State<Arc<Platform>>,
    Path(endpoint): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    let body = read_body(body, RUN_LIMIT_MIB).await?;
    let job = parse_envelope(&body, false).map_err(bad_request)?;
    let view = platform.submit(&endpoint, job).await?;
    Ok(Json(json!({ "id": view.id, "status": "IN_QUEUE" })).into_response())
}

async fn run_sync(
    State(platform): State<Arc<Platform>>,
    Path(endpoint): Path<String>,
    parameters: Parameters,
    body: Body,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    let wait = wait_of(&parameters)?;
    let body = read_body(body, RUNSYNC_LIMIT_MIB).await?;
    let job = parse_envelope(&body, true).map_err(bad_request)?;
    let view = platform.submit(&endpoint, job).await?;
    let view = platform.wait(&endpoint, &view.id, wait).await;
    answer(view)
}

async fn status(
    State(platform): State<Arc<Platform>>,
    Path((endpoint, job)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    if let Some(ttl) = milliseconds(&parameters, "ttl")? {
        platform.shorten_life(&endpoint, &job, ttl);
    }
    answer(platform.status(&endpoint, &job).await)
}

async fn status_sync(
    State(platform): State<Arc<Platform>>,
    Path((endpoint, job)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    answer(platform.wait(&endpoint, &job, wait_of(&parameters)?).await)
}

async fn cancel(
    State(platform): State<Arc<Platform>>,
    Path((endpoint, job)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    answer(platform.cancel(&endpoint, &job).await)
}

async fn stream(
    State(platform): State<Arc<Platform>>,
    Path((endpoint, job)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    let (view, items) = platform.stream(&endpoint, &job, STREAM_WAIT).await.ok_or_else(no_job)?;
    let mut text = json!({ "id": view.id, "status": view.status }).to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"stream\":[");
    for (index, item) in items.iter().enumerate() {
        text.extend_from_slice(if index > 0 { b",{\"output\":" } else { b"{\"output\":" });
        text.extend_from_slice(item);
        text.push(b'}');
    }
    text.extend_from_slice(b"]}");
    Ok(json_response(text))
}

async fn health(
    State(platform): State<Arc<Platform>>,
    Path(endpoint): Path<String>,
) -> Result<Response, Refusal> {
    platform.known(&endpoint)?;
    let health = platform.health(&endpoint).await.unwrap_or_default();
    Ok(Json(health_json(&health)).into_response())
}

fn health_json(health: &Health) -> Value {
    json!({
        "jobs": {
            "completed": health.completed,
            "failed": health.failed,
            "inProgress": health.in_progress,
            "inQueue": health.in_queue,
            "retried": health.retried,
        },
        "workers": {
            "idle": health.workers_idle,
            "initializing": health.workers_initializing,
            "ready": health.workers_idle,
            "running": health.workers_running,
            "throttled": health.workers_throttled,
            "unhealthy": health.workers_unhealthy,
        },
    })
}

async fn no_route(Path((endpoint, rest)): Path<(String, String)>) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, json!({ "error": format!("endpoint `{endpoint}` has no `/{rest}`") }))
}

async fn wrong_method() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "method not allowed" }))
}

fn no_job() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, json!({ "error": "job not found" }))
}

fn answer(view: Option<JobView>) -> Result<Response, Refusal> {
    view.map(|view| json_response(status_json(&view))).ok_or_else(no_job)
}

fn milliseconds(parameters: &Parameters, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some((_, text)) = parameters.iter().find(|(key, _)| key == name) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(number) => Ok(Some(Duration::from_millis(number))),
        Err(_) => Err(bad_request(format!("`{name}` must be a whole number of milliseconds"))),
    }
}

fn wait_of(parameters: &Parameters) -> Result<Duration, Refusal> {
    let wait = milliseconds(parameters, "wait")?.unwrap_or(DEFAULT_WAIT);
    Ok(wait.clamp(Duration::from_secs(1), Duration::from_mins(5)))
}

async fn read_body(mut body: Body, limit_mib: usize) -> Result<Bytes, Refusal> {
    let limit = limit_mib << 20;
    let mut read = BytesMut::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| bad_request(format!("body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            read.extend_from_slice(&data);
        } else if seen > DISCARD_LIMIT {
            break;
        } else {
            read = BytesMut::new();
        }
    }
    if seen > limit {
        return Err(bad_request(format!("body: exceeded max body size of {limit_mib}MiB")));
    }
    Ok(read.freeze())
}
