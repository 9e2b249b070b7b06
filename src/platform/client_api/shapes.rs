//! The JSON of answers that `flash run` also gives for endpoints that are not here.

use std::time::Duration;

use axum::http::request::Parts;
use bytes::Bytes;
use serde_json::{Value, json};

use super::admission::{milliseconds, parse_query};
use super::refusal::Refusal;
use crate::wire::backend::{Health, JobView};
use crate::wire::job::status_json;

const DEFAULT_WAIT: Duration = Duration::from_secs(90);
const LEAST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_mins(5);

/// How long a client wants to wait (`platform.md` 1.5).
pub(crate) fn wait_of(parts: &Parts) -> Result<Duration, Refusal> {
    wait_in(&parse_query(parts.uri.query().unwrap_or_default()))
}

/// The same, from a query that was read.
pub(super) fn wait_in(query: &[(String, String)]) -> Result<Duration, Refusal> {
    Ok(milliseconds(query, "wait")?.unwrap_or(DEFAULT_WAIT).clamp(LEAST_WAIT, MOST_WAIT))
}

/// `GET health`.
pub(crate) fn health_json(health: &Health) -> Value {
    json!({
        "jobs": {
            "completed": health.completed,
            "failed": health.failed,
            "inProgress": health.in_progress,
            "inQueue": health.in_queue,
            "retried": health.retried,
        },
        "workers": workers_json(health),
    })
}

/// The counters of workers.
pub(super) fn workers_json(health: &Health) -> Value {
    json!({
        "idle": health.workers_idle,
        "initializing": health.workers_initializing,
        "ready": health.workers_idle,
        "running": health.workers_running,
        "throttled": health.workers_throttled,
        "unhealthy": health.workers_unhealthy,
    })
}

/// `GET requests`: jobs, the newest first.
pub(crate) fn requests_json(jobs: &[JobView]) -> Vec<u8> {
    let jobs: Vec<Vec<u8>> = jobs.iter().map(status_json).collect();
    [b"{\"requests\":[".as_slice(), &jobs.join(&b','), b"]}"].concat()
}

/// `stream/{job}`: the items that were not given before.
pub(crate) fn stream_json(view: &JobView, items: &[Bytes]) -> Vec<u8> {
    let mut text = json!({ "id": view.id, "status": view.status }).to_string().into_bytes();
    text.pop();
    text.extend_from_slice(b",\"stream\":[");
    for (index, item) in items.iter().enumerate() {
        text.extend_from_slice(if index > 0 { b",{\"output\":" } else { b"{\"output\":" });
        text.extend_from_slice(item);
        text.push(b'}');
    }
    text.extend_from_slice(b"]}");
    text
}
