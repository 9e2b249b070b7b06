//! `POST …/runsync`: a job, waited for.
//!
//! Only the envelope is read here (`input` stays the text that came); the worker validates.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer;
use super::table::QueueTarget;
use crate::endpoint::JobStatus;
use crate::wire::Backend;
use crate::wire::backend::{JobRequest, JobView};
use crate::wire::job::{error_details, error_text};
use crate::wire::message::Failure;

/// How long one wait lasts; a project route waits until the job ends, in slices of this.
const WAIT: Duration = Duration::from_mins(1);

/// What a job was, for the console.
#[derive(Debug, Clone, Default)]
pub(super) struct JobNote {
    /// Job ID.
    pub(super) id: String,
    /// Its state, where it is not `COMPLETED`.
    pub(super) failed: Option<String>,
    /// Milliseconds it waited for a worker.
    pub(super) queued_ms: Option<u64>,
}

/// Runs a job and waits for its end.
pub(super) async fn run(
    backend: &dyn Backend,
    target: &QueueTarget,
    body: &[u8],
) -> (Response<Body>, JobNote) {
    let input = match read_input(target, body) {
        Ok(input) => input,
        Err(refusal) => return (*refusal, JobNote::default()),
    };
    let request = JobRequest {
        callable: target.callable.clone(),
        input,
        sync: true,
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        s3_config: None,
    };
    let mut view = match backend.submit(&target.endpoint, request).await {
        Ok(view) => view,
        Err(report) => {
            let note = JobNote { failed: Some(error_text(&report)), ..JobNote::default() };
            return (answer::failure(&report), note);
        }
    };
    while !view.status.is_terminal() {
        let id = view.id.clone();
        let Some(next) = backend.wait(&target.endpoint, &id, WAIT).await else {
            let message = format!("the job `{id}` is gone");
            let note = JobNote { id, failed: Some(message.clone()), queued_ms: None };
            return (answer::detail(StatusCode::INTERNAL_SERVER_ERROR, message), note);
        };
        view = next;
    }
    finish(&view)
}

/// The answer for a finished job: `{"id", "status", "output"}`, and `error` where it failed.
fn finish(view: &JobView) -> (Response<Body>, JobNote) {
    let mut note = JobNote { id: view.id.clone(), failed: None, queued_ms: view.delay_ms };
    let mut fields = json!({ "id": view.id, "status": view.status });
    let mut details = None;
    if let Some(report) = &view.error {
        if report.failure == Failure::InvalidInput {
            return (answer::failure(report), note);
        }
        fields["error"] = error_text(report).into();
        details = error_details(report).map(|details| details.to_string().into());
    }
    if view.status != JobStatus::Completed {
        note.failed = Some(view.error.as_ref().map_or_else(|| status_word(view.status), error_text));
    }
    let mut body = fields.to_string().into_bytes();
    let nothing = || (view.status == JobStatus::Completed).then(|| Bytes::from_static(b"null"));
    // The output is JSON text already and may be large: it is put in as it is.
    if let Some(output) = view.output.clone().or(details).or_else(nothing) {
        body.pop();
        body.extend_from_slice(b",\"output\":");
        body.extend_from_slice(&output);
        body.push(b'}');
    }
    (answer::text(StatusCode::OK, "application/json", body), note)
}

fn status_word(status: JobStatus) -> String {
    serde_json::to_value(status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

type Refusal = Box<Response<Body>>;

/// Takes `input` out of the envelope, or says in FastAPI's words why there is none.
fn read_input(target: &QueueTarget, body: &[u8]) -> Result<Bytes, Refusal> {
    let envelope = read_envelope(body);
    if !target.takes_input {
        let input = envelope.ok().and_then(|mut envelope| envelope.remove("input"));
        return Ok(input.map_or_else(|| Bytes::from_static(b"{}"), copy));
    }
    let mut envelope = envelope?;
    let Some(input) = envelope.remove("input") else {
        let whole = parse(body);
        return Err(Box::new(answer::invalid(
            "missing",
            &json!(["body", "input"]),
            "Field required",
            &whole,
        )));
    };
    let text = input.get();
    if text == "null" {
        return Err(Box::new(answer::invalid(
            "model_attributes_type",
            &json!(["body", "input"]),
            "Input should be a valid dictionary or object to extract fields from",
            &Value::Null,
        )));
    }
    let is_empty_object = text.strip_prefix('{').is_some_and(|rest| rest.trim_start() == "}");
    if is_empty_object && target.all_optional {
        // What Runpod loses on the way must not work here only: see `{"__empty": true}`.
        let message = "the input is empty: Runpod drops an empty `input`; give one field, \
                       such as {\"input\": {\"name\": null}}, or {\"input\": {\"__empty\": true}} for no arguments";
        return Err(Box::new(answer::detail(StatusCode::UNPROCESSABLE_ENTITY, message)));
    }
    Ok(copy(input))
}

fn copy(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// Splits a JSON object into its fields without reading them; the last of equal keys counts.
fn read_envelope(body: &[u8]) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, Refusal> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.trim_ascii().is_empty() {
        return Err(Box::new(answer::invalid("missing", &json!(["body"]), "Field required", &Value::Null)));
    }
    let whole: &RawValue = serde_json::from_slice(body).map_err(|error| Box::new(not_json(body, &error)))?;
    if !whole.get().starts_with('{') {
        return Err(Box::new(answer::invalid(
            "model_attributes_type",
            &json!(["body"]),
            "Input should be a valid dictionary or object to extract fields from",
            &parse(body),
        )));
    }
    serde_json::from_str(whole.get()).map_err(|error| Box::new(not_json(body, &error)))
}

/// FastAPI's answer to a body that is not JSON; the position counts characters.
fn not_json(body: &[u8], error: &serde_json::Error) -> Response<Body> {
    let lines = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
    let position = String::from_utf8_lossy(&body[..before.min(body.len())]).chars().count();
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or(&reason);
    let list = json!([{
        "type": "json_invalid",
        "loc": ["body", position],
        "msg": "JSON decode error",
        "input": {},
        "ctx": { "error": reason },
    }]);
    answer::detail(StatusCode::UNPROCESSABLE_ENTITY, list)
}
