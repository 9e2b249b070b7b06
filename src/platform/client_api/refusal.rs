//! What is answered instead of a result: a status and `{"error": …}`.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::wire::job::error_text;
use crate::wire::message::{ErrorReport, Failure};

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Value,
    retry_after: Option<Duration>,
    closes: bool,
    is_unheard: bool,
}

impl Refusal {
    /// A refusal with this text.
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self::from_body(status, json!({ "error": text.into() }))
    }

    pub(in crate::platform) fn from_body(status: StatusCode, body: Value) -> Self {
        Self { status, body, retry_after: None, closes: false, is_unheard: false }
    }

    /// The client sent something wrong; worded as Runpod does.
    pub(crate) fn bad_request(reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("bad request: {reason}"))
    }

    pub(in crate::platform) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized")
    }

    pub(crate) fn no_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "job not found")
    }

    /// Too much was asked for; it may be asked again after this long.
    pub(super) fn rate_limited(text: String, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, text) }
    }

    /// The same, and the connection ends: what is left of the request is not read.
    pub(super) fn and_close(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The connection broke while the request was read: whoever sent it will not read this.
    pub(super) fn unheard(self) -> Self {
        Self { is_unheard: true, ..self.and_close() }
    }

    /// Whether nobody will read it.
    pub(in crate::platform) fn is_unheard(&self) -> bool {
        self.is_unheard
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(pause) = self.retry_after {
            // A part of a second counts as one: a client that comes too early is refused again.
            let seconds = (pause.as_secs() + u64::from(pause.subsec_nanos() > 0)).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<ErrorReport> for Refusal {
    fn from(report: ErrorReport) -> Self {
        let status = match report.failure {
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Failure::Cancelled | Failure::Environment | Failure::Load => StatusCode::SERVICE_UNAVAILABLE,
            Failure::InvalidInput => return Self::bad_request(report.message),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text =
            if report.failure == Failure::NotFound { report.message.clone() } else { error_text(&report) };
        let mut body = json!({ "error": text });
        if let Some(hint) = report.hint {
            body["hint"] = hint.into();
        }
        Self::from_body(status, body)
    }
}

impl From<Box<ErrorReport>> for Refusal {
    fn from(report: Box<ErrorReport>) -> Self {
        Self::from(*report)
    }
}
