//! Memory of Python that the socket is read into: a `bytearray` that the reader fills before
//! Python sees it.

use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;

/// A `bytearray` whose bytes the reader writes without the interpreter's lock.
pub(super) struct PythonMemory {
    object: Py<PyAny>,
    start: *mut u8,
    length: usize,
}

#[expect(unsafe_code, reason = "a raw pointer into memory that this value owns")]
// SAFETY: the pointer leads into the bytearray that `object` keeps alive; nobody else has a
// reference to it until `into_object`, so whichever thread owns this value is its only user.
unsafe impl Send for PythonMemory {}

impl PythonMemory {
    /// Makes an uninitialised `bytearray` of `length` bytes; `None` when memory is short.
    pub(super) fn new(py: Python<'_>, length: usize) -> Option<Self> {
        let size = ffi::Py_ssize_t::try_from(length).ok()?;
        #[expect(unsafe_code, reason = "a bytearray without a first pass that clears it")]
        // SAFETY: the interpreter is attached (`py`); a null source is documented to leave the
        // bytes uninitialised; they are only written before Python can see them. The pointer stays
        // valid as long as the object is not resized, and only this value can reach the object.
        unsafe {
            let raw = ffi::PyByteArray_FromStringAndSize(std::ptr::null(), size);
            if raw.is_null() {
                drop(PyErr::take(py));
                return None;
            }
            let object = Bound::from_owned_ptr(py, raw).unbind();
            let start = ffi::PyByteArray_AsString(raw).cast::<u8>();
            // Pages that nobody wrote are zero; small pieces may hold old bytes, which the reader
            // overwrites or, when the connection ends first, nobody reads.
            Some(Self { object, start, length })
        }
    }

    /// Gives the object to Python.
    pub(super) fn into_object(self) -> Py<PyAny> {
        self.object
    }
}

impl AsMut<[u8]> for PythonMemory {
    fn as_mut(&mut self) -> &mut [u8] {
        #[expect(unsafe_code, reason = "the bytes of a bytearray")]
        // SAFETY: `start` and `length` describe the bytearray's memory, alive and unshared (see
        // `Send`); `u8` has no invalid values, and the reader only writes.
        unsafe {
            slice::from_raw_parts_mut(self.start, self.length)
        }
    }
}
