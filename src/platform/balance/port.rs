//! Requests for workers that listen, forwarded byte for byte.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::affinity::{Affinity, WORKER_ID};
use super::lease::Lease;
use super::refusal::{refusal, report_refusal, too_large};
use super::{LIMIT, REQUEST_TIMEOUT};
use crate::platform::supervisor::Supervisor;
use crate::wire::BoxFuture;

/// How long a worker on this machine may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Headers that belong to one connection, not to the message.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // Answered here already.
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Forwards a request to one of an endpoint's workers.
pub(super) async fn forward(
    supervisor: &Arc<Supervisor>,
    parts: Parts,
    body: Body,
    path_and_query: &str,
) -> Response<Body> {
    let affinity = Affinity::parse(parts.headers.get(&WORKER_ID).map(HeaderValue::as_bytes));
    let give_up = supervisor.patience(&affinity);
    let (lease, stream) = loop {
        let lease = match supervisor.lease(affinity.clone(), give_up).await {
            Ok(lease) => lease,
            Err(report) => return report_refusal(&report),
        };
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(lease.address)).await {
            Ok(Ok(stream)) => break (lease, stream),
            // Nothing was sent: another worker may take it, or this one once it is well again.
            _ => supervisor.worker_healthy(lease.number, Some("it refused a connection".to_owned())),
        }
    };
    let worker = HeaderValue::from_str(&lease.worker).unwrap_or(HeaderValue::from_static("worker"));
    let mut response = exchange(supervisor, lease, stream, parts, body, path_and_query).await;
    response.headers_mut().insert(WORKER_ID, worker);
    response
}

async fn exchange(
    supervisor: &Arc<Supervisor>,
    lease: Lease,
    stream: TcpStream,
    parts: Parts,
    body: Body,
    path_and_query: &str,
) -> Response<Body> {
    let _ = stream.set_nodelay(true);
    let clock = Arc::clone(&supervisor.shared.options.clock);
    let mut deadline = clock.sleep_until(clock.now().saturating_add(REQUEST_TIMEOUT));
    let upgrade = upgrade_of(&parts.headers);
    let mut request = Request::from_parts(parts, ());
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, ()) = request.into_parts();
    strip(&mut parts.headers);
    restore_upgrade(&mut parts.headers, upgrade.as_ref());
    parts.version = Version::HTTP_11;
    parts.uri = match path_and_query.parse() {
        Ok(uri) => uri,
        Err(_) => return refusal(StatusCode::BAD_REQUEST, "bad request: the path cannot be forwarded"),
    };
    let request = Request::from_parts(parts, Limited::new(body, LIMIT));
    let sending = async {
        let mut builder = http1::Builder::new();
        let (mut sender, connection) =
            builder.preserve_header_case(true).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    };
    let answered = tokio::select! {
        answered = sending => answered,
        () = &mut deadline => {
            let text = format!("the worker did not answer within {REQUEST_TIMEOUT:?}");
            return refusal(StatusCode::GATEWAY_TIMEOUT, text);
        }
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(error) if is_too_large(&error) => return too_large(),
        Err(_) => {
            let reason = "the worker ended the connection before it had answered";
            supervisor.worker_healthy(lease.number, Some(reason.to_owned()));
            return refusal(StatusCode::BAD_GATEWAY, reason);
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgrade = upgrade_of(response.headers());
        let worker = hyper::upgrade::on(&mut response);
        let mut switched = Response::new(Body::empty());
        *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *switched.headers_mut() = std::mem::take(response.headers_mut());
        strip(switched.headers_mut());
        restore_upgrade(switched.headers_mut(), upgrade.as_ref());
        let Some(client) = client else {
            return refusal(StatusCode::BAD_GATEWAY, "the worker switched protocols unasked");
        };
        tokio::spawn(async move {
            if let (Ok(client), Ok(worker)) = tokio::join!(client, worker) {
                // Either end that goes ends both.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(worker)).await;
            }
            drop(lease);
        });
        return switched;
    }
    let (mut parts, body) = response.into_parts();
    if body.size_hint().lower() > u64::try_from(LIMIT).unwrap_or(u64::MAX) {
        let text = format!("the worker's answer is larger than {} MB", LIMIT >> 20);
        return refusal(StatusCode::BAD_GATEWAY, text);
    }
    strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let body = Leased { body: Limited::new(Body::new(body), LIMIT), deadline, _lease: lease };
    Response::from_parts(parts, Body::new(body))
}

/// The protocol that a message wants to switch to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let wants = connection
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    wants.then(|| headers.get(header::UPGRADE).cloned()).flatten()
}

fn restore_upgrade(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// Removes what belongs to the connection: the usual headers, and those that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn is_too_large(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(source) = cause {
        if source.is::<LengthLimitError>() {
            return true;
        }
        cause = source.source();
    }
    false
}

/// A worker's answer: holds its place until it is read, for the time that a request may take.
struct Leased {
    body: Limited<Body>,
    deadline: BoxFuture<'static, ()>,
    _lease: Lease,
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(
                Err(format!("the request took longer than {REQUEST_TIMEOUT:?}").into()),
            ));
        }
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn headers_of_the_connection_are_not_forwarded() {
        let mut sent = headers(&[
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("x-own", "2"),
        ]);
        assert_eq!(upgrade_of(&sent), None);
        strip(&mut sent);
        assert_eq!(sent, headers(&[("x-own", "2")]));
    }

    #[test]
    fn upgrade_is_asked_for_again() {
        let mut sent = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let upgrade = upgrade_of(&sent);
        strip(&mut sent);
        restore_upgrade(&mut sent, upgrade.as_ref());
        assert_eq!(sent, headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]));
    }
}
