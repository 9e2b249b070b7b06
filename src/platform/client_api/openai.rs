//! `openai/…`: a request of an `OpenAI` client as a job, its output as the answer (`platform.md` 1.9).
//!
//! A client that leaves cancels its job: nobody else knows its ID.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::admission::Admitted;
use super::body::RUNSYNC_LIMIT_MIB;
use super::jobs::json_response;
use super::rates::{Operation, Permit};
use super::refusal::Refusal;
use super::submit::job_body;
use crate::endpoint::JobStatus;
use crate::wire::backend::{Backend, JobRequest, JobView};
use crate::wire::job::{error_text, json_string, parse_envelope, parse_object, raw_list};

/// How long one look at a job waits; another one follows.
const WAIT: Duration = Duration::from_mins(1);

/// Any method at `openai/{*route}`.
pub(super) async fn relay(admitted: Admitted, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let permit = admitted.enter(Operation::OpenAi)?;
    let body = job_body(&admitted, &headers, body, RUNSYNC_LIMIT_MIB).await?;
    let (job, streams) = job_of(admitted.part("route"), &body)?;
    let view = admitted.platform.submit(admitted.endpoint(), job).await?;
    let running = RunningJob { admitted, job: view.id, is_open: true, _permit: permit };
    if streams { stream(running).await } else { whole(running).await }
}

/// The job for a request, and whether its answer is a stream.
fn job_of(route: &str, body: &Bytes) -> Result<(JobRequest, bool), Refusal> {
    let route = json_string(&format!("/{route}"));
    let mut input = format!("{{\"openai_route\":{route}").into_bytes();
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    if !is_empty {
        input.extend_from_slice(b",\"openai_input\":");
        input.extend_from_slice(body);
    }
    input.push(b'}');
    // The same checks as for any other job: JSON, and not too deep.
    let envelope = [b"{\"input\":", input.as_slice(), b"}"].concat();
    let job = parse_envelope(&envelope.into(), true).map_err(Refusal::bad_request)?;
    if !is_empty && serde_json::from_slice::<&RawValue>(body).is_err() {
        // Such as `1},"webhook":{`, which would be JSON in its place.
        return Err(Refusal::bad_request("body is not valid JSON"));
    }
    let asked = parse_object(body).unwrap_or_default();
    let streams =
        asked.iter().rev().find(|(key, _)| key == "stream").is_some_and(|(_, value)| value.get() == "true");
    Ok((job, streams))
}

/// A job whose client waits; dropped before the job's end, it cancels it.
struct RunningJob {
    admitted: Admitted,
    job: String,
    is_open: bool,
    _permit: Permit,
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        if self.is_open {
            self.admitted.supervisor.cancel(&self.job);
        }
    }
}

impl RunningJob {
    /// Waits for items or the end; `None` when the job is gone.
    async fn next(&mut self) -> Option<(JobView, Vec<Bytes>)> {
        let next = self.admitted.platform.stream(self.admitted.endpoint(), &self.job, WAIT).await;
        self.is_open = next.as_ref().is_some_and(|(view, _)| !view.status.is_terminal());
        next
    }
}

/// Answers with the job's output.
async fn whole(mut running: RunningJob) -> Result<Response, Refusal> {
    let mut items = Vec::new();
    let view = loop {
        let (view, more) = running.next().await.ok_or_else(Refusal::no_job)?;
        items.extend(more);
        if view.status.is_terminal() {
            break view;
        }
    };
    if let Some(error) = failure(&view) {
        return Ok(json_response(error.to_string().into_bytes()));
    }
    Ok(json_response(unwrapped(view.output.as_ref(), items).to_vec()))
}

/// What a job that failed answers with: status 200, as Runpod (`platform.md` 7.10).
fn failure(view: &JobView) -> Option<Value> {
    let text = match (&view.error, view.status) {
        (_, JobStatus::Completed) => return None,
        (Some(report), _) => error_text(report),
        (None, status) => format!("the job is {}", status.as_str()),
    };
    Some(json!({ "error": text }))
}

/// The output; one that is a list of one element is that element. A generator that does not
/// collect what it yields has an empty list as output, and what it yielded counts.
fn unwrapped(output: Option<&Bytes>, mut items: Vec<Bytes>) -> Bytes {
    let listed = output.and_then(|output| Some((output, raw_list(output)?)));
    match listed {
        Some((output, list)) => match list.as_slice() {
            [only] => output.slice_ref(only.get().as_bytes()),
            [] if items.len() == 1 => items.swap_remove(0),
            _ => output.clone(),
        },
        None => output.cloned().unwrap_or_else(|| Bytes::from_static(b"null")),
    }
}

/// Relays the items as they come, each as it is; a client that reads slowly does not hold up the
/// worker.
async fn stream(mut running: RunningJob) -> Result<Response, Refusal> {
    // A job that fails before it has said anything can still be answered as a whole.
    let (view, items) = loop {
        let (view, items) = running.next().await.ok_or_else(Refusal::no_job)?;
        if !items.is_empty() || view.status.is_terminal() {
            break (view, items);
        }
    };
    if items.is_empty()
        && let Some(error) = failure(&view)
    {
        return Ok(json_response(error.to_string().into_bytes()));
    }
    let first = piece(&view, &items, true);
    let rest = stream::unfold(running, |mut running| async move {
        while running.is_open {
            let (view, items) = running.next().await?;
            let piece = piece(&view, &items, false);
            if !piece.is_empty() {
                return Some((Ok::<_, Infallible>(piece), running));
            }
        }
        None
    });
    let pieces = futures_util::StreamExt::chain(stream::iter([Ok::<_, Infallible>(first)]), rest);
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((StatusCode::OK, headers, Body::from_stream(pieces)).into_response())
}

/// What is sent for these items, and for the job's end.
fn piece(view: &JobView, items: &[Bytes], is_first: bool) -> Bytes {
    let mut text = Vec::new();
    for item in items {
        push_events(&mut text, item);
    }
    if let Some(error) = failure(view).filter(|_| view.status.is_terminal()) {
        push_event(&mut text, error.to_string().as_bytes());
    }
    // A handler that is no generator has said everything in its output.
    if is_first
        && items.is_empty()
        && let Some(output) = &view.output
    {
        push_events(&mut text, output);
    }
    text.into()
}

/// Adds an item, or each of a list of them.
fn push_events(text: &mut Vec<u8>, item: &[u8]) {
    match raw_list(item) {
        Some(list) => list.iter().for_each(|item| push_event(text, item.get().as_bytes())),
        None => push_event(text, item),
    }
}

/// Adds an item: text is ready-made events, all else becomes an event.
fn push_event(text: &mut Vec<u8>, item: &[u8]) {
    if let Ok(ready_made) = serde_json::from_slice::<String>(item) {
        text.extend_from_slice(ready_made.as_bytes());
    } else {
        text.extend_from_slice(b"data: ");
        text.extend_from_slice(item);
        text.extend_from_slice(b"\n\n");
    }
}
