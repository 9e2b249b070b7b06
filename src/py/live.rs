//! Live calls from Python: what travels, and the call itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::client::client;
use super::endpoint::EndpointBase;
use super::jobs::{duration, fits};
use super::live_provision::provisioner;
use super::unpickle::{self, Reader};
use super::{buffer, completion, errors, payload};
use crate::endpoint::EndpointKind;
use crate::project::ship::{self, CalleeRequest, Request};
use crate::runpod::job::{CallOptions, EndpointRef, JobState, Output, Status};
use crate::runpod::live::{Provision as _, input_of};
use crate::runpod::{ErrorKind, RunpodError};
use crate::wire::function::{Arguments, FunctionRequest, FunctionResponse, Pickled, RemoteFailure};

/// Computes what travels with a function or class, as JSON text: a `Shipment`, or `error`, `kind`
/// and `hint` where it cannot travel.
#[pyfunction]
#[pyo3(signature = (text, file, roots, name, line, known, endpoints, also))]
#[expect(clippy::too_many_arguments, reason = "one call from one place in Python")]
#[expect(clippy::needless_pass_by_value, reason = "extracted from Python objects")]
pub(super) fn ship_source(
    py: Python<'_>,
    text: String,
    file: PathBuf,
    roots: Vec<PathBuf>,
    name: String,
    line: Option<usize>,
    known: BTreeSet<String>,
    endpoints: BTreeSet<String>,
    also: BTreeSet<String>,
) -> PyResult<String> {
    py.detach(|| {
        let request = Request {
            text: &text,
            file: &file,
            roots: &roots,
            name: &name,
            line,
            known: &known,
            endpoints: &endpoints,
            also: &also,
        };
        let told = match ship::ship(&request) {
            Ok(shipment) => serde_json::to_string(&shipment),
            Err(error) => serde_json::to_string(&serde_json::json!({
                "error": error.to_string(), "kind": error.kind(), "hint": error.hint(),
            })),
        };
        told.map_err(|error| PyValueError::new_err(error.to_string()))
    })
}

/// Returns the qualified name of the function or class that is decorated on a line of a file.
#[pyfunction]
pub(super) fn decorated_on(py: Python<'_>, text: &str, line: usize) -> Option<String> {
    py.detach(|| ship::decorated_on(text, line))
}

/// Returns code that can call other endpoints, and its modules; `table` is JSON: key to endpoint and request.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "extracted from Python objects")]
pub(super) fn with_callees(
    table: &str,
    code: &str,
    modules: BTreeMap<String, String>,
) -> PyResult<(String, BTreeMap<String, String>)> {
    let table: BTreeMap<String, CalleeRequest> =
        serde_json::from_str(table).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(ship::with_callees(&table, code, &modules))
}

/// Returns code with a function that makes a list of what a generator yields, and its name.
#[pyfunction]
#[pyo3(signature = (name, is_async, method=None))]
pub(super) fn list_adapter(name: &str, is_async: bool, method: Option<&str>) -> (String, String) {
    ship::list_adapter(name, is_async, method)
}

/// Returns code whose function `_flash_json_call` takes and gives JSON text.
#[pyfunction]
#[pyo3(signature = (name, method=None, version=""))]
pub(super) fn json_adapter(name: &str, method: Option<&str>, version: &str) -> String {
    ship::json_adapter(name, method, version)
}

/// Calls a live endpoint; the awaitable gives `(value, stdout)`. The job goes with the awaitable; a
/// load-balanced endpoint makes none, and is called by `/execute`.
///
/// `head` is JSON: the `FunctionRequest` without its arguments. What the function raised is told to
/// `runpod_flash._live.failed`, which makes the exception.
#[pyfunction]
#[pyo3(signature = (endpoint, name, head, args, kwargs, constructor, timeout=None, is_balanced=false))]
#[expect(clippy::too_many_arguments, reason = "one call from one place in Python")]
pub(super) fn live_call<'py>(
    py: Python<'py>,
    endpoint: String,
    name: String,
    head: &str,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    constructor: Option<(Bound<'py, PyTuple>, Bound<'py, PyDict>)>,
    timeout: Option<f64>,
    is_balanced: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let request = request_of(&name, head, args, kwargs, constructor)?;
    let client = client(py)?;
    let (options, reader) = options(timeout)?;
    let call = async move {
        if is_balanced {
            return client.execute(&endpoint, &request.into_execute(), &options).await;
        }
        client.call(&EndpointRef::Id(endpoint), &request.into_job(), &options).await
    };
    completion::awaitable(py, call, move |py, outcome| finish(py, &name, outcome, &reader))
}

