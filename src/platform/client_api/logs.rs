//! `GET /v1/pod/{worker}/logs`, which official tools ask the host of `RUNPOD_HAPI_URL` for, and
//! lines of a worker as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;

use super::admission::{admit, parse_query};
use super::refusal::Refusal;
use crate::platform::Platform;
use crate::platform::access::Caller;
use crate::platform::logs::{LogLine, LogSource, WorkerLog};

/// `GET /v1/pod/{worker}/logs`, `?stream=true` for events.
pub(super) async fn pod_logs(
    State(platform): State<Arc<Platform>>,
    Path(worker): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let caller = platform.shared.options.access.caller(&headers);
    let no_worker = || match caller {
        Caller::Anyone | Caller::Account(_) => {
            Refusal::new(StatusCode::NOT_FOUND, format!("there is no worker `{worker}`"))
        }
        Caller::Token(_) | Caller::Nobody => Refusal::unauthorized(),
    };
    let log = platform.worker_log(&worker).ok_or_else(no_worker)?;
    admit(&platform, &caller, log.endpoint()).map_err(|_| no_worker())?;
    let query = parse_query(&query.unwrap_or_default());
    let asks = |name: &str, value: &str| query.iter().any(|(key, given)| key == name && given == value);
    let source = match () {
        () if asks("type", "container") => Some(LogSource::Container),
        () if asks("type", "system") => Some(LogSource::System),
        () => None,
    };
    if asks("stream", "true") {
        return Ok(log_events(log, 0, source));
    }
    let lines = log.lines(0);
    let of = |source: LogSource| -> Vec<String> {
        let lines = lines.iter().filter(|line| line.source == source);
        lines.map(|line| format!("{} {}", line.timestamp(), line.text)).collect()
    };
    let body = json!({ "container": of(LogSource::Container), "system": of(LogSource::System) });
    Ok(Json(body).into_response())
}

/// A worker's lines after the one of that number as server-sent events, of one source or of all,
/// until the worker ends (`platform.md` 5.3).
pub(in crate::platform) fn log_events(
    log: Arc<WorkerLog>,
    after: u64,
    source: Option<LogSource>,
) -> Response {
    let events = log.follow(after).map(move |lines| {
        let wanted = lines.iter().filter(|line| source.is_none_or(|source| line.source == source));
        Ok::<_, Infallible>(Bytes::from(wanted.map(event).collect::<String>()))
    });
    // An empty piece would end the body's chunks.
    let events =
        events.filter(|piece| std::future::ready(piece.as_ref().is_ok_and(|piece| !piece.is_empty())));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

fn event(line: &LogLine) -> String {
    let at = line.timestamp();
    let data = json!({ "ts": at, "source": line.source.as_str(), "line": line.text });
    format!("id: {at}\ndata: {data}\n\n")
}
