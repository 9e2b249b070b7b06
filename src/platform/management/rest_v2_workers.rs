//! REST version 2: an endpoint's workers, their logs, and its releases.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::Management;
use super::caller::Session;
use super::error::ManagementError;
use super::model::{Endpoint, find};
use super::problem::{Problem, method_not_allowed, ok};
use crate::platform::client_api::log_events;
use crate::platform::health::{WorkerStatus, WorkerView};
use crate::platform::logs::LogSource;

/// Lines of a log that are given when none are asked for.
const DEFAULT_TAIL: usize = 100;
/// Most lines that can be asked for.
const MOST_TAIL: usize = 5000;

type Answer = Result<Response, Problem>;

/// Builds the router.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new()
        .route("/v2/serverless/{id}/workers", get(workers).fallback(method_not_allowed))
        .route("/v2/serverless/{id}/workers/{worker}/logs", get(logs).fallback(method_not_allowed))
        .route("/v2/serverless/{id}/releases", get(releases).fallback(method_not_allowed))
}

async fn workers(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
) -> Answer {
    let state = management.state();
    let endpoint = find(&state.endpoints, &session.account, &id)?;
    let image = state.templates.get(&endpoint.template_id).map_or("", |template| &template.image);
    let views = management.platform.workers(&id).unwrap_or_default();
    let count = |status: WorkerStatus| views.iter().filter(|view| view.status == status).count();
    let summary = json!({
        "running": count(WorkerStatus::Running),
        "idle": count(WorkerStatus::Idle),
        "initializing": count(WorkerStatus::Initializing),
        "throttled": count(WorkerStatus::Throttled),
        "unhealthy": count(WorkerStatus::Unhealthy),
        "total": views.len(),
    });
    let now = management.now();
    let workers: Vec<Value> = views.iter().map(|view| worker_json(view, endpoint, image, now)).collect();
    Ok(ok(&json!({ "workers": workers, "summary": summary, "endpointVersion": endpoint.version })))
}

/// A worker's lines as server-sent events: the last ones, then new ones as they come.
async fn logs(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path((id, worker)): Path<(String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let state = management.state();
    find(&state.endpoints, &session.account, &id)?;
    let log = management.platform.worker_log(&worker).filter(|log| log.endpoint() == id);
    let log = log.ok_or_else(|| ManagementError::not_found("worker", &worker))?;
    let parameter =
        |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let source = match parameter("source") {
        Some("container") => Some(LogSource::Container),
        Some("system") => Some(LogSource::System),
        None => None,
        Some(_) => {
            return Err(ManagementError::Invalid("`source` is `container` or `system`".to_owned()).into());
        }
    };
    let tail = match parameter("tail").map(str::parse::<usize>) {
        None => DEFAULT_TAIL,
        Some(Ok(tail)) if tail <= MOST_TAIL => tail,
        Some(_) => return Err(ManagementError::Invalid(format!("`tail` is 0 to {MOST_TAIL}")).into()),
    };
    let seen = headers.get("last-event-id").and_then(|seen| seen.to_str().ok()).or(parameter("since"));
    let lines = log.lines(0);
    let mut wanted = lines.iter().rev().filter(|line| source.is_none_or(|source| line.source == source));
    let before = match seen {
        // Written alike, so that their order is that of time.
        Some(seen) => wanted.find(|line| line.timestamp().as_str() <= seen),
        None => wanted.nth(tail),
    };
    let after = before.map(|line| line.number);
    Ok(log_events(log, after.unwrap_or(0), source))
}

fn worker_json(view: &WorkerView, endpoint: &Endpoint, image: &str, now: u64) -> Value {
    let started = view.started.and_then(|started| u64::try_from(started.as_millis()).ok());
    let mut worker = json!({
        "id": view.id,
        "status": status_name(view.status),
        "isStale": view.is_stale,
        "version": if view.is_stale { endpoint.version.saturating_sub(1) } else { endpoint.version },
        "gpuCount": if endpoint.instance_ids.is_empty() { endpoint.gpu_count } else { 0 },
        "image": image,
        "uptimeSeconds": started.map_or(0, |started| now.saturating_sub(started) / 1000),
        "gpuTypeId": null,
        "dataCenterId": null,
    });
    if let Some(reason) = &view.reason {
        worker["reason"] = reason.as_str().into();
    }
    worker
}

fn status_name(status: WorkerStatus) -> &'static str {
    match status {
        WorkerStatus::Initializing => "INITIALIZING",
        WorkerStatus::Idle | WorkerStatus::Asleep => "IDLE",
        WorkerStatus::Running => "RUNNING",
        WorkerStatus::Throttled => "THROTTLED",
        WorkerStatus::Unhealthy => "UNHEALTHY",
        WorkerStatus::Stopping => "STOPPING",
    }
}

async fn releases(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
) -> Answer {
    let state = management.state();
    let endpoint = find(&state.endpoints, &session.account, &id)?;
    let image = state.templates.get(&endpoint.template_id).map_or("", |template| &template.image);
    // Only the release that is served is kept.
    let release = json!({ "version": endpoint.version, "image": image, "isCurrent": true });
    Ok(ok(&json!({ "releases": [release], "pagination": { "hasNextPage": false } })))
}
