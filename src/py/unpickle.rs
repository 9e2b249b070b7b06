//! Unpickling from base64 text, also while it arrives: decoded once, into the memory that pickle asks for.
//!
//! An unpickler of `CPython` asks its file to fill the bytes and arrays that it makes. Where the text is
//! still on its way, it runs on a thread of its own, which gives up the interpreter while it waits.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use pyo3::exceptions::{PyEOFError, PyMemoryError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::{mpsc, oneshot};

use super::buffer;
use crate::runpod::execute::bare;
use crate::runpod::job::{BodyStream, JobState, LargeAnswer, Status};
use crate::runpod::{ErrorKind, RunpodError};
use crate::wire::BoxFuture;
use crate::wire::answer::Splitter;
use crate::wire::base64::{Base64Error, Decoder};
use crate::wire::pickle::{Guard, PickleError};

/// Chunks of a body that wait for the unpickler.
const WAITING: usize = 8;
/// Below this many bytes what is there is decoded without giving up the interpreter.
const DETACH_FROM: usize = 16 * 1024;
/// A pickle that claims more in one string is not believed before it is there.
const STEP: usize = 1 << 20;

/// Bytes of an unpickling thread's stack.
const STACK: usize = 8 << 20;

/// Why a text cannot be unpickled.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum TextError {
    #[error(transparent)]
    Base64(#[from] Base64Error),
    #[error(transparent)]
    Pickle(#[from] PickleError),
}

/// The file of an unpickler: base64 text, of which more may come.
#[pyclass(module = "runpod_flash._core")]
struct TextFile {
    decoder: Decoder,
    /// Text that was not decoded yet.
    text: Bytes,
    more: Option<mpsc::Receiver<Bytes>>,
    guard: Guard,
    error: Option<TextError>,
}

#[pymethods]
impl TextFile {
    fn readinto(&mut self, memory: &Bound<'_, PyAny>) -> PyResult<usize> {
        let filled = buffer::fill(memory, |bytes| self.fill(bytes))?;
        self.checked()?;
        Ok(filled)
    }

    fn read<'py>(&mut self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let start = bytes.len();
            let step = (count - start).min(STEP);
            bytes.resize(start + step, 0);
            let space = &mut bytes[start..];
            // What is there is enough: four characters for three bytes, and what a border cuts off.
            let is_there = step < DETACH_FROM && self.text.len() / 4 * 3 > step + 6;
            let filled = if is_there { self.fill(space) } else { py.detach(|| self.fill(space)) };
            bytes.truncate(start + filled);
            self.checked()?;
            if filled < step {
                break;
            }
        }
        Ok(PyBytes::new(py, &bytes))
    }

    /// Reads to the end of a line: only pickles of old protocols have lines.
    fn readline<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if py.detach(|| self.fill(&mut byte)) == 0 {
                break;
            }
            line.push(byte[0]);
        }
        self.checked()?;
        Ok(PyBytes::new(py, &line))
    }
}

impl TextFile {
    fn new(text: Bytes, more: Option<mpsc::Receiver<Bytes>>) -> Self {
        Self { decoder: Decoder::default(), text, more, guard: Guard::default(), error: None }
    }

    /// Fills the memory as far as text comes; less only at the end or where the text is wrong.
    fn fill(&mut self, bytes: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < bytes.len() && self.error.is_none() {
            match self.decoder.pull(&self.text, &mut bytes[filled..]) {
                Ok((read, written)) => {
                    filled += written;
                    bytes::Buf::advance(&mut self.text, read);
                }
                Err(error) => self.error = Some(error.into()),
            }
            if filled < bytes.len() && self.error.is_none() {
                if let Some(text) = self.more.as_mut().and_then(mpsc::Receiver::blocking_recv) {
                    self.text = text;
                } else {
                    self.error = self.decoder.finish().err().map(TextError::from);
                    break;
                }
            }
        }
        if let Err(error) = self.guard.feed(&bytes[..filled]) {
            self.error = Some(error.into());
        }
        filled
    }

    fn checked(&self) -> PyResult<()> {
        self.error.map_or(Ok(()), |error| Err(PyValueError::new_err(error.to_string())))
    }
}

/// What came of a text.
enum Unpickled {
    Value(Py<PyAny>),
    /// The text or the pickle is not whole or not right.
    Malformed(String),
    /// The value's own code failed, or is not here.
    Raised(PyErr),
}

fn unpickle(py: Python<'_>, file: TextFile) -> Unpickled {
    let load = |file: &Bound<'_, TextFile>| -> PyResult<Py<PyAny>> {
        let unpickler = py.import("pickle")?.getattr("Unpickler")?.call1((file,))?;
        unpickler.call_method0("load").map(Bound::unbind)
    };
    let file = match Bound::new(py, file) {
        Ok(file) => file,
        Err(error) => return Unpickled::Raised(error),
    };
    let loaded = load(&file);
    if let Some(error) = file.borrow().error {
        return Unpickled::Malformed(error.to_string());
    }
    match loaded {
        Ok(value) => Unpickled::Value(value),
        Err(error) if is_malformed(py, &error) => {
            Unpickled::Malformed(format!("its pickle is not whole: {error}"))
        }
        Err(error) => Unpickled::Raised(error),
    }
}

/// Whether an error says that the pickle is damaged, not that the value's own code failed.
fn is_malformed(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyEOFError>(py)
        || error.is_instance_of::<PyMemoryError>(py)
        || error.is_instance_of::<PyOverflowError>(py)
        || py
            .import("pickle")
            .and_then(|module| module.getattr("UnpicklingError"))
            .is_ok_and(|class| error.is_instance(py, &class))
}

