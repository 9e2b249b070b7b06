//! A clock that callers of the platform can move ahead, so that its long waits are tested in seconds.
//!
//! `FLASH_PLATFORM_CLOCK=manual` has `flash platform` use it. Time goes on as ever; `POST
//! /_platform/clock {"advance_ms": N}` with the platform's own token adds to it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::access::{Access, Caller};
use super::clock::{Clock, Moment, SystemClock};
use crate::wire::BoxFuture;

/// Variable of the environment that asks for this clock.
pub(super) const VARIABLE: &str = "FLASH_PLATFORM_CLOCK";
/// Its value that does.
pub(super) const MANUAL: &str = "manual";
/// Most that one request may add: ten years.
const MOST_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

/// The machine's clock, and how far it was moved ahead.
#[derive(Debug)]
pub(super) struct AdjustableClock {
    machine: SystemClock,
    ahead: watch::Sender<Duration>,
}

impl AdjustableClock {
    pub(super) fn new() -> Self {
        Self { machine: SystemClock::default(), ahead: watch::Sender::new(Duration::ZERO) }
    }

    /// Moves the clock ahead; whoever waits for a moment that has passed by that goes on.
    pub(super) fn advance(&self, by: Duration) {
        self.ahead.send_modify(|ahead| *ahead = ahead.saturating_add(by));
    }
}

impl Clock for AdjustableClock {
    fn now(&self) -> Moment {
        self.machine.now().saturating_add(*self.ahead.borrow())
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        let machine = self.machine;
        let mut ahead = self.ahead.subscribe();
        Box::pin(async move {
            loop {
                let by = *ahead.borrow_and_update();
                tokio::select! {
                    () = machine.sleep_until(moment.saturating_sub(by)) => return,
                    // It cannot be moved any more once nobody has it.
                    Ok(()) = ahead.changed() => {}
                }
            }
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

type Shared = (Arc<AdjustableClock>, Arc<Access>, String);

/// Builds the router of `/_platform/clock`, for `account` alone.
pub(super) fn router(clock: Arc<AdjustableClock>, access: Arc<Access>, account: String) -> Router {
    Router::new().route("/_platform/clock", post(advance)).with_state((clock, access, account))
}

async fn advance(
    State((clock, access, account)): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if access.caller(&headers) != Caller::Account(account) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "unauthorized" }))).into_response();
    }
    match serde_json::from_slice::<Advance>(&body) {
        Ok(Advance { advance_ms }) if advance_ms <= MOST_MS => {
            clock.advance(Duration::from_millis(advance_ms));
            let now = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
            Json(json!({ "now_ms": now })).into_response()
        }
        _ => {
            let text = "bad request: `advance_ms` must be a number of milliseconds, ten years at most";
            (StatusCode::BAD_REQUEST, Json(json!({ "error": text }))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn advance_wakes_whoever_waits_for_a_passed_moment() {
        let clock = AdjustableClock::new();
        let before = clock.now();
        let hour = clock.sleep_until(before + Duration::from_hours(1));
        let day = clock.sleep_until(before + Duration::from_hours(24));
        clock.advance(Duration::from_hours(2));
        tokio::time::timeout(Duration::from_secs(5), hour).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), day).await.is_err());
        assert!(clock.now() >= before + Duration::from_hours(2));
    }
}
