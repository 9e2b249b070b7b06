//! Jobs on Runpod, as `EndpointJob` and the methods of a client endpoint ask for them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use pyo3::exceptions::{PyRecursionError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::client::client;
use super::{buffer, completion, errors};
use crate::runpod::answer::malformed;
use crate::runpod::balanced::{BalancedRequest, HttpAnswer};
use crate::runpod::job::{CallOptions, EndpointRef, JobState, Output};
use crate::runpod::{RunpodError, jobs};
use crate::wire::limits::Route;
use crate::wire::payload::{Part, Payload};

/// `(id,)`, or `(app, environment, endpoint)` of a deployed app.
pub(super) fn endpoint_of(names: Vec<String>) -> PyResult<EndpointRef> {
    if let [id] = names.as_slice() {
        return Ok(EndpointRef::Id(id.clone()));
    }
    let [app, environment, endpoint]: [String; 3] =
        names.try_into().map_err(|_| PyValueError::new_err("an endpoint has one name or three"))?;
    Ok(EndpointRef::Deployed { app, environment, endpoint })
}

/// Makes a body of pieces of JSON text, which are not copied.
pub(super) fn payload_of(parts: Vec<Bound<'_, PyAny>>, sizes: Vec<(String, u64)>) -> PyResult<Payload> {
    let parts: PyResult<Vec<Part>> =
        parts.into_iter().map(|part| Ok(Part::Text(buffer::pin(&part)?))).collect();
    Ok(Payload::new(parts?, sizes))
}

/// Checks a body that goes to an endpoint which is made first: `route` is `run`, `runsync` or `balanced`.
///
/// # Errors
/// `PayloadTooLargeError` where it is over the route's limit.
#[pyfunction]
pub(super) fn check_size(
    py: Python<'_>,
    name: &str,
    route: &str,
    body: Vec<Bound<'_, PyAny>>,
    sizes: Vec<(String, u64)>,
) -> PyResult<()> {
    fits(py, name, &payload_of(body, sizes)?, route)
}

/// Raises where a body is over its route's limit.
pub(super) fn fits(py: Python<'_>, name: &str, body: &Payload, route: &str) -> PyResult<()> {
    let route = match route {
        "run" => Route::Run,
        "runsync" => Route::RunSync,
        "balanced" => Route::Balanced,
        _ => return Err(PyValueError::new_err(format!("`{route}` is no route"))),
    };
    jobs::check_size(body, route).map_err(|error| errors::runpod(py, &error.at_endpoint(name)))
}

/// Reads a number of seconds; one that is no time at all is none.
pub(super) fn duration(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let read = |seconds: f64| {
        Duration::try_from_secs_f64(seconds.max(0.0))
            .map_err(|_| PyValueError::new_err(format!("timeout={seconds} is no number of seconds")))
    };
    // What a clock cannot hold is for ever.
    seconds.filter(|seconds| *seconds < 1e9).map(read).transpose()
}

/// Reads JSON text as Python does.
///
/// # Errors
/// `MalformedAnswerError` where Python cannot hold it: nested too deeply, numbers too long, no UTF-8.
pub(super) fn json(py: Python<'_>, text: &Bytes) -> PyResult<Py<PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.import(py, "json", "loads")?;
    let loaded = PyString::from_bytes(py, text).and_then(|text| loads.call1((text,)));
    loaded.map(Bound::unbind).map_err(|error| {
        if !error.is_instance_of::<PyRecursionError>(py) && !error.is_instance_of::<PyValueError>(py) {
            return error;
        }
        let made = errors::runpod(py, &malformed(text, &error.value(py).to_string()));
        made.set_cause(py, Some(error));
        made
    })
}

