//! One request to Runpod and its answer: sent, read to its end, refusals understood.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Client;
use super::credentials::ApiKey;
use super::error::{ErrorKind, RunpodError};
use super::job::{BodyStream, EndpointRef, LARGE};
use super::retry::{Deadline, Reach, Trouble};
use crate::wire::payload::Payload;

/// Bytes a second that an answer comes with at least, averaged after its first half minute.
const SLOWEST: u64 = 8 * 1024;
/// Bytes of a body that are kept with an error.
const KEPT: usize = 4096;
/// Headers that name a request, in the order of how well Runpod's staff can find it.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "x-runpod-request-id", "request-id", "cf-ray"];

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a Method,
    pub(super) endpoint: &'a EndpointRef,
    /// Path below the endpoint, with its query.
    pub(super) path: &'a str,
    /// The job it is about.
    pub(super) job: Option<&'a str>,
    pub(super) payload: Option<&'a Payload>,
    pub(super) headers: &'a BTreeMap<String, String>,
    /// How long the server was asked to hold it.
    pub(super) held: Duration,
    pub(super) deadline: Deadline,
}

/// A successful answer, as much of it as was read.
pub(super) struct Answer {
    pub(super) request_id: Option<String>,
    /// What was read.
    pub(super) body: Bytes,
    /// The rest of it where it is long.
    pub(super) rest: Option<Response>,
    deadline: Deadline,
    silence: Duration,
}

impl Client {
    /// Sends one request and reads the answer; of a long one the beginning.
    pub(super) async fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let about = |mut trouble: Trouble| {
            let exchange = &mut trouble.error.exchange;
            exchange.endpoint = Some(ask.endpoint.name().to_owned());
            exchange.job = ask.job.map(ToOwned::to_owned);
            let path = ask.path.split('?').next().unwrap_or_default();
            exchange.request = Some(format!("{} {}/{path}", ask.method, self.base(ask.endpoint)));
            trouble
        };
        let timing = &self.shared.timing;
        let request = self.prepared(ask).map_err(|error| about(Trouble::new(Reach::Unsent, error)))?;
        // A large body takes its time to be sent.
        let sending = Duration::from_secs(ask.payload.map_or(0, Payload::len) / (64 * 1024));
        let limit = Instant::now() + ask.held + timing.answer + sending;
        let work = async {
            let response = request.send().await.map_err(|error| broken(&error))?;
            if !response.status().is_success() {
                return Err(self.refused(ask.job.is_some(), response).await);
            }
            self.read(response, ask.deadline).await
        };
        match ask.deadline.keep(timeout_at(limit, work)).await {
            Ok(Ok(done)) => done.map_err(about),
            Ok(Err(_)) => {
                let seconds = (ask.held + timing.answer + sending).as_secs_f64();
                let text = format!("no whole answer within {seconds:.0} s");
                Err(about(Trouble::new(Reach::Unsure, RunpodError::new(ErrorKind::Connection, text))))
            }
            Err(passed) => Err(about(Trouble::new(Reach::Unsure, passed))),
        }
    }

    /// Reads the answer to a request, of a long one the beginning.
    pub(super) async fn read(&self, response: Response, deadline: Deadline) -> Result<Answer, Trouble> {
        let request_id = request_id(response.headers());
        let (body, rest) = self.begin(response).await?;
        Ok(Answer { request_id, body, rest, deadline, silence: self.shared.timing.silence })
    }

    fn base(&self, endpoint: &EndpointRef) -> String {
        let id = match endpoint {
            EndpointRef::Id(id) => urlencoding::encode(id),
            EndpointRef::Deployed { .. } => "flash".into(),
        };
        format!("{}/{id}", self.urls.endpoints)
    }

    fn prepared(&self, ask: &Ask<'_>) -> Result<RequestBuilder, RunpodError> {
        let url = format!("{}/{}", self.base(ask.endpoint), ask.path);
        let mut request = self.prepare(ask.method.clone(), &url)?.headers(headers(ask.headers)?);
        request = address(request, ask.endpoint)?;
        if let Some(payload) = ask.payload {
            request = request.header("Content-Type", "application/json").body(body(payload));
        } else if *ask.method == Method::POST {
            request = request.header("Content-Length", "0");
        }
        Ok(request)
    }

    /// Reads a body that is not long to its end, and of a long one the beginning.
    async fn begin(&self, mut response: Response) -> Result<(Bytes, Option<Response>), Trouble> {
        if response.content_length().is_some_and(|length| length <= LARGE) {
            return Ok((response.bytes().await.map_err(|error| broken(&error))?, None));
        }
        let mut read = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|error| broken(&error))? {
            read.extend_from_slice(&piece);
            if read.len() as u64 > LARGE {
                return Ok((read.freeze(), Some(response)));
            }
        }
        Ok((read.freeze(), None))
    }

    /// Understands an answer that is no success.
    pub(super) async fn refused(&self, is_about_job: bool, mut response: Response) -> Trouble {
        let status = response.status();
        let mut read = BytesMut::new();
        // What broke off explains as much as it can.
        while read.len() < KEPT {
            let Ok(Some(piece)) = response.chunk().await else { break };
            read.extend_from_slice(&piece);
        }
        read.truncate(KEPT);
        let key = self.key.as_ref().map(ApiKey::reveal);
        refusal(status, response.headers(), &read, is_about_job, key)
    }
}

