//! Values as the base64 text that Runpod's protocols carry, for workers of live endpoints.

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;

use super::{buffer, payload, unpickle};
use crate::wire::payload::{Part, Payload};

/// Returns a value as cloudpickle's pickle in base64.
#[pyfunction]
pub(super) fn dump_text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let py = value.py();
    let body = Payload::new(vec![Part::Base64(payload::pickle_in_band(value)?)], Vec::new());
    let text = py.detach(|| body.to_vec());
    drop(body);
    buffer::release_waiting(py);
    PyString::from_bytes(py, &text)
}

/// Returns the value of a pickle in base64.
///
/// # Errors
/// `ValueError` where the text is not base64, or not whole; what unpickling raises.
#[pyfunction]
pub(super) fn load_text(py: Python<'_>, text: PyBackedStr) -> PyResult<Bound<'_, PyAny>> {
    let malformed = |why: &str| PyValueError::new_err(why.to_owned());
    let raised = |error: &PyErr| error.clone_ref(py);
    unpickle::load_base64(py, Bytes::from_owner(payload::BackedText(text)), &malformed, &raised)
}
