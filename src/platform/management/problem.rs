//! Answers of the REST APIs: JSON, and problems as `application/problem+json`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::ManagementError;

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl From<ManagementError> for Problem {
    fn from(error: ManagementError) -> Self {
        let status = match &error {
            ManagementError::NotFound { .. } => StatusCode::NOT_FOUND,
            ManagementError::Invalid(_) => StatusCode::BAD_REQUEST,
            ManagementError::Conflict(_) => StatusCode::CONFLICT,
            ManagementError::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            ManagementError::Store(_) | ManagementError::File { .. } | ManagementError::Damaged { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self { status, detail: format!("{error}{cause}") }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        // `error` and `message` are for clients of version 1, which look for either.
        let body = json!({
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

pub(super) fn ok(body: &Value) -> Response {
    Json(body).into_response()
}

pub(super) fn created(body: &Value) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}

pub(super) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

pub(super) fn method_not_allowed() -> std::future::Ready<Problem> {
    let detail = "this method is not served here".to_owned();
    std::future::ready(Problem { status: StatusCode::METHOD_NOT_ALLOWED, detail })
}

pub(super) fn no_route() -> std::future::Ready<Problem> {
    let detail = "there is nothing at this path".to_owned();
    std::future::ready(Problem { status: StatusCode::NOT_FOUND, detail })
}
