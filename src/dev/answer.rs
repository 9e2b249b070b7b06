//! Answers that the server itself gives, in FastAPI's shapes.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

pub(super) use crate::server::answer::{detail, json, text};
use crate::wire::job::{error_details, error_text};
use crate::wire::message::{ErrorReport, Failure};

/// FastAPI's 404.
pub(super) fn not_found() -> Response<Body> {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

/// Starlette's 405, with the methods that would do.
pub(super) fn method_not_allowed(methods: &[&str]) -> Response<Body> {
    let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// One entry of a 422, as FastAPI lists what is wrong with a request.
pub(super) fn invalid(kind: &str, location: &Value, message: &str, input: &Value) -> Response<Body> {
    detail(
        StatusCode::UNPROCESSABLE_ENTITY,
        json!([{ "type": kind, "loc": location, "msg": message, "input": input }]),
    )
}

/// What a failed call answers where no job stands behind it: `detail` says what happened, and for
/// an exception in the user's code the same three fields as a failed job's output follow.
pub(super) fn failure(report: &ErrorReport) -> Response<Body> {
    if report.failure == Failure::InvalidInput {
        let list = report.detail.clone().unwrap_or_else(|| Value::from(report.message.clone()));
        return detail(StatusCode::UNPROCESSABLE_ENTITY, list);
    }
    let status = match report.failure {
        Failure::NotFound => StatusCode::NOT_FOUND,
        Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Failure::Load | Failure::Environment | Failure::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Failure::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Failure::WorkerDied => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut body = json!({ "detail": error_text(report) });
    if let (Some(object), Some(Value::Object(details))) = (body.as_object_mut(), error_details(report)) {
        object.extend(details);
    }
    json(status, &body)
}
