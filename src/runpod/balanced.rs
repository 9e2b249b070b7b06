//! Requests to load-balanced endpoints (`platform.md` 3).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, Url};

use super::client::Client;
use super::credentials::ApiKey;
use super::dial::send;
use super::error::{ErrorKind, RunpodError};
use super::exchange::{address, check_form, headers, too_long};
use super::job::EndpointRef;
use super::jobs::check_size;
use super::parcel::Parcel;
use super::refusal::{broken, refusal, unanswered};
use super::retry::{Deadline, Reach, Repeat, Trouble, repeat};
use crate::wire::limits::{self, Route};
use crate::wire::payload::Payload;

/// What a request may take where nothing is said: two minutes until a worker is there, five and a
/// half to answer.
pub(super) const WHOLE: Duration = Duration::from_mins(8);
/// Names the worker that answered; what Runpod itself answers has none.
pub(super) const WORKER: HeaderName = HeaderName::from_static("x-runpod-worker-id");

/// A request to a load-balanced endpoint.
#[derive(Debug, Clone)]
pub struct BalancedRequest {
    /// Endpoint.
    pub endpoint: EndpointRef,
    /// HTTP method.
    pub method: String,
    /// Path, beginning with `/`; it may have a query.
    pub path: String,
    /// Further parameters of the query.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Body; an empty one is none.
    pub body: Payload,
    /// How long it may take; `None` for what Runpod allows.
    pub timeout: Option<Duration>,
}

/// An HTTP answer, whatever its status.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// Headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// Body.
    pub body: Bytes,
    /// Method and URL without its query.
    pub request: String,
    /// Endpoint.
    pub endpoint: String,
    /// The key that was sent: no error shows it.
    key: Option<ApiKey>,
}

impl HttpAnswer {
    /// Returns a header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(&found.1).ok()
    }

    /// Returns the error that the status stands for.
    ///
    /// # Errors
    /// By [`ErrorKind`], where the status is not below 300: redirects are not followed.
    pub fn check(&self) -> Result<(), RunpodError> {
        let status = reqwest::StatusCode::from_u16(self.status).unwrap_or_default();
        if self.status < 300 {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), reqwest::header::HeaderValue::from_bytes(value))
            {
                headers.append(name, value);
            }
        }
        let kept = &self.body[..self.body.len().min(4096)];
        let key = self.key.as_ref().map(ApiKey::reveal);
        let mut error = refusal(status, &headers, kept, false, key).error;
        let is_application = self.header(WORKER.as_str()).is_some();
        if is_application && error.kind == ErrorKind::Authentication {
            error.message =
                error.message.replace("Runpod does not accept the API key", "the application refused");
        }
        if is_application && (300..400).contains(&self.status) {
            error.message = error.message.replacen("Runpod", "the application", 1);
        }
        if is_application {
            error.hint = None;
        }
        error.exchange.request = Some(self.request.clone());
        Err(error.at_endpoint(&self.endpoint))
    }
}

impl Client {
    /// Sends a request, and does not ask how the workers are while it waits.
    ///
    /// Repeated only where no worker has seen it, or the method is idempotent and Runpod, not the
    /// application, failed.
    ///
    /// # Errors
    /// By [`ErrorKind`], where there is no answer.
    pub(super) async fn request_alone(&self, request: &BalancedRequest) -> Result<HttpAnswer, RunpodError> {
        let method = Method::from_bytes(request.method.to_uppercase().as_bytes()).map_err(|_| {
            let text = format!("`{}` is no HTTP method", request.method.escape_debug());
            RunpodError::new(ErrorKind::InvalidRequest, text)
        })?;
        check_size(&request.body, Route::Balanced)
            .map_err(|error| error.at_endpoint(request.endpoint.name()))?;
        let policy = if method.is_idempotent() { Repeat::Always } else { Repeat::IfNotBegun };
        let deadline = Deadline::after(Some(request.timeout.unwrap_or(WHOLE)));
        let parcel = Parcel::new(&request.body);
        let _at_end = parcel.given_up_at_end();
        let last = Mutex::new(None);
        let keep = |answer| *last.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        let answered = repeat(policy, &self.shared.timing, deadline, || async {
            keep(None);
            let answer = Box::pin(self.send_balanced(request, &parcel, &method, deadline)).await?;
            match trouble_of(&answer) {
                Some(trouble) => {
                    keep(Some(answer));
                    Err(trouble)
                }
                None => Ok(answer),
            }
        });
        match answered.await {
            Ok(answer) => Ok(answer),
            // The caller sees the last answer as it is.
            Err(trouble) => last.into_inner().unwrap_or_else(PoisonError::into_inner).ok_or_else(|| {
                let mut error = trouble.error.at_endpoint(request.endpoint.name());
                if trouble.reach == Reach::Unsure && policy == Repeat::IfNotBegun {
                    error.message.push_str("; the request may have been received, so it was not sent again");
                }
                error
            }),
        }
    }

