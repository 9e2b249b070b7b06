//! What Runpod and its workers answer, in the words of [`crate::wire::Backend`].

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{base64, plain};
use crate::endpoint::JobStatus;
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::{JobState, Output, Status};
use crate::wire::backend::{Health, JobRequest, JobView};
use crate::wire::function::{FunctionResponse, RemoteFailure};
use crate::wire::message::{ErrorReport, Failure};
use crate::wire::payload::{Part, Payload};

/// What a job's function gave, or what is wrong with its input.
pub(super) type Answered = Result<Bytes, Misfit>;

/// Why an input does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    /// `FastAPI`'s list, or a text.
    detail: Value,
    /// The same in one line.
    message: String,
}

/// Reads a worker's answer.
pub(super) fn response(text: &[u8]) -> Result<FunctionResponse<'_>, RunpodError> {
    serde_json::from_slice(text).map_err(|error| {
        RunpodError::new(ErrorKind::Malformed, format!("the worker's answer is none to a live call: {error}"))
    })
}

/// Returns the pickled result, or how the function failed.
pub(super) fn decoded(response: &FunctionResponse<'_>) -> Result<Bytes, RunpodError> {
    if !response.success {
        let told = RemoteFailure::parse(response.error.as_deref().unwrap_or("no reason was given"));
        return Err(raised(told));
    }
    let text = response
        .result
        .as_deref()
        .ok_or_else(|| RunpodError::new(ErrorKind::Malformed, "the worker's answer has no result"))?;
    base64(text)
}

/// What the user's function raised.
fn raised(told: RemoteFailure) -> RunpodError {
    let mut error = RunpodError::new(ErrorKind::JobFailed, told.message);
    error.hint = told.hint;
    error.exchange.error_type = Some(told.class).filter(|class| !class.is_empty());
    error.exchange.traceback = Some(told.traceback).filter(|text| !text.is_empty());
    error
}

/// Returns a job's output, or how it failed: a live worker's error is a text that ends with a
/// traceback.
pub(super) fn result_of(state: JobState) -> Result<Output, RunpodError> {
    if state.status == Status::Failed
        && let Some(error) = &state.error
        && let Ok(text) = serde_json::from_str::<String>(error.get())
    {
        let told = RemoteFailure::parse(&text);
        if !told.class.is_empty() {
            return Err(raised(told));
        }
    }
    state.into_result()
}

/// Reads the answer to a call by the adapter for JSON.
pub(super) fn json_result(text: &[u8]) -> Result<Answered, RunpodError> {
    #[derive(Deserialize)]
    struct Adapted<'a> {
        #[serde(borrow, default)]
        result: Option<&'a RawValue>,
        #[serde(default)]
        errors: Option<Value>,
        #[serde(default)]
        message: String,
    }
    let response = response(text)?;
    let pickled = decoded(&response)?;
    let wrong = |error: String| RunpodError::new(ErrorKind::Malformed, error);
    if response.streamed.is_some() {
        let items: Vec<String> = serde_pickle::from_slice(&pickled, serde_pickle::DeOptions::new())
            .map_err(|error| wrong(error.to_string()))?;
        return Ok(Ok(format!("[{}]", items.join(",")).into()));
    }
    let text: String = serde_pickle::from_slice(&pickled, serde_pickle::DeOptions::new())
        .map_err(|error| wrong(error.to_string()))?;
    let adapted: Adapted<'_> = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(match (adapted.errors, adapted.result) {
        (Some(detail), _) => Err(Misfit { detail, message: adapted.message }),
        (None, Some(result)) => Ok(Bytes::copy_from_slice(result.get().as_bytes())),
        (None, None) => Ok(Bytes::from_static(b"null")),
    })
}

/// Reads a pickled list of `bytes`.
pub(super) fn pickled_list(pickled: &[u8]) -> Result<Vec<Bytes>, RunpodError> {
    let items: Vec<serde_bytes::ByteBuf> = serde_pickle::from_slice(pickled, serde_pickle::DeOptions::new())
        .map_err(|error| RunpodError::new(ErrorKind::Malformed, error.to_string()))?;
    Ok(items.into_iter().map(|item| Bytes::from(item.into_vec())).collect())
}

/// Shows a job as the local platform shows its own.
pub(super) fn job_view(state: JobState) -> JobView {
    let mut view = JobView {
        id: state.id.clone(),
        status: match state.status {
            Status::Completed => JobStatus::Completed,
            Status::Failed => JobStatus::Failed,
            Status::Cancelled => JobStatus::Cancelled,
            Status::TimedOut => JobStatus::TimedOut,
            Status::InProgress => JobStatus::InProgress,
            Status::InQueue | Status::Other(_) => JobStatus::InQueue,
        },
        delay_ms: state.delay_ms.and_then(|millis| millis.try_into().ok()),
        execution_ms: state.execution_ms.and_then(|millis| millis.try_into().ok()),
        worker: state.worker.clone(),
        output: None,
        error: None,
        retries: state.retries.and_then(|retries| retries.try_into().ok()).unwrap_or_default(),
        waiting_for: None,
    };
    // What somebody cancelled did not fail.
    if !view.status.is_terminal() || view.status == JobStatus::Cancelled {
        return view;
    }
    let result = result_of(state).and_then(|output| match output {
        Output::Json(text) => json_result(&text),
        Output::None => Err(RunpodError::new(ErrorKind::Malformed, "the job has no output")),
    });
    match result {
        Ok(Ok(output)) => view.output = Some(output),
        Ok(Err(misfit)) => {
            view.status = JobStatus::Failed;
            view.error = Some(invalid(misfit));
        }
        Err(error) => {
            if view.status == JobStatus::Completed {
                view.status = JobStatus::Failed;
            }
            view.error = Some(report(&error));
        }
    }
    view
}

