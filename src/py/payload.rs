//! Python values as payload segments: pickle protocol 5, buffers beside it (toward our own workers) or
//! in it (toward Runpod).

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::buffer;
use super::pickling::{self, Sink};
use crate::wire::payload::Segment;

/// More buffers than this go into the pickle: a frame counts them in 16 bits, and so many are small.
const MAX_BUFFERS: usize = 4096;

/// Texts from this many bytes on are not copied.
const LARGE_TEXT: usize = 64 * 1024;

/// Pickles a value: the pickle first, then its out-of-band buffers, which are not copied.
///
/// What pickle refuses (lambdas, local classes) goes by cloudpickle, and so does everything where
/// `by_value` says that the worker does not have the caller's module.
pub(super) fn dump(value: &Bound<'_, PyAny>, by_value: bool) -> PyResult<Vec<Bytes>> {
    let py = value.py();
    buffer::release_waiting(py);
    if !by_value {
        match dump_with(value, "pickle") {
            Ok(segments) => return Ok(segments),
            Err(error) if is_refusal(py, &error)? => {}
            Err(error) => return Err(error),
        }
    }
    dump_with(value, "cloudpickle")
}

/// Pickles a function or class by value for a worker of this machine, whose tracebacks then say where
/// it is written.
pub(super) fn dump_function(function: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let pickled = function.py().import("runpod_flash._by_value")?.call_method1("dumps", (function,))?;
    buffer::pin(&pickled)
}

fn dump_whole(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item("protocol", 5)?;
    let pickled = py.import("cloudpickle")?.call_method("dumps", (value,), Some(&options))?;
    buffer::pin(&pickled)
}

/// Reads a value back; its buffers become writable memory of their own.
pub(super) fn load<'py>(py: Python<'py>, segments: &[Bytes]) -> PyResult<Bound<'py, PyAny>> {
    buffer::release_waiting(py);
    let Some((pickled, rest)) = segments.split_first() else { return Ok(py.None().into_bound(py)) };
    let buffers = PyList::empty(py);
    for bytes in rest {
        buffers.append(buffer::writable(py, bytes)?)?;
    }
    let options = PyDict::new(py);
    options.set_item("buffers", buffers)?;
    py.import("pickle")?.call_method("loads", (PyBytes::new(py, pickled),), Some(&options))
}

/// Pickles a value into one pickle that any `pickle.loads` reads, in segments: large memory stays
/// where it is, and exported until they are dropped.
///
/// cloudpickle pickles, so functions and classes of the caller's script go by value.
pub(super) fn pickle_in_band(value: &Bound<'_, PyAny>) -> PyResult<Vec<Segment>> {
    let py = value.py();
    buffer::release_waiting(py);
    if let Some(segments) = text(value) {
        return Ok(segments);
    }
    let sink = Bound::new(py, Sink::new())?;
    let pickler = py.import("runpod_flash._pickling")?.getattr("Pickler")?.call1((&sink,))?;
    let outcome = pickler.call_method1("dump", (value,));
    let segments = sink.borrow_mut().finish();
    if let Err(error) = outcome {
        drop(segments);
        buffer::release_waiting(py);
        return Err(error);
    }
    match segments {
        Some(segments) => Ok(segments),
        // A pickler that does not write as CPython's does: copies are better than wrong bytes.
        None => Ok(vec![dump_whole(value)?.into()]),
    }
}

/// The pickle of a large text alone, which the pickler would copy.
fn text(value: &Bound<'_, PyAny>) -> Option<Vec<Segment>> {
    let text = value.cast_exact::<PyString>().ok()?;
    // One with half of a surrogate pair is left to the pickler.
    let text = PyBackedStr::try_from(text.clone()).ok().filter(|text| text.len() >= LARGE_TEXT)?;
    let mut head = vec![0x80, 5, 0x8d]; // PROTO 5, BINUNICODE8
    head.extend_from_slice(&(text.len() as u64).to_le_bytes());
    let text = Bytes::from_owner(BackedText(text));
    Some(vec![Bytes::from(head).into(), text.into(), Bytes::from_static(b".").into()])
}

/// A text's memory, which stays where it is.
pub(super) struct BackedText(pub(super) PyBackedStr);

impl AsRef<[u8]> for BackedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn dump_with(value: &Bound<'_, PyAny>, module: &str) -> PyResult<Vec<Bytes>> {
    let py = value.py();
    let module = py.import(module)?;
    let has_tensors = pickling::loaded(py, "torch")?.is_some();
    let buffers = PyList::empty(py);
    let options = PyDict::new(py);
    options.set_item("protocol", 5)?;
    options.set_item("buffer_callback", buffers.getattr("append")?)?;
    let dumps = || {
        if !has_tensors {
            return module.call_method("dumps", (value,), Some(&options));
        }
        py.import("runpod_flash._tensors")?.call_method("dumps", (value, &module), Some(&options))
    };
    let mut pickled = dumps()?;
    let mut segments = Vec::with_capacity(buffers.len() + 1);
    if buffers.len() > MAX_BUFFERS {
        options.del_item("buffer_callback")?;
        pickled = dumps()?;
        return Ok(vec![buffer::pin(&pickled)?]);
    }
    segments.push(buffer::pin(&pickled)?);
    for exported in buffers.iter() {
        segments.push(buffer::pin(&exported)?);
    }
    Ok(segments)
}

/// Whether an error says that pickle cannot take the value, not that the value's own code failed.
fn is_refusal(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let refusal = py.import("pickle")?.getattr("PicklingError")?;
    Ok(error.is_instance(py, &refusal)
        || error.is_instance_of::<pyo3::exceptions::PyAttributeError>(py)
        || error.is_instance_of::<pyo3::exceptions::PyTypeError>(py))
}
