//! Why a request failed: connections that broke, and answers that are no success.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use super::error::{ErrorKind, RunpodError};
use super::retry::{Reach, Trouble};
use super::urls::proxy_variable;

/// Headers that name a request, in the order of how well Runpod's staff can find it.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "x-runpod-request-id", "request-id", "cf-ray"];
/// The longest wait that is believed.
const LONGEST: Duration = Duration::from_hours(24);

/// Returns Runpod's ID of a request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    REQUEST_IDS.iter().find_map(|name| Some(headers.get(*name)?.to_str().ok()?.to_owned()))
}

/// Returns how long the server asks to wait: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds).ok()?
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        SystemTime::from(date).duration_since(SystemTime::now()).unwrap_or_default()
    };
    // What no clock can count to.
    Some(asked.min(LONGEST))
}

/// Returns the innermost reason of an error, which is the one that helps.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if std::ptr::addr_eq(inner, error) {
        // Its own text may hold the URL with a query.
        return if error.is_timeout() { "it took too long" } else { "it failed" }.to_owned();
    }
    inner.to_string()
}

/// Describes a request that got no answer: no connection, or one that broke.
pub(super) fn unanswered(error: &reqwest::Error) -> Trouble {
    let place = place(error);
    if error.is_builder() {
        let text = format!("the request cannot be made: {}", root_cause(error));
        return Trouble::new(Reach::Unsent, RunpodError::new(ErrorKind::InvalidRequest, text));
    }
    if error.is_connect() {
        let cause = if error.is_timeout() { "it took too long".to_owned() } else { root_cause(error) };
        let text = format!("cannot connect to{place}: {cause}");
        let mut failure = RunpodError::new(ErrorKind::Connection, text);
        failure.hint = unreachable_hint(error, &cause);
        return Trouble::new(Reach::Unsent, failure);
    }
    if is_unprocessed(error) {
        let text = format!("the server{place} did not take the request: {}", root_cause(error));
        return Trouble::new(Reach::Unsent, RunpodError::new(ErrorKind::Connection, text));
    }
    broken(error)
}

/// Describes an answer that broke off.
pub(super) fn broken(error: &reqwest::Error) -> Trouble {
    let text = format!("the connection to{} broke: {}", place(error), root_cause(error));
    Trouble::new(Reach::Unsure, RunpodError::new(ErrorKind::Connection, text))
}

fn place(error: &reqwest::Error) -> String {
    error.url().map_or_else(String::new, |url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!(" `{}{port}`", url.host_str().unwrap_or_default())
    })
}

fn unreachable_hint(error: &reqwest::Error, cause: &str) -> Option<String> {
    if cause.to_lowercase().contains("certificate") {
        return Some("set SSL_CERT_FILE to the file with the certificate of its authority".to_owned());
    }
    error.url().and_then(proxy_variable).map(|(name, _)| {
        format!(
            "the way goes through the proxy that {name} names, unless NO_PROXY names the host: check both"
        )
    })
}

/// Whether an HTTP/2 server says that it has not begun with a request (RFC 9113, 6.8 and 8.7).
fn is_unprocessed(error: &reqwest::Error) -> bool {
    let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            // Streams that a `GOAWAY` includes get no such error: they go on.
            let is_left_out = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (is_left_out || is_refused);
        }
        inner = error.source();
    }
    false
}

