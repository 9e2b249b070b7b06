//! Requests for load-balanced endpoints of our own worker program, forwarded in frames.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_bytes::ByteBuf;

use crate::wire::Backend;
use crate::wire::backend::{HttpReply, HttpRequest};
use crate::wire::job::error_text;
use crate::wire::message::{ErrorReport, HttpHead};

/// Headers that belong to one connection, not to the message.
const HOP_BY_HOP: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, HeaderName::from_static("keep-alive")];

/// Forwards a request to an endpoint's worker; the answer streams, and is given up when its
/// reader goes away.
pub async fn forward(
    backend: &dyn Backend,
    endpoint: &str,
    prefix: &str,
    parts: &Parts,
    body: Bytes,
    client: String,
) -> Result<Response<Body>, ErrorReport> {
    let reply =
        backend.request(endpoint, HttpRequest { head: head(parts, prefix, &body, client), body }).await?;
    Ok(response(reply))
}

fn head(parts: &Parts, prefix: &str, body: &Bytes, client: String) -> HttpHead {
    let mut headers: Vec<(String, ByteBuf)> = parts
        .headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(name))
        .map(|(name, value)| (name.as_str().to_owned(), ByteBuf::from(value.as_bytes())))
        .collect();
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        headers.push(("content-length".to_owned(), ByteBuf::from(body.len().to_string())));
    }
    HttpHead {
        method: parts.method.as_str().to_owned(),
        path: below(parts.uri.path(), prefix).to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        root_path: prefix.to_owned(),
        client: Some(client),
    }
}

/// Cuts a prefix off a path that is still percent-encoded: as many segments as the prefix has.
fn below<'a>(path: &'a str, prefix: &str) -> &'a str {
    let segments = prefix.matches('/').count();
    path.match_indices('/').nth(segments).map_or("/", |(at, _)| &path[at..])
}

fn response(reply: HttpReply) -> Response<Body> {
    let HttpReply { start, body, worker } = reply;
    // The worker's ID lives as long as the stream does.
    let body = stream::unfold((body, worker), |(mut body, worker)| async move {
        let piece = body.recv().await?;
        let piece = piece.map_err(|report| io::Error::other(error_text(&report)));
        Some((piece, (body, worker)))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::from_u16(start.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in start.headers {
        let name = HeaderName::from_bytes(&name);
        let value = HeaderValue::from_bytes(&value);
        if let (Ok(name), Ok(value)) = (name, value)
            && !HOP_BY_HOP.contains(&name)
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn path_below_a_prefix_keeps_its_encoding() {
        assert_eq!(below("/api/items/a%2Fb", "/api"), "/items/a%2Fb");
        assert_eq!(below("/sub%20x/api/", "/sub x/api"), "/");
        assert_eq!(below("/plain", ""), "/plain");
    }
}
