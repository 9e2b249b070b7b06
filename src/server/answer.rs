//! Answers that a server itself gives.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// A JSON answer.
pub fn json(status: StatusCode, value: &Value) -> Response<Body> {
    text(status, "application/json", value.to_string())
}

/// An answer with a fixed body.
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// `{"detail": …}` with a status, as FastAPI answers an `HTTPException`.
pub fn detail(status: StatusCode, message: impl Into<Value>) -> Response<Body> {
    json(status, &json!({ "detail": message.into() }))
}
