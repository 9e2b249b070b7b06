//! What is asked about an endpoint as a whole.

use axum::Json;
use axum::response::Response;
use serde_json::{Value, json};

use super::admission::Admitted;
use super::jobs::json_response;
use super::rates::Operation;
use super::refusal::Refusal;
use super::shapes::{health_json, requests_json, workers_json};
use crate::platform::health::WorkerStatus;
use crate::wire::backend::Backend;

/// How many jobs `requests` lists.
const RECENT: usize = 100;

/// `POST purge-queue`: cancels what waits.
pub(super) async fn purge_queue(admitted: Admitted) -> Result<Json<Value>, Refusal> {
    let _permit = admitted.enter(Operation::Purge)?;
    let removed = admitted.platform.purge(admitted.endpoint()).await.unwrap_or_default();
    Ok(Json(json!({ "removed": removed, "status": "completed" })))
}

/// `GET requests`: the jobs that came last, the newest first.
pub(super) async fn requests(admitted: Admitted) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::Requests)?;
    let jobs = admitted.platform.recent(admitted.endpoint(), RECENT).await.unwrap_or_default();
    Ok(json_response(requests_json(&jobs)))
}

/// `GET metrics`: what official Flash follows the workers of a live endpoint by (`platform.md` 5.4).
pub(super) async fn metrics(admitted: Admitted) -> Json<Value> {
    let health = admitted.platform.health(admitted.endpoint()).await.unwrap_or_default();
    let mut ready = admitted.supervisor.workers();
    ready.retain(|worker| {
        !worker.is_stale && matches!(worker.status, WorkerStatus::Running | WorkerStatus::Idle)
    });
    // Clients look at the first one: one that works says more.
    ready.sort_by_key(|worker| worker.status != WorkerStatus::Running);
    let ready: Vec<String> = ready.into_iter().map(|worker| worker.id).collect();
    Json(json!({ "workers": workers_json(&health), "readyWorkers": ready }))
}

/// `GET health`.
pub(super) async fn health(admitted: Admitted) -> Json<Value> {
    let health = admitted.platform.health(admitted.endpoint()).await.unwrap_or_default();
    Json(health_json(&health))
}