/// Understands an answer that is no success.
pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    is_about_job: bool,
    key: Option<&str>,
) -> Trouble {
    let mut body = String::from_utf8_lossy(body).into_owned();
    if let Some(key) = key {
        body = body.replace(key, "…");
    }
    let said = said(&body);
    let is_page = body.trim_start().starts_with('<');
    let detail = said.as_ref().map(|said| format!(": {said}")).unwrap_or_default();
    let code = status.as_u16();
    let retry_after = retry_after(headers);
    let speaks_of_endpoint = said.as_ref().is_some_and(|said| said.contains("endpoint"));
    let (kind, reach, text) = match code {
        401 | 403 => (
            ErrorKind::Authentication,
            Reach::Answered,
            format!("Runpod does not accept the API key ({code}){detail}"),
        ),
        404 if is_about_job && !speaks_of_endpoint => (
            ErrorKind::JobNotFound,
            Reach::Answered,
            format!("there is no such job (any more): it expired, was purged or never was there{detail}"),
        ),
        404 => (ErrorKind::NotFound, Reach::Answered, format!("not found{detail}")),
        408 => (ErrorKind::Unavailable, Reach::Unsure, format!("Runpod answered {status}{detail}")),
        413 => {
            (ErrorKind::PayloadTooLarge, Reach::Answered, format!("the body is too large for Runpod{detail}"))
        }
        400 if said.as_ref().is_some_and(|said| said.contains("exceeded max body size")) => {
            (ErrorKind::PayloadTooLarge, Reach::Answered, format!("the body is too large for Runpod{detail}"))
        }
        429 => (ErrorKind::RateLimited, Reach::Refused, format!("too many requests (429){detail}")),
        300..=399 => (
            ErrorKind::Malformed,
            Reach::Answered,
            format!("Runpod answered {status}{}, which is not followed", elsewhere(headers)),
        ),
        500.. => {
            let is_refused = code == 503 && retry_after.is_some();
            let reach = if is_refused { Reach::Refused } else { Reach::Unsure };
            (ErrorKind::Unavailable, reach, format!("Runpod answered {status}{detail}"))
        }
        _ => (
            ErrorKind::InvalidRequest,
            Reach::Answered,
            format!("Runpod refused the request ({code}){detail}"),
        ),
    };
    let mut error = RunpodError::new(kind, text);
    error.hint = match kind {
        ErrorKind::Authentication if key.is_none() => {
            Some("no API key was found: run `flash login` or set RUNPOD_API_KEY".to_owned())
        }
        ErrorKind::Authentication => {
            Some("run `flash login`, or set RUNPOD_API_KEY to a key that may use this endpoint".to_owned())
        }
        ErrorKind::Malformed => Some("check RUNPOD_ENDPOINT_BASE_URL".to_owned()),
        ErrorKind::RateLimited => Some(
            "make fewer calls at once, or give them a longer timeout: they are repeated until then"
                .to_owned(),
        ),
        ErrorKind::PayloadTooLarge => {
            Some("put large data into S3 or onto a network volume, and pass its URL or path".to_owned())
        }
        ErrorKind::NotFound => Some("check the endpoint's ID, and that it has not been deleted".to_owned()),
        ErrorKind::Unavailable if is_page => Some(
            "the answer is a page, not Runpod's API: a proxy or gateway on the way may have made it"
                .to_owned(),
        ),
        _ => None,
    };
    error.exchange.status = Some(code);
    error.exchange.request_id = request_id(headers);
    error.exchange.retry_after = retry_after;
    error.exchange.body = Some(body);
    Trouble::new(reach, error)
}

/// Returns where a redirect leads, without what may be secret in it.
fn elsewhere(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let place = match location.map(Url::parse) {
        Some(Ok(url)) => format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()),
        Some(Err(_)) => "another path".to_owned(),
        None => return String::new(),
    };
    format!(" to `{place}`")
}

/// Returns what the body of an error says, in one line.
fn said(body: &str) -> Option<String> {
    let text = match serde_json::from_str::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(fields)) => {
            let told = ["error", "message", "detail", "title"].iter().find_map(|name| fields.get(*name))?;
            told.as_str().map_or_else(|| told.to_string(), ToOwned::to_owned)
        }
        Ok(serde_json::Value::String(text)) => text,
        // Pages of a proxy say nothing to anybody.
        _ if body.trim_start().starts_with('<') => return None,
        _ => body.to_owned(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(300).collect();
    (!short.is_empty()).then_some(short)
}
