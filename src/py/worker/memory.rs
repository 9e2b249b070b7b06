//! Memory shared between the socket's threads and Python, in both directions.
//!
//! Incoming: a `bytearray` that the reader fills before Python sees it. Outgoing: any object with
//! the buffer protocol, held in place until it is written.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::slice;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::worker::Segment;

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

/// `Py_buffer`, whose layout has been the same since Python 3.0 and is documented since 3.11; the
/// limited API of 3.10 does not declare it.
#[repr(C)]
struct View {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: ffi::Py_ssize_t,
    itemsize: ffi::Py_ssize_t,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut ffi::Py_ssize_t,
    strides: *mut ffi::Py_ssize_t,
    suboffsets: *mut ffi::Py_ssize_t,
    internal: *mut c_void,
}

/// `PyBUF_SIMPLE`: one contiguous piece of bytes.
const SIMPLE: c_int = 0;

#[expect(unsafe_code, reason = "exported by every interpreter since 3.0")]
// SAFETY: signatures as in CPython's `abstract.h`.
unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut View, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut View);
}

/// An object's bytes, held in place.
pub(super) struct Pinned {
    view: Box<View>,
}

#[expect(unsafe_code, reason = "a view that any thread may read and release")]
// SAFETY: the exporter keeps the memory in place while the view is held; this value only reads it,
// and releases it with the interpreter attached. User code that writes into an object it has
// already returned may send either value: that is its race, not a memory error.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Holds `object`'s bytes in place.
    pub(super) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut view = Box::new(MaybeUninit::<View>::zeroed());
        #[expect(unsafe_code, reason = "the buffer protocol")]
        // SAFETY: the interpreter is attached (`object` is bound); the view is written by the call
        // and used only when it succeeded. It is boxed, as exporters may point into it.
        unsafe {
            if PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), SIMPLE) != 0 {
                return Err(PyErr::take(object.py())
                    .unwrap_or_else(|| PyMemoryError::new_err("the object gives no buffer")));
            }
            Ok(Self { view: view.assume_init() })
        }
    }
}

impl Segment for Pinned {
    fn bytes(&self) -> &[u8] {
        let length = usize::try_from(self.view.len).unwrap_or_default();
        if self.view.buf.is_null() || length == 0 {
            return &[];
        }
        #[expect(unsafe_code, reason = "the bytes of a held view")]
        // SAFETY: the exporter keeps `buf` valid for `len` bytes until the view is released.
        unsafe {
            slice::from_raw_parts(self.view.buf.cast::<u8>(), length)
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let view: *mut View = &raw mut *self.view;
        // Once the interpreter is gone, its memory goes with the process.
        let _ = Python::try_attach(|_| {
            #[expect(unsafe_code, reason = "the buffer protocol")]
            // SAFETY: the interpreter is attached, and the view is released exactly once.
            unsafe {
                PyBuffer_Release(view);
            }
        });
    }
}
