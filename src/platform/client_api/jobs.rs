//! What is asked about one job: its state, its items, to cancel it.

use std::time::Duration;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::admission::Admitted;
use super::rates::Operation;
use super::refusal::Refusal;
use super::shapes::stream_json;
use crate::wire::backend::{Backend, JobView};
use crate::wire::job::status_json;

/// How long `/stream` waits for an item: JavaScript clients ask again without a pause.
const STREAM_WAIT: Duration = Duration::from_secs(5);

/// `GET` or `POST status/{job}`.
pub(super) async fn status(admitted: Admitted) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::Status)?;
    if let Some(ttl) = admitted.milliseconds("ttl")? {
        admitted.platform.shorten_life(admitted.endpoint(), admitted.job(), ttl);
    }
    answer(admitted.platform.status(admitted.endpoint(), admitted.job()).await)
}

/// `GET` or `POST status-sync/{job}`.
pub(super) async fn status_sync(admitted: Admitted) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::StatusSync)?;
    let wait = admitted.wait()?;
    answer(admitted.platform.wait(admitted.endpoint(), admitted.job(), wait).await)
}

/// `POST cancel/{job}`; one that is finished stays as it is.
pub(super) async fn cancel(admitted: Admitted) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::Cancel)?;
    answer(admitted.platform.cancel(admitted.endpoint(), admitted.job()).await)
}

/// `POST retry/{job}`: one that failed or timed out runs again, with the same ID and input.
pub(super) async fn retry(admitted: Admitted) -> Result<Response, Refusal> {
    let view = admitted.platform.retry(admitted.endpoint(), admitted.job()).await?;
    let view = view.ok_or_else(Refusal::no_job)?;
    Ok(Json(json!({ "id": view.id, "status": "IN_QUEUE" })).into_response())
}

/// `GET` or `POST stream/{job}`: each item is given once.
pub(super) async fn stream(admitted: Admitted) -> Result<Response, Refusal> {
    let _permit = admitted.enter(Operation::Stream)?;
    let taken = admitted.platform.stream(admitted.endpoint(), admitted.job(), STREAM_WAIT).await;
    let (view, items) = taken.ok_or_else(Refusal::no_job)?;
    Ok(json_response(stream_json(&view, &items)))
}

/// Answers with a job's state; 404 when there is no such job (any more).
pub(super) fn answer(view: Option<JobView>) -> Result<Response, Refusal> {
    view.map(|view| json_response(status_json(&view))).ok_or_else(Refusal::no_job)
}

/// A success whose body is this JSON text.
pub(super) fn json_response(text: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
