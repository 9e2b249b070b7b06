//! Who calls the management API, and what they sent.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;

use super::Management;
use super::error::ManagementError;
use crate::platform::access::Caller;
use crate::platform::standalone::ACCOUNT;
use crate::server::listen::Secure;

/// Largest body: a manifest of a large app.
const BODY_LIMIT: usize = 16 << 20;

/// An account that calls.
pub(super) struct Session {
    /// The account.
    pub(super) account: String,
    /// How the caller reaches this server.
    pub(super) base: String,
}

/// Somebody whose token is no account's.
pub(super) struct Unauthorized;

impl IntoResponse for Unauthorized {
    fn into_response(self) -> Response {
        (StatusCode::UNAUTHORIZED, Json(json!({ "error": "unauthorized" }))).into_response()
    }
}

impl FromRequestParts<Arc<Management>> for Session {
    type Rejection = Unauthorized;

    async fn from_request_parts(
        parts: &mut Parts,
        management: &Arc<Management>,
    ) -> Result<Self, Self::Rejection> {
        let account = management.account_of(parts).ok_or(Unauthorized)?;
        Ok(Self { account, base: management.base(parts) })
    }
}

impl Management {
    /// The account that sent a request, if one did.
    pub(super) fn account_of(&self, parts: &Parts) -> Option<String> {
        match self.platform.options().access.caller(&parts.headers) {
            Caller::Account(account) => Some(account),
            Caller::Anyone => Some(ACCOUNT.to_owned()),
            // An endpoint's key or a worker's token opens no account.
            Caller::Token(_) | Caller::Nobody => None,
        }
    }

    /// How the sender of a request reaches this server.
    pub(super) fn base(&self, parts: &Parts) -> String {
        let named = parts.uri.authority().map(http::uri::Authority::as_str);
        let host = named.or_else(|| parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()));
        match host {
            Some(host) => {
                let is_secure = parts.extensions.get::<Secure>().is_some();
                format!("{}://{host}", if is_secure { "https" } else { "http" })
            }
            None => self.options.url.clone(),
        }
    }
}

/// Reads a body whole.
pub(super) async fn read_body(body: Body) -> Result<Bytes, ManagementError> {
    let too_large = |_| ManagementError::Invalid("the body is too large or was broken off".to_owned());
    to_bytes(body, BODY_LIMIT).await.map_err(too_large)
}
