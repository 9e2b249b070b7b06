//! What pages of other origins on this machine may read (CORS).
//!
//! `Guard` lets requests of pages on loopback and on allowed hosts in; without these headers their
//! browsers would send the request and hide its answer. Credentials are not allowed: the cookie of
//! `?token=` stays of use to the server's own pages alone.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

/// How long a browser may remember what it was allowed, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// The origin of the page that sends a request, where a browser does.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(header::ORIGIN).cloned()
}

/// Whether a browser asks if a page may send a request; it sends no token with it.
pub(super) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ORIGIN)
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a page elsewhere may read what a path answers: what functions give, and jobs; not the
/// server's own pages.
pub(super) fn is_open(path: &str) -> bool {
    !(matches!(path, "/" | "/docs" | "/redoc" | "/favicon.ico") || path.starts_with("/docs/"))
}

/// Allows what was asked for.
pub(super) fn allow_all(parts: &Parts) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let echoed: [(HeaderName, HeaderName); 2] = [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ];
    for (asked, allowed) in echoed {
        if let Some(value) = parts.headers.get(asked) {
            response.headers_mut().insert(allowed, value.clone());
        }
    }
    response.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    response
}

/// Lets a page of this origin read an answer, unless the function says itself who may.
pub(super) fn let_read(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    }
}
