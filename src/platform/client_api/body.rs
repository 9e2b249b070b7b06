//! Reads a request's body: up to a limit, and not for ever.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::refusal::Refusal;
use crate::platform::clock::Clock;

/// What `/run` takes, in MiB.
pub(super) const RUN_LIMIT_MIB: usize = 10;
/// What `/runsync` takes, in MiB.
pub(super) const RUNSYNC_LIMIT_MIB: usize = 20;
/// How much of a body that is too large is read on, so that the client gets to read the answer.
const DISCARD_LIMIT: usize = 256 << 20;
/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a whole body may take.
const WHOLE: Duration = Duration::from_mins(5);

/// Reads a body of at most `limit_mib`.
pub(in crate::platform) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limit_mib: usize,
    clock: &dyn Clock,
) -> Result<Bytes, Refusal> {
    let limit = limit_mib << 20;
    let too_large = || Refusal::bad_request(format!("body: exceeded max body size of {limit_mib}MiB"));
    let told =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|told| told > limit)
        && (headers.contains_key(header::EXPECT) || told > Some(DISCARD_LIMIT))
    {
        // The client waits to be told to go on, or would send more than anybody wants to read.
        return Err(too_large().and_close());
    }
    let mut read = BytesMut::with_capacity(told.unwrap_or_default().min(limit).min(64 << 10));
    let mut seen = 0usize;
    let mut end = clock.sleep_until(clock.now().saturating_add(WHOLE));
    loop {
        let mut silent = clock.sleep_until(clock.now().saturating_add(SILENCE));
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = &mut silent => return Err(too_slow()),
            () = &mut end => return Err(too_slow()),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Refusal::bad_request(format!("body: {error}")).unheard())?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            read.extend_from_slice(&data);
        } else if seen > DISCARD_LIMIT {
            return Err(too_large().and_close());
        } else {
            read = BytesMut::new();
        }
    }
    if seen > limit {
        return Err(too_large());
    }
    Ok(read.freeze())
}

/// Reads a body that nobody wants, within the same limits.
pub(in crate::platform) async fn discard(mut body: Body, clock: &dyn Clock) {
    let mut seen = 0usize;
    let mut end = clock.sleep_until(clock.now().saturating_add(WHOLE));
    while seen <= DISCARD_LIMIT {
        let mut silent = clock.sleep_until(clock.now().saturating_add(SILENCE));
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = &mut silent => return,
            () = &mut end => return,
        };
        let Some(Ok(frame)) = frame else { return };
        seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
    }
}

fn too_slow() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "bad request: body: it took too long to arrive").and_close()
}
