//! What is asked about an endpoint as a whole.

use axum::Json;
use serde_json::{Value, json};

use super::admission::Admitted;
use crate::wire::backend::{Backend, Health};

/// `GET health`.
pub(super) async fn health(admitted: Admitted) -> Json<Value> {
    let health = admitted.platform.health(admitted.endpoint()).await.unwrap_or_default();
    Json(json!({
        "jobs": {
            "completed": health.completed,
            "failed": health.failed,
            "inProgress": health.in_progress,
            "inQueue": health.in_queue,
            "retried": health.retried,
        },
        "workers": workers(&health),
    }))
}

/// The counters of workers.
fn workers(health: &Health) -> Value {
    json!({
        "idle": health.workers_idle,
        "initializing": health.workers_initializing,
        "ready": health.workers_idle,
        "running": health.workers_running,
        "throttled": health.workers_throttled,
        "unhealthy": health.workers_unhealthy,
    })
}