/// Submits a job by `/run`; the awaitable gives Runpod's answer.
#[pyfunction]
pub(super) fn job_run<'py>(
    py: Python<'py>,
    endpoint: Vec<String>,
    body: Vec<Bound<'py, PyAny>>,
    sizes: Vec<(String, u64)>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (client, endpoint, options) = (client(py)?, endpoint_of(endpoint)?, options(timeout)?);
    let payload = payload_of(body, sizes)?;
    let answer = async move { client.run(&endpoint, &payload, &options).await };
    completion::awaitable(py, answer, state)
}

/// Submits a job and waits for its end; the awaitable gives Runpod's last answer, however it ended.
///
/// `cancel` says that the job goes with the awaitable.
#[pyfunction]
pub(super) fn job_call<'py>(
    py: Python<'py>,
    endpoint: Vec<String>,
    body: Vec<Bound<'py, PyAny>>,
    sizes: Vec<(String, u64)>,
    timeout: Option<f64>,
    cancel: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (client, endpoint) = (client(py)?, endpoint_of(endpoint)?);
    let options = CallOptions { cancel_when_dropped: cancel, ..options(timeout)? };
    let payload = payload_of(body, sizes)?;
    let answer = async move { client.call(&endpoint, &payload, &options).await };
    completion::awaitable(py, answer, state)
}

/// Calls a deployed function; the awaitable gives the output. The job goes with the awaitable.
#[pyfunction]
pub(super) fn call_deployed<'py>(
    py: Python<'py>,
    endpoint: Vec<String>,
    body: Vec<Bound<'py, PyAny>>,
    sizes: Vec<(String, u64)>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (client, endpoint) = (client(py)?, endpoint_of(endpoint)?);
    let options = CallOptions { cancel_when_dropped: true, ..options(timeout)? };
    let payload = payload_of(body, sizes)?;
    let answer = async move {
        let state = client.call(&endpoint, &payload, &options).await?;
        state.into_result().map_err(|error| error.at_endpoint(endpoint.name()))
    };
    completion::awaitable(py, answer, output)
}

/// Asks about a job, by `status`, `wait`, `cancel` or `retry`; the awaitable gives Runpod's answer.
#[pyfunction]
pub(super) fn job_ask<'py>(
    py: Python<'py>,
    operation: &str,
    endpoint: Vec<String>,
    job: String,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (client, endpoint, options) = (client(py)?, endpoint_of(endpoint)?, options(timeout)?);
    match operation {
        "status" => {
            let answer = async move { client.status(&endpoint, &job, &options).await };
            completion::awaitable(py, answer, state)
        }
        "wait" => {
            let answer = async move { client.wait(&endpoint, &job, &options).await };
            completion::awaitable(py, answer, state)
        }
        "cancel" => {
            let answer = async move { client.cancel(&endpoint, &job, &options).await };
            completion::awaitable(py, answer, state)
        }
        "retry" => {
            let answer = async move { client.retry(&endpoint, &job, &options).await };
            completion::awaitable(py, answer, state)
        }
        _ => Err(PyValueError::new_err(format!("`{operation}` is nothing that a job can be asked"))),
    }
}

/// Asks about an endpoint, by `purge_queue`, `health` or `requests`; the awaitable gives the answer.
#[pyfunction]
pub(super) fn endpoint_ask<'py>(
    py: Python<'py>,
    operation: &str,
    endpoint: Vec<String>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (client, endpoint, options) = (client(py)?, endpoint_of(endpoint)?, options(timeout)?);
    let finish = |py: Python<'_>, answer: Result<Bytes, RunpodError>| match answer {
        Ok(text) => json(py, &text),
        Err(error) => Err(errors::runpod(py, &error)),
    };
    match operation {
        "purge_queue" => {
            completion::awaitable(py, async move { client.purge_queue(&endpoint, &options).await }, finish)
        }
        "health" => {
            completion::awaitable(py, async move { client.health(&endpoint, &options).await }, finish)
        }
        "requests" => {
            completion::awaitable(py, async move { client.requests(&endpoint, &options).await }, finish)
        }
        _ => Err(PyValueError::new_err(format!("`{operation}` is nothing that an endpoint can be asked"))),
    }
}

