//! Jobs on Runpod, as `EndpointJob` and the methods of a client endpoint ask for them.

use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::client::client;
use super::{buffer, completion, errors};
use crate::runpod::RunpodError;
use crate::runpod::job::{CallOptions, EndpointRef, JobState};
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
pub(super) fn json(py: Python<'_>, text: &Bytes) -> PyResult<Py<PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let text = PyString::from_bytes(py, text)?;
    Ok(LOADS.import(py, "json", "loads")?.call1((text,))?.unbind())
}

/// Submits a job by `run`; the awaitable gives Runpod's answer.
#[pyfunction]
#[pyo3(signature = (endpoint, body, sizes, timeout))]
pub(super) fn job_run<'py>(
    py: Python<'py>,
    endpoint: Vec<String>,
    body: Vec<Bound<'py, PyAny>>,
    sizes: Vec<(String, u64)>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (client, endpoint) = (client(py)?, endpoint_of(endpoint)?);
    let payload = payload_of(body, sizes)?;
    let options = CallOptions { timeout: duration(timeout)?, ..CallOptions::default() };
    let answer = async move { client.run(&endpoint, &payload, &options).await };
    completion::awaitable(py, answer, state)
}

/// Asks about a job; the awaitable gives Runpod's answer.
#[pyfunction]
#[pyo3(signature = (endpoint, job, timeout))]
pub(super) fn job_status(
    py: Python<'_>,
    endpoint: Vec<String>,
    job: String,
    timeout: Option<f64>,
) -> PyResult<Bound<'_, PyAny>> {
    let (client, endpoint) = (client(py)?, endpoint_of(endpoint)?);
    let options = CallOptions { timeout: duration(timeout)?, ..CallOptions::default() };
    let answer = async move { client.status(&endpoint, &job, &options).await };
    completion::awaitable(py, answer, state)
}

fn state(py: Python<'_>, answer: Result<JobState, RunpodError>) -> PyResult<Py<PyAny>> {
    match answer {
        Ok(state) => json(py, &state.raw),
        Err(error) => Err(errors::runpod(py, &error)),
    }
}
