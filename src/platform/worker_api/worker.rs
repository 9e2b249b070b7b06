//! Which worker calls: the first thing that happens to a request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::platform::Platform;
use crate::platform::access::{Caller, token};
use crate::platform::client_api::admission::parse_query;
use crate::platform::client_api::refusal::Refusal;
use crate::platform::state::Link;
use crate::platform::supervisor::Supervisor;
use crate::server::guard::same;

/// How long a refusal waits: a stray worker would ask a hundred times a second.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

/// A worker that lives, and may say what it says.
pub(super) struct KnownWorker {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) number: u64,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl KnownWorker {
    /// A part of the path; empty when the route has none of this name.
    pub(super) fn part(&self, name: &str) -> &str {
        find(&self.path, name).unwrap_or_default()
    }

    /// A parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }
}

impl FromRequestParts<Arc<Platform>> for KnownWorker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, platform: &Arc<Platform>) -> Result<Self, Refusal> {
        let refusal = match recognise(parts, platform).await {
            Ok(worker) => return Ok(worker),
            Err(refusal) => refusal,
        };
        let clock = &platform.shared.options.clock;
        clock.sleep_until(clock.now() + REFUSAL_PAUSE).await;
        Err(refusal)
    }
}

async fn recognise(parts: &mut Parts, platform: &Arc<Platform>) -> Result<KnownWorker, Refusal> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Refusal::bad_request("the path is not UTF-8"))?;
    let mut path: Vec<(String, String)> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut query = parse_query(parts.uri.query().unwrap_or_default());
    // A URL without a query gets its parameters added to the path (`platform.md` 9, 11).
    if let Some((_, last)) = path.last_mut()
        && let Some((bare, more)) = last.split_once('&')
    {
        query.extend(parse_query(more));
        *last = bare.to_owned();
    }
    let caller = platform.shared.options.access.caller(&parts.headers);
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "there is no such worker");
    let (endpoint, worker) = (find(&path, "endpoint"), find(&path, "worker"));
    let supervisor = endpoint.and_then(|endpoint| platform.endpoint(endpoint));
    let Some(supervisor) = supervisor else {
        let is_known = matches!(caller, Caller::Anyone | Caller::Account(_));
        return Err(if is_known { unknown() } else { Refusal::unauthorized() });
    };
    let number = {
        let state = supervisor.lock();
        let found = state.workers.iter().find(|(_, known)| Some(known.id.as_str()) == worker);
        let own = found.and_then(|(number, worker)| match &worker.link {
            Link::Polls(polls) => Some((*number, polls.token.as_str())),
            Link::Frames(_) | Link::Port(_) => None,
        });
        let has_own_token = own.zip(token(&parts.headers)).is_some_and(|((_, own), token)| same(token, own));
        if !has_own_token && !caller.opens(&state.spec.account, state.spec.key.as_deref()) {
            return Err(Refusal::unauthorized());
        }
        own.map(|(number, _)| number).ok_or_else(unknown)?
    };
    Ok(KnownWorker { supervisor, number, path, query })
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
