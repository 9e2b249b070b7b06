//! One request to Runpod and its answer: sent, read to its end, refusals understood.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Client;
use super::credentials::ApiKey;
use super::dial::send;
use super::error::{ErrorKind, RunpodError};
use super::job::{BodyStream, EndpointRef, LARGE};
use super::parcel::Parcel;
use super::refusal::{broken, refusal, request_id, unanswered};
use super::retry::{Deadline, Reach, Trouble};
use crate::wire::limits;

/// Bytes a second that an answer comes with at least, averaged after its first half minute.
const SLOWEST: u64 = 8 * 1024;
/// Bytes of a body that are kept with an error.
const KEPT: usize = 4096;

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a Method,
    pub(super) endpoint: &'a EndpointRef,
    /// Path below the endpoint, with its query.
    pub(super) path: &'a str,
    /// The job it is about.
    pub(super) job: Option<&'a str>,
    pub(super) parcel: Option<&'a Parcel>,
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
    /// How many bytes are read at most.
    most: Option<u64>,
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
        let sending = Duration::from_secs(ask.parcel.map_or(0, Parcel::len) / (64 * 1024));
        let limit = Instant::now() + ask.held + timing.answer + sending;
        let work = async {
            let response = send(request).await.map_err(|error| unanswered(&error))?;
            if !response.status().is_success() {
                return Err(self.refused(ask.job.is_some(), response).await);
            }
            self.read(response, ask.deadline).await
        };
        // Pinned here: each wrapper would hold it twice.
        let work = std::pin::pin!(work);
        let done = match ask.deadline.keep(timeout_at(limit, work)).await {
            Ok(Ok(done)) => done.map_err(about),
            Ok(Err(_)) => {
                let seconds = (ask.held + timing.answer + sending).as_secs_f64();
                let text = format!("no whole answer within {seconds:.0} s");
                Err(about(Trouble::new(Reach::Unsure, RunpodError::new(ErrorKind::Connection, text))))
            }
            Err(passed) => Err(about(Trouble::new(Reach::Unsure, passed))),
        };
        if let (Some(parcel), Err(trouble)) = (ask.parcel, &done)
            && trouble.reach != Reach::Unsure
        {
            parcel.reopen();
        }
        done
    }

    /// Reads the answer to a request, of a long one the beginning.
    pub(super) async fn read(&self, response: Response, deadline: Deadline) -> Result<Answer, Trouble> {
        let request_id = request_id(response.headers());
        let most = check_form(&response).map_err(|mut error| {
            error.exchange.request_id.clone_from(&request_id);
            Trouble::new(Reach::Unsure, error)
        })?;
        let (body, rest) = self.begin(response).await?;
        Ok(Answer { request_id, body, rest, most, deadline, silence: self.shared.timing.silence })
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
        if let Some(parcel) = ask.parcel {
            let given_up =
                || RunpodError::new(ErrorKind::Connection, "the call was given up before it was sent");
            let body = reqwest::Body::wrap(parcel.body().ok_or_else(given_up)?);
            request = request.header("Content-Type", "application/json").body(body);
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
        let (most, deadline, silence) = (self.most, self.deadline, self.silence);
        let state = (Some(self.body), self.rest, 0u64);
        Box::pin(stream::try_unfold(state, move |(first, rest, seen)| async move {
            if let Some(first) = first {
                let seen = first.len() as u64;
                return Ok(Some((first, (None, rest, seen))));
            }
            let Some(mut response) = rest else { return Ok(None) };
            let next = deadline.keep(timeout(silence, response.chunk())).await?;
            let slow = || RunpodError::new(ErrorKind::Connection, "the answer arrives too slowly");
            let piece = next.map_err(|_| slow())?.map_err(|error| broken(&error).error)?;
            let Some(piece) = piece else { return Ok(None) };
            let seen = seen + piece.len() as u64;
            if let Some(most) = most.filter(|most| seen > *most) {
                return Err(too_long(&format!("more than {}", limits::human(most)), most));
            }
            let late = begun.elapsed().saturating_sub(silence).as_secs();
            if seen < late.saturating_mul(SLOWEST) {
                return Err(slow());
            }
            Ok(Some((piece, (None, Some(response), seen))))
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

/// Checks what the head of an answer says of its body; returns how many bytes are read at most.
pub(super) fn check_form(response: &Response) -> Result<Option<u64>, RunpodError> {
    // What was understood is not among the headers any more.
    let coding = response.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("?"));
    if let Some(coding) = coding.filter(|coding| !coding.eq_ignore_ascii_case("identity")) {
        let text = format!(
            "Runpod's answer cannot be read: its Content-Encoding is `{coding}`, and gzip was offered"
        );
        return Err(RunpodError::new(ErrorKind::Malformed, text)
            .with_hint("a proxy on the way may have changed the answer"));
    }
    let most = limits::Limits::from_environment()
        .map_err(|error| {
            RunpodError::new(ErrorKind::Configuration, error.to_string()).with_hint(error.hint())
        })?
        .of_answer();
    match (response.content_length(), most) {
        (Some(length), Some(most)) if length > most => Err(too_long(&limits::human(length), most)),
        _ => Ok(most),
    }
}

/// Describes an answer that is not read to its end.
pub(super) fn too_long(length: &str, most: u64) -> RunpodError {
    let text = format!("Runpod's answer is {length}, and at most {} are read", limits::human(most));
    RunpodError::new(ErrorKind::Malformed, text).with_hint(format!(
        "return a path or URL of large data, or set {} (0: no limit) where such answers are right",
        limits::VARIABLE
    ))
}
