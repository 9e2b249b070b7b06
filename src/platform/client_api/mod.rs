//! The client API of endpoints under `/v2/{endpoint}/`, as Runpod's.
//!
//! Every success is exactly 200, every error is JSON: clients rely on both. Who calls is checked
//! before anything else is read; bodies are read as JSON whatever their Content-Type says.

pub(super) mod admission;
pub(super) mod body;
mod endpoint;
mod jobs;
mod logs;
mod openai;
mod rates;
pub(super) mod refusal;
mod sentinel;
pub(crate) mod shapes;
mod submit;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, any, get, post};
use serde_json::json;

use self::admission::Admitted;
pub(super) use self::logs::log_events;
pub(super) use self::rates::Rates;
use self::refusal::Refusal;
use super::Platform;

/// Builds the router.
pub(super) fn router(platform: Arc<Platform>) -> Router {
    Router::new()
        .route("/v2/{endpoint}/run", only(post(submit::run)))
        .route("/v2/{endpoint}/runsync", only(post(submit::run_sync)))
        .route("/v2/{endpoint}/status/{job}", only(get(jobs::status).post(jobs::status)))
        .route("/v2/{endpoint}/status-sync/{job}", only(get(jobs::status_sync).post(jobs::status_sync)))
        .route("/v2/{endpoint}/stream/{job}", only(get(jobs::stream).post(jobs::stream)))
        .route("/v2/{endpoint}/cancel/{job}", only(post(jobs::cancel)))
        .route("/v2/{endpoint}/retry/{job}", only(post(jobs::retry)))
        .route("/v2/{endpoint}/purge-queue", only(post(endpoint::purge_queue)))
        .route("/v2/{endpoint}/requests", only(get(endpoint::requests)))
        .route("/v2/{endpoint}/health", only(get(endpoint::health)))
        .route("/v2/{endpoint}/metrics", only(get(endpoint::metrics)))
        .route("/v2/{endpoint}/openai/{*route}", any(openai::relay))
        .route("/v1/pod/{worker}/logs", get(logs::pod_logs))
        .route("/v2/{endpoint}", any(no_route))
        .route("/v2/{endpoint}/", any(no_route))
        .route("/v2/{endpoint}/{*rest}", any(no_route))
        .with_state(platform)
}

/// Answers other methods in JSON.
fn only(route: MethodRouter<Arc<Platform>>) -> MethodRouter<Arc<Platform>> {
    route.fallback(wrong_method)
}

async fn no_route(admitted: Admitted) -> Refusal {
    let text = format!("endpoint `{}` has no `/{}`", admitted.endpoint(), admitted.part("rest"));
    Refusal::new(StatusCode::NOT_FOUND, text)
}

async fn wrong_method(_admitted: Admitted) -> Refusal {
    Refusal::from_body(StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "method not allowed" }))
}