/// Returns the output that a job's last answer has, or raises how the job ended.
#[pyfunction]
pub(super) fn job_result(py: Python<'_>, endpoint: &str, answer: &str) -> PyResult<Py<PyAny>> {
    let state = JobState::parse(Bytes::copy_from_slice(answer.as_bytes()));
    output(py, state.and_then(JobState::into_result).map_err(|error| error.at_endpoint(endpoint)))
}

type Texts = Pin<Box<dyn Stream<Item = Result<Bytes, RunpodError>> + Send>>;

/// Items of a job as they come.
#[pyclass(frozen, module = "runpod_flash._core")]
pub(super) struct JobItems {
    texts: Arc<tokio::sync::Mutex<Option<Texts>>>,
}

/// Returns the items of a job, as they come.
#[pyfunction]
pub(super) fn job_stream(
    py: Python<'_>,
    endpoint: Vec<String>,
    job: String,
    timeout: Option<f64>,
) -> PyResult<JobItems> {
    let (client, endpoint, options) = (client(py)?, endpoint_of(endpoint)?, options(timeout)?);
    let texts: Texts = Box::pin(client.stream(endpoint, job, options));
    Ok(JobItems { texts: Arc::new(tokio::sync::Mutex::new(Some(texts))) })
}

#[pymethods]
impl JobItems {
    /// Returns an awaitable of `(item,)`, or of `None` after the last one.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let texts = Arc::clone(&self.texts);
        let next = async move {
            match texts.lock().await.as_mut() {
                Some(texts) => texts.next().await,
                None => None,
            }
        };
        completion::awaitable(py, next, |py, item| match item {
            Some(Ok(text)) => Ok(PyTuple::new(py, [json(py, &text)?])?.into_any().unbind()),
            Some(Err(error)) => Err(errors::runpod(py, &error)),
            None => Ok(py.None()),
        })
    }

    /// Ends the stream where items are left.
    fn close(&self) {
        if let Ok(mut texts) = self.texts.try_lock() {
            texts.take();
        }
    }
}

/// Sends a request to a load-balanced endpoint; the awaitable gives `(status, content type, body)`.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "one call from one place in Python")]
pub(super) fn balanced_request<'py>(
    py: Python<'py>,
    endpoint: Vec<String>,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: Vec<Bound<'py, PyAny>>,
    sizes: Vec<(String, u64)>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let client = client(py)?;
    let request = BalancedRequest {
        endpoint: endpoint_of(endpoint)?,
        method,
        path,
        query,
        headers,
        body: payload_of(body, sizes)?,
        timeout: duration(timeout)?,
    };
    let answer = async move {
        let answer = client.request(&request).await?;
        answer.check()?;
        Ok(answer)
    };
    completion::awaitable(py, answer, |py, answer: Result<HttpAnswer, RunpodError>| {
        let answer = answer.map_err(|error| errors::runpod(py, &error))?;
        let kind = answer.header("content-type").unwrap_or_default();
        Ok((answer.status, kind, PyBytes::new(py, &answer.body)).into_pyobject(py)?.into_any().unbind())
    })
}

fn options(timeout: Option<f64>) -> PyResult<CallOptions> {
    Ok(CallOptions { timeout: duration(timeout)?, ..CallOptions::default() })
}

fn state(py: Python<'_>, answer: Result<JobState, RunpodError>) -> PyResult<Py<PyAny>> {
    match answer {
        Ok(state) => json(py, &state.raw),
        Err(error) => Err(errors::runpod(py, &error)),
    }
}

fn output(py: Python<'_>, output: Result<Output, RunpodError>) -> PyResult<Py<PyAny>> {
    match output {
        Ok(Output::Json(text)) => json(py, &text),
        Ok(Output::None) => Ok(py.None()),
        Err(error) => Err(errors::runpod(py, &error)),
    }
}
