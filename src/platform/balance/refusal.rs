//! What a client of a load-balanced endpoint gets instead of a worker's answer.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::LIMIT;
use super::lease::{NO_WORKERS, WORKER_GONE, WORKER_TIMEOUT};
use crate::server::answer;
use crate::wire::job::error_text;
use crate::wire::message::{ErrorReport, Failure};

/// `{"error": …}` with a status.
pub(super) fn refusal(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    answer::json(status, &json!({ "error": text.into() }))
}

/// A request that is too large; the connection ends, since its rest is not read.
pub(super) fn too_large() -> Response<Body> {
    let text = format!("bad request: body: exceeded max body size of {}MiB", LIMIT >> 20);
    let mut response = refusal(StatusCode::BAD_REQUEST, text);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says why no worker answered (`platform.md` 3.3, 3.4).
pub(super) fn report_refusal(report: &ErrorReport) -> Response<Body> {
    match report.error_type.as_str() {
        NO_WORKERS => return refusal(StatusCode::BAD_REQUEST, "no workers available"),
        WORKER_GONE => {
            let body = json!({ "error": WORKER_GONE, "reason": WORKER_GONE, "detail": report.message });
            return answer::json(StatusCode::NOT_FOUND, &body);
        }
        WORKER_TIMEOUT => {
            let body = json!({ "error": report.message, "reason": WORKER_TIMEOUT });
            return answer::json(StatusCode::BAD_REQUEST, &body);
        }
        _ => {}
    }
    let status = match report.failure {
        Failure::NotFound => StatusCode::NOT_FOUND,
        Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Failure::WorkerDied => StatusCode::BAD_GATEWAY,
        Failure::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Failure::InvalidInput => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let text = if report.failure == Failure::NotFound { report.message.clone() } else { error_text(report) };
    refusal(status, text)
}
