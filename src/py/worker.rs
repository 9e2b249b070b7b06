//! The worker process's side of Python: the connection to the parent as an object.
//!
//! Extracts, releases the interpreter's lock, calls `crate::worker`, converts. What a worker does
//! with calls is in `runpod_flash/worker/`.

mod memory;

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyConnectionError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pythonize::{depythonize, pythonize};
use serde_bytes::ByteBuf;

use self::memory::PythonMemory;
use super::buffer::{pin, release_waiting};
use super::call::install_backend;
use crate::wire::message::{
    AnswerHead, CallHead, ChunkHead, ErrorReport, HttpStartHead, LoadHead, OutputHead, OutputStream,
    ReadyHead,
};
use crate::wire::{FrameKind, WireError};
use crate::worker::{Interpreter, Link, Nested, Segment, WorkerError, link, process, reader};

/// The connection of this worker process to its parent.
#[pyclass(module = "runpod_flash._core", frozen)]
pub(super) struct WorkerLink {
    link: Arc<Link>,
    nested: Arc<Nested>,
    socket: Mutex<Option<Arc<UnixStream>>>,
}

fn to_python(error: &WorkerError) -> PyErr {
    match error {
        WorkerError::Closed | WorkerError::Wire(WireError::Closed | WireError::Io(_)) => {
            PyConnectionError::new_err(error.to_string())
        }
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

fn pin_all(buffers: Vec<Bound<'_, PyAny>>) -> PyResult<Vec<Box<dyn Segment>>> {
    buffers.into_iter().map(|buffer| Ok(Box::new(pin(&buffer)?) as Box<dyn Segment>)).collect()
}

fn parse<T: serde::de::DeserializeOwned>(value: &Bound<'_, PyAny>) -> PyResult<T> {
    depythonize(value).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl WorkerLink {
    /// Takes over the socket that the supervisor passed, ties the process to its parent and makes
    /// this connection the one that nested calls use.
    #[new]
    fn new(descriptor: i32) -> PyResult<Self> {
        let socket = Arc::new(link::adopt_descriptor(descriptor)?);
        process::prepare();
        process::start_watchdog(Arc::clone(&socket)).map_err(|error| to_python(&error))?;
        let link = Link::start(Arc::clone(&socket), release_written).map_err(|error| to_python(&error))?;
        let nested = Nested::new(Arc::clone(&link));
        install_backend(Arc::clone(&nested) as _);
        Ok(Self { link, nested, socket: Mutex::new(Some(socket)) })
    }

    /// Starts reading; `deliver(kind, call_id, head, buffers)` is called from the reader's thread
    /// for each frame (kinds `load`, `call`, `cancel`, `stop`, and `broken` after a malformed one).
    fn start(&self, deliver: Py<PyAny>) -> PyResult<()> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(socket) = socket else {
            return Err(PyRuntimeError::new_err("the connection is read already"));
        };
        let (link, nested) = (Arc::clone(&self.link), Arc::clone(&self.nested));
        let python = PythonSide { deliver, is_stopping: AtomicBool::new(false) };
        std::thread::Builder::new().name("flash-reader".to_owned()).spawn(move || {
            if let Err(error) = reader::run(&socket, &python, &link, &nested) {
                match error {
                    WorkerError::Finished => return,
                    // After a stop the process is on its way out; exit handlers run.
                    WorkerError::Wire(WireError::Closed | WireError::Io(_)) => {
                        if !python.is_stopping.load(Ordering::Relaxed) {
                            process::end_with_parent();
                        }
                        return;
                    }
                    _ => {}
                }
                let _ = python
                    .deliver("broken", 0, |py| Ok(error.to_string().into_pyobject(py)?.into_any().unbind()));
            }
        })?;
        Ok(())
    }

    /// Says what this worker serves.
    fn ready(&self, py: Python<'_>, head: &Bound<'_, PyAny>) -> PyResult<()> {
        let head: ReadyHead = parse(head)?;
        self.send(py, FrameKind::Ready, 0, &head, Vec::new())
    }

    /// Says why the code could not be loaded.
    fn load_failed(&self, py: Python<'_>, report: &Bound<'_, PyAny>) -> PyResult<()> {
        let report: ErrorReport = parse(report)?;
        self.send(py, FrameKind::LoadFailed, 0, &report, Vec::new())
    }

    /// Ends a call with a result: `kind` is `python`, `json`, `http` or `end`.
    fn answer(
        &self,
        py: Python<'_>,
        call_id: u64,
        kind: &str,
        buffers: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let head = match kind {
            "python" => AnswerHead::Python,
            "json" => AnswerHead::Json,
            "http" => AnswerHead::Http,
            "end" => AnswerHead::End,
            other => return Err(PyValueError::new_err(format!("no answer of kind `{other}`"))),
        };
        self.send(py, FrameKind::Answer, call_id, &head, pin_all(buffers)?)
    }

    /// Ends a call with a failure.
    fn fail(&self, py: Python<'_>, call_id: u64, report: &Bound<'_, PyAny>) -> PyResult<()> {
        let report: ErrorReport = parse(report)?;
        self.send(py, FrameKind::Answer, call_id, &AnswerHead::Failed(Box::new(report)), Vec::new())
    }

    /// Sends one item of a generator: `kind` is `python`, `json` or `progress`.
    fn chunk(
        &self,
        py: Python<'_>,
        call_id: u64,
        kind: &str,
        buffers: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let head = match kind {
            "python" => ChunkHead::Python,
            "json" => ChunkHead::Json,
            "progress" => ChunkHead::Progress,
            other => return Err(PyValueError::new_err(format!("no chunk of kind `{other}`"))),
        };
        self.send(py, FrameKind::Chunk, call_id, &head, pin_all(buffers)?)
    }

    /// Sends a line of output, without its newline.
    fn output(
        &self,
        py: Python<'_>,
        call_id: u64,
        job: Option<String>,
        is_error: bool,
        line: Vec<u8>,
    ) -> PyResult<()> {
        let stream = if is_error { OutputStream::Stderr } else { OutputStream::Stdout };
        let head = OutputHead { stream, job };
        self.send(py, FrameKind::Output, call_id, &head, vec![Box::new(line)])
    }

    /// Sends status and headers of an HTTP answer.
    fn http_start(
        &self,
        py: Python<'_>,
        call_id: u64,
        status: u16,
        headers: Vec<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>,
    ) -> PyResult<()> {
        let bytes = |value: &Bound<'_, PyBytes>| ByteBuf::from(value.as_bytes());
        let headers = headers.into_iter().map(|(name, value)| (bytes(&name), bytes(&value))).collect();
        self.send(py, FrameKind::HttpStart, call_id, &HttpStartHead { status, headers }, Vec::new())
    }

    /// Sends a piece of an HTTP body.
    fn http_chunk(&self, py: Python<'_>, call_id: u64, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let segments: Vec<Box<dyn Segment>> = vec![Box::new(pin(data)?)];
        let sent = py.detach(|| self.link.send_empty(FrameKind::HttpChunk, 0, call_id, segments));
        release_waiting(py);
        sent.map_err(|error| to_python(&error))
    }

    /// Asks for an environment with these packages and waits for it; returns its interpreter, an
    /// empty text where this process's own will do.
    fn environment(&self, py: Python<'_>, dependencies: Vec<String>) -> PyResult<String> {
        py.detach(|| self.nested.environment(dependencies)).map_err(|report| {
            let text = match report.hint {
                Some(hint) => format!("{}\nhint: {hint}", report.message),
                None => report.message,
            };
            PyOSError::new_err(text)
        })
    }

    /// Waits until everything sent has left the process, then refuses more.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.link.close());
    }
}

impl WorkerLink {
    fn send<H: serde::Serialize + Sync>(
        &self,
        py: Python<'_>,
        kind: FrameKind,
        call_id: u64,
        head: &H,
        segments: Vec<Box<dyn Segment>>,
    ) -> PyResult<()> {
        let sent = py.detach(|| self.link.send(kind, 0, call_id, head, segments));
        release_waiting(py);
        sent.map_err(|error| to_python(&error))
    }
}

/// Gives back the memory of results that the writer is done with.
fn release_written() {
    // Once the interpreter is gone, its memory goes with the process.
    let _ = Python::try_attach(release_waiting);
}

struct PythonSide {
    deliver: Py<PyAny>,
    is_stopping: AtomicBool,
}

impl PythonSide {
    fn deliver(
        &self,
        kind: &str,
        call_id: u64,
        head: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>,
    ) -> Result<(), WorkerError> {
        self.deliver_with(kind, call_id, head, Vec::new())
    }

    fn deliver_with(
        &self,
        kind: &str,
        call_id: u64,
        head: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>,
        buffers: Vec<PythonMemory>,
    ) -> Result<(), WorkerError> {
        Python::try_attach(|py| {
            let buffers: Vec<Py<PyAny>> = buffers.into_iter().map(PythonMemory::into_object).collect();
            let result = head(py).and_then(|head| self.deliver.call1(py, (kind, call_id, head, buffers)));
            if let Err(error) = result {
                // Delivery only queues; it fails while the interpreter is being torn down.
                error.write_unraisable(py, None);
            }
        })
        .ok_or(WorkerError::Finished)
    }
}

impl Interpreter for PythonSide {
    type Memory = PythonMemory;

    fn allocate(&self, lengths: &[usize]) -> Result<Vec<PythonMemory>, WorkerError> {
        Python::try_attach(|py| {
            lengths
                .iter()
                .map(|length| PythonMemory::new(py, *length).ok_or(WorkerError::Memory { bytes: *length }))
                .collect()
        })
        .ok_or(WorkerError::Finished)?
    }

    fn load(&self, head: LoadHead) -> Result<(), WorkerError> {
        self.deliver("load", 0, |py| Ok(pythonize(py, &head)?.unbind()))
    }

    fn call(&self, id: u64, head: CallHead, buffers: Vec<PythonMemory>) -> Result<(), WorkerError> {
        self.deliver_with("call", id, |py| Ok(pythonize(py, &head)?.unbind()), buffers)
    }

    fn cancel(&self, id: u64) -> Result<(), WorkerError> {
        self.deliver("cancel", id, |py| Ok(py.None()))
    }

    fn stop(&self) -> Result<(), WorkerError> {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.deliver("stop", 0, |py| Ok(py.None()))
    }
}