    async fn send_balanced(
        &self,
        request: &BalancedRequest,
        parcel: &Parcel,
        method: &Method,
        deadline: Deadline,
    ) -> Result<HttpAnswer, Trouble> {
        let wrong = |error: RunpodError| Trouble::new(Reach::Answered, error);
        let (url, host) = self.balanced_url(request).map_err(wrong)?;
        let shown = format!("{method} {}", without_query(&url));
        let mut sending = self.prepare(method.clone(), url.as_str()).map_err(wrong)?;
        sending = address(sending, &request.endpoint).map_err(wrong)?;
        if let Some(host) = host {
            sending = sending.header("Host", host);
        }
        let given = headers(&request.headers).map_err(wrong)?;
        if let Some(body) = parcel.body().filter(|_| !request.body.is_empty()) {
            if !given.contains_key("content-type") {
                sending = sending.header("Content-Type", "application/json");
            }
            sending = sending.body(reqwest::Body::wrap(body));
        }
        let exchange = async {
            let mut response = send(sending.headers(given)).await.map_err(|error| unanswered(&error))?;
            let status = response.status().as_u16();
            let headers = response.headers().iter();
            let headers = headers
                .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())))
                .collect();
            let most = check_form(&response).map_err(wrong)?;
            let mut body = BytesMut::new();
            while let Some(piece) = response.chunk().await.map_err(|error| broken(&error))? {
                body.extend_from_slice(&piece);
                if let Some(most) = most.filter(|most| body.len() as u64 > *most) {
                    return Err(wrong(too_long(&format!("more than {}", limits::human(most)), most)));
                }
            }
            Ok(HttpAnswer {
                status,
                headers,
                body: body.freeze(),
                request: shown.clone(),
                endpoint: request.endpoint.name().to_owned(),
                key: self.key.clone(),
            })
        };
        let exchanged = match deadline.keep(exchange).await {
            Ok(exchanged) => exchanged,
            Err(passed) => Err(Trouble::new(Reach::Unsure, passed)),
        };
        exchanged.map_err(|mut trouble| {
            trouble.error.exchange.request = Some(shown.clone());
            trouble
        })
    }

    /// Returns the URL, and the `Host` where it differs.
    fn balanced_url(&self, request: &BalancedRequest) -> Result<(Url, Option<String>), RunpodError> {
        let wrong = |text: String| RunpodError::new(ErrorKind::InvalidRequest, text);
        if !request.path.starts_with('/') {
            return Err(wrong(format!("path `{}` must begin with `/`", request.path.escape_debug())));
        }
        let name = match &request.endpoint {
            EndpointRef::Id(id) => id,
            EndpointRef::Deployed { .. } => "flash",
        };
        let host = self.urls.balanced(name)?;
        let text = format!("{}{}", host.base, request.path);
        let mut url = Url::parse(&text).map_err(|error| wrong(format!("`{text}` is not a URL: {error}")))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok((url, host.host))
    }
}

fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// Returns whether Runpod, not the application, did not get it done, and how far it came.
fn trouble_of(answer: &HttpAnswer) -> Option<Trouble> {
    if answer.header(WORKER.as_str()).is_some() {
        return None;
    }
    let (error, status) = answer.check().err().map(|error| (error, answer.status))?;
    Some(Trouble::new(reach_of(status, &error)?, error))
}

/// How far a request came that Runpod itself answered with an error; `None` where that is its answer.
pub(super) fn reach_of(status: u16, error: &RunpodError) -> Option<Reach> {
    match status {
        429 => Some(Reach::Refused),
        503 if error.exchange.retry_after.is_some() => Some(Reach::Refused),
        // It waited two minutes for a worker that was ready.
        400 if error.message.contains("no workers available") => Some(Reach::Refused),
        502..=504 | 520 | 522 | 524 => Some(Reach::Unsure),
        _ => None,
    }
}
