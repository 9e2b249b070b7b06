//! Sends one request of the control plane: retries that are safe, and errors that say what was
//! asked for.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::redact;
use crate::runpod::client::Client;
use crate::runpod::credentials;
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::refusal::{request_id, retry_after};
use crate::runpod::urls::proxy_of;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_mins(1);
/// Attempts of a request that may be repeated.
const ATTEMPTS: u32 = 4;
/// Longest wait that is chosen here, and longest that an answer can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runpod) enum Repeat {
    /// It changes nothing, or the same twice.
    Safe,
    /// Only where Runpod is known not to have taken it: no connection, or 429.
    Refused,
}

/// A request to be sent.
pub(in crate::runpod) struct Question<'a> {
    /// What is done, for errors: `create endpoint "x"`.
    pub(in crate::runpod) operation: &'a str,
    pub(in crate::runpod) method: Method,
    /// Path below the control plane's address.
    pub(in crate::runpod) path: &'a str,
    pub(in crate::runpod) body: Option<&'a Value>,
    pub(in crate::runpod) repeat: Repeat,
    /// Who logs in has no key yet.
    pub(in crate::runpod) has_key: bool,
}

/// An answer below 400.
#[derive(Debug)]
pub(in crate::runpod) struct Answer {
    pub(in crate::runpod) status: StatusCode,
    pub(in crate::runpod) body: Bytes,
    pub(in crate::runpod) request: String,
    pub(in crate::runpod) request_id: Option<String>,
}

/// Sends requests with a client's key.
#[derive(Debug, Clone)]
pub(in crate::runpod) struct Sender {
    pub(in crate::runpod) client: Client,
    /// First wait; each further one is twice as long.
    backoff: Duration,
}

impl Sender {
    pub(in crate::runpod) fn new(client: Client) -> Self {
        Self { client, backoff: Duration::from_millis(500) }
    }

    /// Waits less between attempts.
    #[cfg(test)]
    pub(in crate::runpod) fn with_backoff(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sends a request; `judge` looks at answers that came with a status below 400.
    pub(in crate::runpod) async fn send<T>(
        &self,
        question: &Question<'_>,
        judge: impl Fn(&Answer, &[String]) -> Result<T, RunpodError>,
    ) -> Result<T, RunpodError> {
        let secrets = self.secrets(question);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.attempt(question, &secrets).await {
                Ok(answer) => match judge(&answer, &secrets) {
                    Ok(value) => return Ok(value),
                    Err(error) => Failure { error, was_sent: true },
                },
                Err(failure) => failure,
            };
            if attempt == ATTEMPTS || !failure.may_repeat(question.repeat) {
                return Err(failure.error);
            }
            sleep(self.wait(attempt, failure.error.exchange.retry_after)).await;
        }
    }

    fn secrets(&self, question: &Question<'_>) -> Vec<String> {
        let mut secrets = question.body.map(redact::secrets_of).unwrap_or_default();
        secrets.extend(self.client.key.iter().map(|key| key.reveal().to_owned()));
        secrets
    }

    fn wait(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let wait = (self.backoff * 2_u32.saturating_pow(attempt - 1)).min(LONGEST_WAIT);
        let wait = wait.mul_f64(0.8 + 0.4 * fastrand::f64());
        asked.map_or(wait, |asked| asked.min(LONGEST_ASKED).max(wait))
    }

    async fn attempt(&self, question: &Question<'_>, secrets: &[String]) -> Result<Answer, Failure> {
        let url = format!("{}{}", self.client.urls.api, question.path);
        let shown = format!("{} {}", question.method, url.split('?').next().unwrap_or_default());
        let request = if question.has_key {
            self.client.prepare(question.method.clone(), &url)
        } else {
            self.client.unsigned(question.method.clone(), &url)
        };
        let mut request = request.map_err(|error| Failure { error, was_sent: false })?.timeout(ATTEMPT);
        if let Some(body) = question.body {
            request = request.json(body);
        }
        let broken = |error: &reqwest::Error| broken(question, error, &shown);
        let answer = request.send().await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let headers = answer.headers().clone();
        let body = answer.bytes().await.map_err(|error| broken(&error))?;
        let request_id = request_id(&headers);
        let answer = Answer { status, body, request: shown, request_id };
        if status.is_success() {
            return Ok(answer);
        }
        let reason = reason_in(&answer.body)
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason was given").to_owned());
        let mut error = self.refusal(question, kind_of(status), &reason, &answer, secrets);
        error.exchange.retry_after = retry_after(&headers);
        Err(Failure { error, was_sent: true })
    }

