//! Calls from Python: where they go, what they carry, what comes back.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use tokio::sync::mpsc;

use super::embedded::{self, Declaration};
use super::{completion, errors, payload, runtime};
use crate::wire::Backend;
use crate::wire::backend::{Call, Reply};
use crate::wire::message::{CallHead, Constructor, ErrorReport, Failure, Input};

static BACKEND: OnceLock<Arc<dyn Backend>> = OnceLock::new();

/// Makes `backend` the one that calls of this process use; a worker installs the connection to
/// its parent before user code loads. Returns whether it was the first.
pub(super) fn install_backend(backend: Arc<dyn Backend>) -> bool {
    BACKEND.set(backend).is_ok()
}

/// Returns whether calls of this process are routed by the parent of this worker.
pub(super) fn has_parent() -> bool {
    BACKEND.get().is_some()
}

/// Returns what runs calls: the installed backend, else this machine's platform, embedded at the
/// first call.
///
/// # Errors
/// Where the system gives no threads, or `FLASH_DEPS` is wrong.
pub(super) fn backend(py: Python<'_>) -> PyResult<Arc<dyn Backend>> {
    match BACKEND.get() {
        Some(installed) => Ok(Arc::clone(installed)),
        None => embedded::platform(py),
    }
}

/// Tells the embedded platform of all endpoints of this process; a worker's parent knows its own.
#[pyfunction]
pub(super) fn declare(py: Python<'_>, declarations: Vec<Declaration<'_>>) -> PyResult<()> {
    match BACKEND.get() {
        Some(_) => Ok(()),
        None => embedded::declare(py, declarations),
    }
}

/// Calls a function or method; the awaitable gives its result.
///
/// `arguments` and `constructor` are `(args, kwargs)`; `function` goes along by value where the
/// worker cannot find it by name.
#[pyfunction]
#[pyo3(signature = (endpoint, callable, arguments, constructor, function, by_value, chain))]
#[expect(clippy::too_many_arguments, reason = "one call from one place in Python")]
pub(super) fn call<'py>(
    py: Python<'py>,
    endpoint: String,
    callable: String,
    arguments: &Bound<'py, PyAny>,
    constructor: Option<&Bound<'py, PyAny>>,
    function: Option<&Bound<'py, PyAny>>,
    by_value: bool,
    chain: Vec<String>,
) -> PyResult<Bound<'py, PyAny>> {
    let backend = backend(py)?;
    let head = Head { endpoint, callable, chain, stream: false };
    let call = encode(head, arguments, constructor, function, by_value)?;
    let endpoint = call.head.endpoint.clone();
    let answer = async move { backend.call(call).await };
    completion::awaitable(py, answer, move |py, answer| match answer {
        Ok(Reply::Value(segments)) => Ok(payload::load(py, &segments)?.unbind()),
        Ok(Reply::Stream(_)) => Err(unexpected(py, &endpoint, "items came where one value was asked for")),
        Err(report) => Err(errors::report(py, &endpoint, &report)),
    })
}

/// Calls a generator function; the awaitable gives an [`Items`].
#[pyfunction]
#[pyo3(signature = (endpoint, callable, arguments, constructor, function, by_value, chain))]
#[expect(clippy::too_many_arguments, reason = "one call from one place in Python")]
pub(super) fn stream<'py>(
    py: Python<'py>,
    endpoint: String,
    callable: String,
    arguments: &Bound<'py, PyAny>,
    constructor: Option<&Bound<'py, PyAny>>,
    function: Option<&Bound<'py, PyAny>>,
    by_value: bool,
    chain: Vec<String>,
) -> PyResult<Bound<'py, PyAny>> {
    let backend = backend(py)?;
    let head = Head { endpoint, callable, chain, stream: true };
    let call = encode(head, arguments, constructor, function, by_value)?;
    let endpoint = call.head.endpoint.clone();
    let answer = async move { backend.call(call).await };
    completion::awaitable(py, answer, move |py, answer| match answer {
        Ok(Reply::Stream(receiver)) => {
            let source = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
            Ok(Py::new(py, Items { endpoint, source })?.into_any())
        }
        Ok(Reply::Value(_)) => Err(unexpected(py, &endpoint, "one value came where items were asked for")),
        Err(report) => Err(errors::report(py, &endpoint, &report)),
    })
}

