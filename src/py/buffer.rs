//! Views of Python memory without a copy, and Python memory for what comes back.
//!
//! The buffer protocol is declared by hand: it entered the stable ABI with 3.11, and this module is
//! built for 3.10; its layout has not changed since 3.0.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

#[repr(C)]
struct RawView {
    buf: *mut c_void,
    obj: *mut PyObject,
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

#[expect(unsafe_code, reason = "the two functions of the buffer protocol")]
unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut PyObject, view: *mut RawView, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawView);
}

/// Flags for a flat view that may be read-only.
const SIMPLE: c_int = 0;
/// Below this many bytes a copy is cheaper than giving up the interpreter for it.
const DETACH_ABOVE: usize = 1 << 20;

/// An export of an object's memory.
///
/// While it lives, the object can be neither freed nor resized. It can be written to: a caller
/// that changes an argument before its call is answered may send a mixture.
struct Pinned(Box<RawView>);

#[expect(unsafe_code, reason = "the exporter keeps the memory in place until the release")]
// SAFETY: the pointer is to memory that the export keeps alive; it is read from any thread and
// released only by a thread that is attached to the interpreter.
unsafe impl Send for Pinned {}
#[expect(unsafe_code, reason = "only read through shared references")]
// SAFETY: as above; no method writes.
unsafe impl Sync for Pinned {}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        let len = usize::try_from(self.0.len).unwrap_or(0);
        if len == 0 || self.0.buf.is_null() {
            return &[];
        }
        #[expect(unsafe_code, reason = "reads the exported memory")]
        // SAFETY: the export is alive, so `buf` is valid for `len` bytes. Python code may write to
        // it meanwhile; that is the caller's contract, see `Pinned`.
        unsafe {
            std::slice::from_raw_parts(self.0.buf.cast::<u8>(), len)
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The last reference may go on a thread that has nothing to do with Python: the view waits
        // for one that has.
        let view = std::mem::replace(
            &mut self.0,
            Box::new(RawView {
                buf: std::ptr::null_mut(),
                obj: std::ptr::null_mut(),
                len: 0,
                itemsize: 0,
                readonly: 0,
                ndim: 0,
                format: std::ptr::null_mut(),
                shape: std::ptr::null_mut(),
                strides: std::ptr::null_mut(),
                suboffsets: std::ptr::null_mut(),
                internal: std::ptr::null_mut(),
            }),
        );
        if !view.obj.is_null() {
            RELEASED.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting(view));
        }
    }
}

struct Waiting(Box<RawView>);

#[expect(unsafe_code, reason = "handed to an attached thread and not used otherwise")]
// SAFETY: nothing reads through it; it is only passed to `PyBuffer_Release`.
unsafe impl Send for Waiting {}

static RELEASED: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

/// Releases the exports that other threads are done with.
pub(super) fn release_waiting(_py: Python<'_>) {
    let waiting = std::mem::take(&mut *RELEASED.lock().unwrap_or_else(PoisonError::into_inner));
    for mut view in waiting {
        #[expect(unsafe_code, reason = "gives the export back")]
        // SAFETY: the view was filled by `PyObject_GetBuffer` and is released once; the thread is
        // attached, as `_py` proves.
        unsafe {
            PyBuffer_Release(&raw mut *view.0);
        }
    }
}

/// Returns an object's memory as bytes, without a copy; the object stays exported until they are
/// dropped.
///
/// # Errors
/// Where the object offers no flat, contiguous view.
pub(super) fn pin(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let mut view = Box::new(MaybeUninit::<RawView>::zeroed());
    #[expect(unsafe_code, reason = "asks for the export")]
    // SAFETY: the object is alive and the thread attached; on success the view is filled.
    let view = unsafe {
        if PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), SIMPLE) != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        view.assume_init()
    };
    Ok(Bytes::from_owner(Pinned(view)))
}

/// Returns writable Python memory with a copy of these bytes; arrays that are unpickled over it can
/// be written to.
pub(super) fn writable<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
    if bytes.len() < DETACH_ABOVE {
        return Ok(PyByteArray::new(py, bytes));
    }
    let len = ffi::Py_ssize_t::try_from(bytes.len())?;
    #[expect(unsafe_code, reason = "the memory is filled without the interpreter")]
    // SAFETY: the new object is referenced from here alone, so nobody reads, resizes or frees it
    // while it is filled; its memory has `len` bytes (plus the terminator that Python keeps).
    unsafe {
        let object =
            Bound::from_owned_ptr_or_err(py, ffi::PyByteArray_FromStringAndSize(std::ptr::null(), len))?;
        let start = ffi::PyByteArray_AsString(object.as_ptr()) as usize;
        py.detach(|| {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, bytes.len());
        });
        Ok(object.cast_into_unchecked())
    }
}
