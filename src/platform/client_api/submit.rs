//! `run` and `runsync`: a job comes in.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;

use super::admission::Admitted;
use super::body::{RUN_LIMIT_MIB, RUNSYNC_LIMIT_MIB, read_body};
use super::jobs::answer;
use super::rates::Operation;
use super::refusal::Refusal;
use crate::endpoint::EndpointKind;
use crate::wire::backend::Backend;
use crate::wire::job::parse_envelope;

/// `POST run`.
pub(super) async fn run(admitted: Admitted, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::Run)?;
    let body = job_body(&admitted, &headers, body, RUN_LIMIT_MIB).await?;
    let job = parse_envelope(&body, false).map_err(Refusal::bad_request)?;
    let view = admitted.platform.submit(admitted.endpoint(), job).await?;
    Ok(Json(json!({ "id": view.id, "status": "IN_QUEUE" })).into_response())
}

/// `POST runsync`. A client that leaves does not cancel the job.
pub(super) async fn run_sync(
    admitted: Admitted,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::RunSync)?;
    let wait = admitted.wait()?;
    let body = job_body(&admitted, &headers, body, RUNSYNC_LIMIT_MIB).await?;
    let job = parse_envelope(&body, true).map_err(Refusal::bad_request)?;
    let view = admitted.platform.submit(admitted.endpoint(), job).await?;
    answer(admitted.platform.wait(admitted.endpoint(), &view.id, wait).await)
}

/// Reads the body of a request to an endpoint that must have a queue.
pub(super) async fn job_body(
    admitted: &Admitted,
    headers: &HeaderMap,
    body: Body,
    limit_mib: usize,
) -> Result<Bytes, Refusal> {
    if admitted.supervisor.lock().spec.kind == EndpointKind::LoadBalanced {
        let name = admitted.endpoint();
        let text = format!("endpoint `{name}` is load-balanced: it has routes, not a queue");
        return Err(Refusal::new(StatusCode::NOT_FOUND, text));
    }
    read_body(headers, body, limit_mib, &*admitted.platform.shared.options.clock).await
}
