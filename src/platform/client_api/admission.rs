//! Who may call which endpoint: the first thing that happens to a request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::rates::{Operation, Permit, enter};
use super::refusal::Refusal;
use super::sentinel::{self, SENTINEL};
use super::shapes::wait_in;
use crate::platform::Platform;
use crate::platform::access::Caller;
use crate::platform::supervisor::Supervisor;

/// A request that may be served: its endpoint exists, and its caller may use it.
pub(super) struct Admitted {
    pub(super) platform: Arc<Platform>,
    pub(super) supervisor: Arc<Supervisor>,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl Admitted {
    /// The endpoint's ID.
    pub(super) fn endpoint(&self) -> &str {
        &self.supervisor.name
    }

    /// Counts it as one of these; refuses it when there are too many. It counts until the permit
    /// is dropped.
    pub(super) fn enter(&self, operation: Operation) -> Result<Permit, Refusal> {
        enter(&self.supervisor, operation)
    }

    /// A part of the path; empty when the route has none of this name.
    pub(super) fn part(&self, name: &str) -> &str {
        find(&self.path, name).unwrap_or_default()
    }

    /// The job that the path names.
    pub(super) fn job(&self) -> &str {
        self.part("job")
    }

    /// A parameter that is a number of milliseconds.
    pub(super) fn milliseconds(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        milliseconds(&self.query, name)
    }

    /// How long the client wants to wait.
    pub(super) fn wait(&self) -> Result<Duration, Refusal> {
        wait_in(&self.query)
    }
}

impl FromRequestParts<Arc<Platform>> for Admitted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, platform: &Arc<Platform>) -> Result<Self, Refusal> {
        let caller = platform.shared.options.access.caller(&parts.headers);
        if caller == Caller::Nobody {
            return Err(Refusal::unauthorized());
        }
        let path = RawPathParams::from_request_parts(parts, &())
            .await
            .map_err(|_| Refusal::bad_request("the path is not UTF-8"))?;
        let path: Vec<(String, String)> =
            path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let name = find(&path, "endpoint").unwrap_or_default();
        let supervisor = if name == SENTINEL && platform.endpoint(SENTINEL).is_none() {
            admit(platform, &caller, &sentinel::resolve(platform, &caller, &parts.headers)?)?
        } else {
            admit(platform, &caller, name)?
        };
        let query = parse_query(parts.uri.query().unwrap_or_default());
        Ok(Self { platform: Arc::clone(platform), supervisor, path, query })
    }
}

/// Returns an endpoint that this caller may use. That there is an endpoint of another account is
/// not told.
pub(super) fn admit(
    platform: &Arc<Platform>,
    caller: &Caller,
    name: &str,
) -> Result<Arc<Supervisor>, Refusal> {
    if *caller == Caller::Anyone {
        return Ok(platform.known(name)?);
    }
    let found = platform.endpoint(name).filter(|supervisor| {
        let spec = &supervisor.lock().spec;
        caller.opens(&spec.account, spec.key.as_deref())
    });
    found.ok_or_else(|| match caller {
        Caller::Account(_) => Refusal::new(StatusCode::NOT_FOUND, format!("there is no endpoint `{name}`")),
        _ => Refusal::unauthorized(),
    })
}

/// A parameter of a query that is a number of milliseconds.
pub(super) fn milliseconds(query: &[(String, String)], name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(text) = find(query, name) else { return Ok(None) };
    let wrong = || Refusal::bad_request(format!("`{name}` must be a number of milliseconds"));
    if let Ok(whole) = text.parse::<u64>() {
        return Ok(Some(Duration::from_millis(whole)));
    }
    // JavaScript clients compute with floating point.
    let number: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number / 1000.0).map(Some).map_err(|_| wrong())
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Reads a query; what is not UTF-8 is replaced, since no parameter that is looked at may hold it.
pub(in crate::platform) fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        String::from_utf8_lossy(&urlencoding::decode_binary(text.as_bytes())).into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}