    /// An error about an answer: what was to be done, the status, the reason.
    pub(in crate::runpod) fn refusal(
        &self,
        question: &Question<'_>,
        kind: ErrorKind,
        reason: &str,
        answer: &Answer,
        secrets: &[String],
    ) -> RunpodError {
        let reason = redact::text(reason.trim().trim_end_matches('.'), secrets);
        let status = answer.status;
        let operation = question.operation;
        let said = if status.is_success() { String::new() } else { format!(" {}", status.as_u16()) };
        let mut error =
            RunpodError::new(kind, format!("cannot {operation}: Runpod answered{said}: {reason}"));
        error.exchange.status = Some(status.as_u16());
        error.exchange.request = Some(answer.request.clone());
        error.exchange.request_id.clone_from(&answer.request_id);
        error.exchange.body = Some(redact::body(&answer.body, secrets));
        match kind {
            ErrorKind::Authentication => {
                let is_forbidden = status == StatusCode::FORBIDDEN;
                error.with_hint(credentials::refused_hint(self.client.key.as_ref(), is_forbidden))
            }
            ErrorKind::Unavailable => error.with_hint("Runpod has a problem: try again in a while"),
            _ => error,
        }
    }
}

/// Why an attempt did not give what was asked for.
struct Failure {
    error: RunpodError,
    /// Whether Runpod may have got the request.
    was_sent: bool,
}

impl Failure {
    fn may_repeat(&self, repeat: Repeat) -> bool {
        match (self.error.kind, repeat) {
            (ErrorKind::Connection, Repeat::Refused) => !self.was_sent,
            (ErrorKind::RateLimited, _) | (ErrorKind::Connection | ErrorKind::Unavailable, Repeat::Safe) => {
                true
            }
            _ => false,
        }
    }
}

fn broken(question: &Question<'_>, error: &reqwest::Error, request: &str) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let host = error.url().and_then(|url| url.host_str()).unwrap_or("Runpod").to_owned();
    let operation = question.operation;
    let was_sent = !error.is_connect();
    let proxy = error.url().and_then(proxy_of).map(|proxy| format!(" through the proxy {proxy}"));
    let what = if !was_sent {
        format!("{host} cannot be reached{}: {cause}", proxy.unwrap_or_default())
    } else if error.is_timeout() {
        format!("{host} did not answer within {} s", ATTEMPT.as_secs())
    } else {
        format!("the connection to {host} broke: {cause}")
    };
    let mut message = format!("cannot {operation}: {what}");
    if was_sent && question.repeat == Repeat::Refused {
        message.push_str("; it may have been done all the same");
    }
    let mut error = RunpodError::new(ErrorKind::Connection, message);
    error.exchange.request = Some(request.to_owned());
    if !was_sent {
        error.hint = Some("check the network, proxies, and RUNPOD_API_BASE_URL".to_owned());
    }
    Failure { error, was_sent }
}

fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Authentication,
        404 | 410 => ErrorKind::NotFound,
        408 | 500..=599 => ErrorKind::Unavailable,
        413 => ErrorKind::PayloadTooLarge,
        429 => ErrorKind::RateLimited,
        300..=399 => ErrorKind::Malformed,
        _ => ErrorKind::InvalidRequest,
    }
}

/// The reason in an error's body: a problem of REST v2, errors of GraphQL, or `error`.
fn reason_in(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut reason = text("detail")
        .or_else(|| text("message"))
        .or_else(|| text("error"))
        .or_else(|| text("title"))
        .map(str::to_owned)
        .or_else(|| graphql_messages(&body))?;
    // The fields that a problem names, in whichever of the usual shapes.
    if let (Some(_), Some(errors)) = (text("detail").or(text("title")), body.get("errors")) {
        let details = field_errors(errors);
        if !details.is_empty() {
            reason = format!("{reason} ({})", details.join("; "));
        }
    }
    Some(reason)
}

fn field_errors(errors: &Value) -> Vec<String> {
    let one = |error: &Value| {
        if let Some(text) = error.as_str() {
            return Some(text.to_owned());
        }
        let text =
            |names: &[&str]| names.iter().find_map(|name| error.get(*name)?.as_str()).map(str::to_owned);
        let message = text(&["detail", "message", "reason"])?;
        Some(
            text(&["field", "location", "pointer", "path"])
                .map_or(message.clone(), |at| format!("{at}: {message}")),
        )
    };
    match errors {
        Value::Array(list) => list.iter().filter_map(one).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(field, error)| match error {
                Value::Array(list) => {
                    format!("{field}: {}", list.iter().filter_map(one).collect::<Vec<_>>().join(", "))
                }
                other => format!("{field}: {}", one(other).unwrap_or_else(|| other.to_string())),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The messages of `errors` joined.
pub(in crate::runpod) fn graphql_messages(body: &Value) -> Option<String> {
    let errors = body.get("errors")?.as_array()?;
    let messages: Vec<&str> = errors
        .iter()
        .map(|error| error.get("message").and_then(Value::as_str).unwrap_or("an error without a message"))
        .collect();
    Some(if messages.is_empty() { "an error without a message".to_owned() } else { messages.join("; ") })
}