/// Checks the arguments of a call whose endpoint is made first.
///
/// # Errors
/// `PayloadTooLargeError` where they alone are over the limit of `route`, which is `run`, `runsync` or
/// `balanced`; `SerializationError` where one cannot be pickled.
#[pyfunction]
pub(super) fn live_check(
    name: &str,
    route: &str,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
    constructor: Option<(Bound<'_, PyTuple>, Bound<'_, PyDict>)>,
) -> PyResult<()> {
    let py = args.py();
    let body = request_of(name, "{}", args, kwargs, constructor)?.into_job();
    let fits = fits(py, name, &body, route);
    drop(body);
    buffer::release_waiting(py);
    fits
}

/// Submits a call to a live endpoint; the awaitable gives the job's ID.
#[pyfunction]
pub(super) fn live_submit<'py>(
    py: Python<'py>,
    endpoint: String,
    name: String,
    head: &str,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    constructor: Option<(Bound<'py, PyTuple>, Bound<'py, PyDict>)>,
) -> PyResult<Bound<'py, PyAny>> {
    let request = request_of(&name, head, args, kwargs, constructor)?;
    let client = client(py)?;
    let call = async move {
        client.run(&EndpointRef::Id(endpoint), &request.into_job(), &CallOptions::default()).await
    };
    completion::awaitable(py, call, move |py, outcome| match outcome {
        Ok(state) => Ok(state.id.into_pyobject(py)?.into_any().unbind()),
        Err(error) => Err(errors::runpod(py, &error.at_endpoint(&name))),
    })
}

/// Waits for the end of a call that was submitted; the awaitable gives `(value, stdout)`.
#[pyfunction]
pub(super) fn live_wait(
    py: Python<'_>,
    endpoint: String,
    name: String,
    job: String,
) -> PyResult<Bound<'_, PyAny>> {
    let client = client(py)?;
    let (options, reader) = options(None)?;
    let call = async move { client.wait(&EndpointRef::Id(endpoint), &job, &options).await };
    completion::awaitable(py, call, move |py, outcome| finish(py, &name, outcome, &reader))
}

fn request_of(
    name: &str,
    head: &str,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
    constructor: Option<(Bound<'_, PyTuple>, Bound<'_, PyDict>)>,
) -> PyResult<FunctionRequest> {
    let head = serde_json::from_str(head).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(FunctionRequest {
        head,
        arguments: arguments(name, args, kwargs)?,
        constructor: constructor.map(|(args, kwargs)| arguments(name, &args, &kwargs)).transpose()?,
    })
}

/// Options of a call whose large result is read as it arrives.
fn options(timeout: Option<f64>) -> PyResult<(CallOptions, Arc<Reader>)> {
    let reader = Arc::new(Reader::default());
    let options = CallOptions {
        timeout: duration(timeout)?,
        // The function's result is for nobody once the call is gone.
        cancel_when_dropped: true,
        large: Some(Arc::<Reader>::clone(&reader) as _),
        ..CallOptions::default()
    };
    Ok((options, reader))
}

/// Makes `(value, stdout)` of how a call ended.
fn finish(
    py: Python<'_>,
    name: &str,
    outcome: Result<JobState, RunpodError>,
    reader: &Reader,
) -> PyResult<Py<PyAny>> {
    let state = outcome.map_err(|error| errors::runpod(py, &error.at_endpoint(name)))?;
    if let Some(failure) = raised(&state) {
        return Err(failed(py, name, failure, None)?);
    }
    let output = state.into_result().map_err(|error| errors::runpod(py, &error.at_endpoint(name)))?;
    value(py, name, output, reader.take())
}

/// What the function raised, where the worker reports that as a failed job: the official one does.
fn raised(state: &JobState) -> Option<RemoteFailure> {
    let error = state.error.as_ref().filter(|_| state.status == Status::Failed)?;
    let text: String = serde_json::from_str(error.get()).ok()?;
    let failure = RemoteFailure::parse(&text);
    (!failure.class.is_empty()).then_some(failure)
}