/// Reads the value of a text that is there.
///
/// # Errors
/// What `malformed` makes where the text is not base64 of a whole pickle, `raised` of what unpickling raises.
pub(super) fn load_base64<'py>(
    py: Python<'py>,
    text: Bytes,
    malformed: &dyn Fn(&str) -> PyErr,
    raised: &dyn Fn(&PyErr) -> PyErr,
) -> PyResult<Bound<'py, PyAny>> {
    buffer::release_waiting(py);
    match unpickle(py, TextFile::new(text, None)) {
        Unpickled::Value(value) => Ok(value.into_bound(py)),
        Unpickled::Malformed(reason) => Err(malformed(&reason)),
        Unpickled::Raised(error) => Err(raised(&error)),
    }
}

/// Reads answers of functions while they arrive; the last one's value is taken by [`Self::take`].
///
/// The state that it gives has everything but a large result, which is `null` there.
#[derive(Default)]
pub(super) struct Reader {
    value: Arc<Mutex<Option<PyResult<Py<PyAny>>>>>,
}

impl Reader {
    /// Returns the value that the last answer had, or what unpickling it raised.
    pub(super) fn take(&self) -> Option<PyResult<Py<PyAny>>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl LargeAnswer for Reader {
    fn read(&self, mut body: BodyStream) -> BoxFuture<'static, Result<JobState, RunpodError>> {
        let slot = Arc::clone(&self.value);
        Box::pin(async move {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            let malformed = |reason: String| RunpodError::new(ErrorKind::Malformed, reason);
            let (mut splitter, mut pieces) = (Splitter::default(), Vec::new());
            let mut text = None;
            let mut unpickled = None;
            while let Some(chunk) = body.next().await {
                splitter.feed(&chunk?, &mut pieces).map_err(|error| malformed(error.to_string()))?;
                if splitter.has_parted() && unpickled.is_none() {
                    let (sender, receiver) = mpsc::channel(WAITING);
                    text = Some(sender);
                    unpickled = Some(start(receiver)?);
                }
                for piece in pieces.drain(..) {
                    if let Some(sender) = &text {
                        // An unpickler that has its value, or failed, wants no more.
                        _ = sender.send(piece).await;
                    }
                }
                if !splitter.is_in_result() {
                    text = None;
                }
            }
            let rest = splitter.finish().map_err(|error| malformed(error.to_string()))?;
            let state = read_state(rest)?;
            if let Some(unpickled) = unpickled {
                match unpickled.await {
                    Ok(Unpickled::Value(value)) => put(&slot, Ok(value)),
                    Ok(Unpickled::Raised(error)) => put(&slot, Err(error)),
                    Ok(Unpickled::Malformed(reason)) if state.status == Status::Completed => {
                        return Err(
                            malformed(format!("the result cannot be read: {reason}")).about_job(state.id)
                        );
                    }
                    // What a failed job left is of no interest, nor is anything once Python ends.
                    _ => {}
                }
            }
            Ok(state)
        })
    }
}

fn put(slot: &Mutex<Option<PyResult<Py<PyAny>>>>, value: PyResult<Py<PyAny>>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// Reads the JSON of a job's answer, or of a response that is no job's.
fn read_state(rest: Bytes) -> Result<JobState, RunpodError> {
    #[derive(serde::Deserialize)]
    struct Kind {
        status: Option<serde::de::IgnoredAny>,
        success: Option<serde::de::IgnoredAny>,
    }
    let is_bare = serde_json::from_slice::<Kind>(&rest)
        .is_ok_and(|kind| kind.status.is_none() && kind.success.is_some());
    if is_bare {
        return Ok(bare(rest));
    }
    crate::runpod::answer::state(rest, None)
}

/// Starts a thread that unpickles what comes.
fn start(text: mpsc::Receiver<Bytes>) -> Result<oneshot::Receiver<Unpickled>, RunpodError> {
    let (sender, receiver) = oneshot::channel();
    let running = Running::enter();
    std::thread::Builder::new()
        .name("flash-unpickle".to_owned())
        // As much as Python's own threads have: code that unpickling runs may be deeply nested.
        .stack_size(STACK)
        .spawn(move || {
            // A value that nobody waits for any more is dropped here, where the interpreter is.
            Python::try_attach(|py| _ = sender.send(unpickle(py, TextFile::new(Bytes::new(), Some(text)))));
            drop(running);
        })
        .map_err(|error| {
            RunpodError::new(ErrorKind::Configuration, format!("no thread to read a result: {error}"))
        })?;
    Ok(receiver)
}

/// Threads that unpickle, by process: a forked child has none of its parent's.
static RUNNING: (Mutex<(u32, usize)>, Condvar) = (Mutex::new((0, 0)), Condvar::new());

struct Running;

impl Running {
    fn enter() -> Self {
        let mut running = RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        *running = if running.0 == process { (process, running.1 + 1) } else { (process, 1) };
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        RUNNING.1.notify_all();
    }
}

/// Waits until no thread unpickles any more, before the interpreter takes threads down; call it
/// without the interpreter, and once nothing sends text.
pub(super) fn wait_for_end(patience: Duration) {
    let running = RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    _ = RUNNING.1.wait_timeout_while(running, patience, |running| running.0 == process && running.1 > 0);
}