impl Answer {
    /// Returns the whole body.
    pub(super) async fn whole(self) -> Result<Bytes, Trouble> {
        if self.rest.is_none() {
            return Ok(self.body);
        }
        let mut read = BytesMut::new();
        let mut pieces = self.pieces();
        while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
            read.extend_from_slice(&piece.map_err(|error| Trouble::new(Reach::Unsure, error))?);
        }
        Ok(read.freeze())
    }

    /// Returns the body as it arrives. It ends with an error where nothing comes for a while, what
    /// comes is too slow, or the deadline passes.
    pub(super) fn pieces(self) -> BodyStream {
        let begun = Instant::now();
        let state = (Some(self.body), self.rest, 0u64, self.deadline, self.silence);
        Box::pin(stream::try_unfold(state, move |(first, rest, seen, deadline, silence)| async move {
            if let Some(first) = first {
                return Ok(Some((first, (None, rest, seen, deadline, silence))));
            }
            let Some(mut response) = rest else { return Ok(None) };
            let next = deadline.keep(timeout(silence, response.chunk())).await?;
            let slow = || RunpodError::new(ErrorKind::Connection, "the answer arrives too slowly");
            let piece = next.map_err(|_| slow())?.map_err(|error| broken(&error).error)?;
            let Some(piece) = piece else { return Ok(None) };
            let seen = seen + piece.len() as u64;
            let late = begun.elapsed().saturating_sub(silence).as_secs();
            if seen < late.saturating_mul(SLOWEST) {
                return Err(slow());
            }
            Ok(Some((piece, (None, Some(response), seen, deadline, silence))))
        }))
    }
}

impl EndpointRef {
    /// Returns the ID, or the name of a deployed one.
    pub fn name(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Deployed { endpoint, .. } => endpoint,
        }
    }
}

/// Adds the headers that name an endpoint of a deployed app.
pub(super) fn address(
    request: RequestBuilder,
    endpoint: &EndpointRef,
) -> Result<RequestBuilder, RunpodError> {
    let EndpointRef::Deployed { app, environment, endpoint } = endpoint else { return Ok(request) };
    Ok(request
        .header("X-Flash-App", value("X-Flash-App", app)?)
        .header("X-Flash-Environment", value("X-Flash-Environment", environment)?)
        .header("X-Flash-Endpoint", value("X-Flash-Endpoint", endpoint)?))
}

/// Checks headers of the caller.
pub(super) fn headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, RunpodError> {
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, text) in given {
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            RunpodError::new(
                ErrorKind::InvalidRequest,
                format!("`{}` is no name of a header", name.escape_debug()),
            )
        })?;
        headers.insert(known, value(name, text)?);
    }
    Ok(headers)
}

fn value(name: &str, text: &str) -> Result<HeaderValue, RunpodError> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
        let text = format!("the value of header `{name}` has a character that no header may have");
        RunpodError::new(ErrorKind::InvalidRequest, text)
    })
}

pub(super) fn body(payload: &Payload) -> reqwest::Body {
    reqwest::Body::wrap(payload.body())
}

/// Returns Runpod's ID of a request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    REQUEST_IDS.iter().find_map(|name| Some(headers.get(*name)?.to_str().ok()?.to_owned()))
}

/// Returns how long the server asks to wait: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(date).duration_since(SystemTime::now()).unwrap_or_default())
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

/// Describes a connection that could not be made, or broke.
pub(super) fn broken(error: &reqwest::Error) -> Trouble {
    let place = error.url().map_or_else(String::new, |url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!(" `{}{port}`", url.host_str().unwrap_or_default())
    });
    let cause = if error.is_connect() && error.is_timeout() {
        "it took too long".to_owned()
    } else {
        root_cause(error)
    };
    let failed = |kind, text: String| RunpodError::new(kind, text);
    if error.is_builder() {
        let error = failed(ErrorKind::InvalidRequest, format!("the request cannot be made: {cause}"));
        return Trouble::new(Reach::Unsent, error);
    }
    if error.is_connect() {
        let mut failure = failed(ErrorKind::Connection, format!("cannot connect to{place}: {cause}"));
        if cause.to_lowercase().contains("certificate") {
            failure =
                failure.with_hint("set SSL_CERT_FILE to the file with the certificate of its authority");
        }
        return Trouble::new(Reach::Unsent, failure);
    }
    let text = format!("the connection to{place} broke: {cause}");
    Trouble::new(Reach::Unsure, failed(ErrorKind::Connection, text))
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
            format!("Runpod answered {status}, which is not followed"),
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
        _ => None,
    };
    error.exchange.status = Some(code);
    error.exchange.request_id = request_id(headers);
    error.exchange.retry_after = retry_after;
    error.exchange.body = Some(body);
    Trouble::new(reach, error)
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