type Segments = Result<Vec<bytes::Bytes>, ErrorReport>;

/// Items of a generator as they come.
#[pyclass(frozen, module = "runpod_flash._core")]
pub(super) struct Items {
    endpoint: String,
    source: Arc<tokio::sync::Mutex<Option<mpsc::Receiver<Segments>>>>,
}

#[pymethods]
impl Items {
    /// Returns an awaitable of `(item,)`, or of `None` after the last one.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let source = Arc::clone(&self.source);
        let endpoint = self.endpoint.clone();
        let next = async move {
            let mut source = source.lock().await;
            match source.as_mut() {
                Some(receiver) => receiver.recv().await,
                None => None,
            }
        };
        completion::awaitable(py, next, move |py, item| match item {
            Some(Ok(segments)) => {
                let item = payload::load(py, &segments)?;
                Ok(pyo3::types::PyTuple::new(py, [item])?.into_any().unbind())
            }
            Some(Err(report)) => Err(errors::report(py, &endpoint, &report)),
            None => Ok(py.None()),
        })
    }

    /// Ends the call where items are left.
    fn close(&self) {
        if let Ok(mut source) = self.source.try_lock() {
            source.take();
        }
    }
}

/// Ends what the process runs: workers, the runtime, its threads. Called by `atexit`.
#[pyfunction]
pub(super) fn shutdown(py: Python<'_>) {
    py.detach(|| {
        if let Some(context) = runtime::existing() {
            embedded::stop(context);
            context.stop();
        }
    });
}

/// Gives up the workers of the process that forked this one. Called in the child.
#[pyfunction]
pub(super) fn forked() {
    crate::platform::give_up_inherited();
}

struct Head {
    endpoint: String,
    callable: String,
    chain: Vec<String>,
    stream: bool,
}

fn encode(
    head: Head,
    arguments: &Bound<'_, PyAny>,
    constructor: Option<&Bound<'_, PyAny>>,
    function: Option<&Bound<'_, PyAny>>,
    by_value: bool,
) -> PyResult<Call> {
    let mut buffers = payload::dump(arguments, by_value)?;
    let constructor = constructor.map(|constructor| payload::dump(constructor, by_value)).transpose()?;
    let constructor = constructor
        .map(|segments| -> PyResult<Constructor> {
            let key = key_of(&segments);
            let start = u16::try_from(buffers.len())?;
            buffers.extend(segments);
            Ok(Constructor { key, start })
        })
        .transpose()?;
    let function = function
        .map(|function| -> PyResult<u16> {
            let index = u16::try_from(buffers.len())?;
            buffers.push(payload::dump_function(function)?);
            Ok(index)
        })
        .transpose()?;
    let head = CallHead {
        endpoint: head.endpoint,
        callable: head.callable,
        input: Input::Python { constructor, function },
        job: None,
        chain: head.chain,
        stream: head.stream,
    };
    Ok(Call { head, buffers })
}

/// Equal arguments pickle alike, so that they share one instance in a worker.
fn key_of(segments: &[bytes::Bytes]) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for segment in segments {
        hash.update((segment.len() as u64).to_le_bytes());
        hash.update(segment);
    }
    let mut key = String::with_capacity(64);
    for byte in hash.finalize() {
        _ = write!(key, "{byte:02x}");
    }
    key
}

fn unexpected(py: Python<'_>, endpoint: &str, message: &str) -> PyErr {
    errors::report(py, endpoint, &ErrorReport::new(Failure::Internal, "", message))
}