/// The report for input that does not fit.
pub(super) fn invalid(misfit: Misfit) -> ErrorReport {
    let report = ErrorReport::new(Failure::InvalidInput, "ValidationError", misfit.message);
    ErrorReport { detail: Some(misfit.detail), ..report }
}

/// Tells of a failure in the words that cross processes.
pub(super) fn report(error: &RunpodError) -> ErrorReport {
    let failure = match error.kind {
        ErrorKind::JobFailed => Failure::Raised,
        ErrorKind::JobTimedOut | ErrorKind::DeadlineExceeded => Failure::TimedOut,
        ErrorKind::JobCancelled => Failure::Cancelled,
        ErrorKind::NotFound | ErrorKind::JobNotFound => Failure::NotFound,
        ErrorKind::Shipment | ErrorKind::Configuration => Failure::Load,
        ErrorKind::Provisioning
        | ErrorKind::Authentication
        | ErrorKind::RateLimited
        | ErrorKind::Unavailable
        | ErrorKind::Connection => Failure::Environment,
        ErrorKind::InvalidRequest | ErrorKind::PayloadTooLarge => Failure::InvalidInput,
        ErrorKind::Malformed => Failure::Internal,
    };
    let mut made = plain(failure, error);
    made.error_type = match error.kind {
        ErrorKind::JobFailed => {
            error.exchange.error_type.clone().unwrap_or_else(|| "RemoteExecutionError".to_owned())
        }
        ErrorKind::JobTimedOut => "ExecutionTimeoutError".to_owned(),
        ErrorKind::JobCancelled => "CallCancelledError".to_owned(),
        ErrorKind::Shipment => "ShipmentError".to_owned(),
        ErrorKind::Provisioning => "ProvisioningError".to_owned(),
        ErrorKind::Authentication => "AuthenticationError".to_owned(),
        ErrorKind::PayloadTooLarge => "PayloadTooLargeError".to_owned(),
        ErrorKind::Configuration => "ConfigurationError".to_owned(),
        ErrorKind::Connection => "ConnectionFailedError".to_owned(),
        _ => "RunpodError".to_owned(),
    };
    made.traceback = error.exchange.traceback.clone().unwrap_or_default();
    made
}

/// Reads the counters of `/health`.
pub(super) fn health(text: &[u8]) -> Health {
    let value: Value = serde_json::from_slice(text).unwrap_or_default();
    let count = |group: &str, name: &str| value[group][name].as_u64().unwrap_or_default();
    Health {
        completed: count("jobs", "completed"),
        failed: count("jobs", "failed"),
        in_progress: count("jobs", "inProgress"),
        in_queue: count("jobs", "inQueue"),
        retried: count("jobs", "retried"),
        workers_idle: count("workers", "idle"),
        workers_initializing: count("workers", "initializing"),
        workers_running: count("workers", "running"),
        workers_throttled: count("workers", "throttled"),
        workers_unhealthy: count("workers", "unhealthy"),
    }
}

/// What stands beside a job's input, as fields of its body.
pub(super) fn options(job: &JobRequest) -> Vec<(String, String)> {
    let mut policy = serde_json::Map::new();
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if let Some(time) = job.execution_timeout {
        policy.insert("executionTimeout".to_owned(), millis(time).into());
    }
    if let Some(time) = job.ttl {
        policy.insert("ttl".to_owned(), millis(time).into());
    }
    if job.low_priority {
        policy.insert("lowPriority".to_owned(), true.into());
    }
    let mut fields = Vec::new();
    if !policy.is_empty() {
        fields.push(("policy".to_owned(), Value::Object(policy).to_string()));
    }
    if let Some(url) = &job.webhook {
        fields.push(("webhook".to_owned(), Value::from(url.as_str()).to_string()));
    }
    if let Some(config) = &job.s3_config {
        fields.push(("s3Config".to_owned(), String::from_utf8_lossy(config).into_owned()));
    }
    fields
}

/// Adds fields to a body that is a JSON object.
pub(super) fn with_options(payload: Payload, fields: &[(String, String)]) -> Payload {
    if fields.is_empty() {
        return payload;
    }
    let mut parts = payload.parts().to_vec();
    if let Some(Part::Text(last)) = parts.last_mut() {
        *last = last.slice(..last.len().saturating_sub(1));
    }
    let texts: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    parts.push(Part::Text(format!(",{}}}", texts.join(",")).into()));
    Payload::new(parts, payload.sizes().to_vec())
}