fn failed(py: Python<'_>, name: &str, failure: RemoteFailure, stdout: Option<&str>) -> PyResult<PyErr> {
    let RemoteFailure { class, message, traceback, hint } = failure;
    let module = py.import("runpod_flash._live")?;
    let made = module.call_method1("failed", (name, class, message, traceback, hint, stdout))?;
    Ok(PyErr::from_value(made))
}

/// Reads a `FunctionResponse`; `read` is its result where that was read while it arrived.
fn value(
    py: Python<'_>,
    name: &str,
    output: Output,
    read: Option<PyResult<Py<PyAny>>>,
) -> PyResult<Py<PyAny>> {
    let malformed = |why: &str| {
        let text = format!("the worker of `{name}` answered what is no FunctionResponse: {why}");
        errors::runpod(py, &RunpodError::new(ErrorKind::Malformed, text).at_endpoint(name))
    };
    let Output::Json(json) = output else { return Err(malformed("there is no output")) };
    let response: FunctionResponse<'_> =
        serde_json::from_slice(&json).map_err(|error| malformed(&error.to_string()))?;
    if !response.success {
        // The official worker says in `result` that there is no such function.
        let text = response.error.as_deref().or(response.result.as_deref()).unwrap_or("no reason was given");
        return Err(failed(py, name, RemoteFailure::parse(text), response.stdout.as_deref())?);
    }
    let value = match (read, &response.result, response.json_result) {
        (Some(read), ..) => read.map_err(|error| unreadable(py, name, &error))?,
        (None, Some(text), _) => {
            let raised = |error: &PyErr| unreadable(py, name, error);
            let text = Bytes::copy_from_slice(text.as_bytes());
            unpickle::load_base64(py, text, &malformed, &raised)?.unbind()
        }
        (None, None, Some(json)) => py.import("json")?.call_method1("loads", (json.get(),))?.unbind(),
        (None, None, None) => py.None(),
    };
    Ok((value, response.stdout).into_pyobject(py)?.into_any().unbind())
}

/// The error for a result that this process cannot make: of a class that is not here, say.
fn unreadable(py: Python<'_>, name: &str, error: &PyErr) -> PyErr {
    let make = || py.import("runpod_flash._live")?.call_method1("unreadable", (name, error.value(py)));
    make().map_or_else(|error| error, PyErr::from_value)
}

fn arguments(name: &str, args: &Bound<'_, PyTuple>, kwargs: &Bound<'_, PyDict>) -> PyResult<Arguments> {
    let mut all = Arguments::default();
    for (index, value) in args.iter().enumerate() {
        all.positional.push(pickled(name, &format!("argument {}", index + 1), &value)?);
    }
    for (key, value) in kwargs.iter() {
        let key: String = key.extract()?;
        all.named.push((key.clone(), pickled(name, &format!("`{key}`"), &value)?));
    }
    Ok(all)
}

fn pickled(name: &str, which: &str, value: &Bound<'_, PyAny>) -> PyResult<Pickled> {
    let py = value.py();
    payload::pickle_in_band(value).map_err(|error| {
        let raise = || {
            let module = py.import("runpod_flash._live")?;
            module.call_method1("unpicklable", (name, which, value, error.value(py)))
        };
        raise().map_or_else(|error| error, PyErr::from_value)
    })
}

/// Makes a live endpoint where it is missing; the awaitable gives its ID.
///
/// `needs_key` puts the account's key among the endpoint's variables: its code calls others.
#[pyfunction]
#[pyo3(signature = (endpoint, name, root, needs_key, is_balanced=false))]
pub(super) fn live_ensure<'py>(
    py: Python<'py>,
    endpoint: &EndpointBase,
    name: &str,
    root: PathBuf,
    needs_key: bool,
    is_balanced: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let client = client(py)?;
    let kind = if is_balanced { EndpointKind::LoadBalanced } else { EndpointKind::Queue };
    let mut input =
        input_of(&endpoint.config, name, kind, true).map_err(|error| errors::runpod(py, &error))?;
    // The key itself is in no input: it is added when the template is sent.
    input.needs_key = needs_key;
    let work = async move {
        let provisioner = provisioner(client, root).await?;
        provisioner.ensure(&input).await
    };
    completion::awaitable(py, work, move |py, live| match live {
        Ok(live) => Ok(live.id.into_pyobject(py)?.into_any().unbind()),
        Err(error) => Err(errors::runpod(py, &error)),
    })
}
