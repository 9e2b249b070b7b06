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
use pyo3::types::{PyByteArray, PyBytes};

use super::runtime;
use super::strided::{Order, Plan};
use crate::wire::payload::Source;

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

/// Flags for a view whose bytes lie in a row, in whatever order of its axes.
const ANY_CONTIGUOUS: c_int = 0x80 | STRIDES;
/// Flags for a view with its shape and strides.
const STRIDES: c_int = 0x10 | 0x08;
/// Flags for a flat view that can be written to.
const WRITABLE: c_int = 0x01;
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
            let mut released = RELEASED.lock().unwrap_or_else(PoisonError::into_inner);
            released.push(Waiting(view));
            let is_first = released.len() == 1;
            drop(released);
            if let (true, Some(context)) = (is_first, runtime::existing()) {
                context.deliver(|_py| {}); // Which is followed by `release_waiting`.
            }
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

/// Length up to which `bytes` are copied: less work than to give an export back, for which a thread
/// must wait for the interpreter.
const COPIED: usize = 16 << 10;

/// Returns an object's memory as bytes, without a copy of what is large; the object stays exported
/// until they are dropped. What has axes gives its bytes in the order of its memory.
///
/// # Errors
/// Where the object offers no view whose bytes lie in a row.
pub(super) fn pin(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = object.cast_exact::<PyBytes>()
        && bytes.as_bytes().len() <= COPIED
    {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    Ok(Bytes::from_owner(Pinned(export(object, ANY_CONTIGUOUS)?)))
}

fn export(object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Box<RawView>> {
    let mut view = Box::new(MaybeUninit::<RawView>::zeroed());
    #[expect(unsafe_code, reason = "asks for the export")]
    // SAFETY: the object is alive and the thread attached; on success the view is filled. It stays
    // in its box, as some exporters point into it.
    unsafe {
        if PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(view.assume_init())
    }
}

/// An export of memory that does not lie in a row, read in the order of its axes.
pub(super) struct Gathered {
    pinned: Pinned,
    plan: Plan,
}

/// Returns a view's bytes, gathered while they are read; the object stays exported until it is
/// dropped.
///
/// # Errors
/// Where the object offers no view with strides.
pub(super) fn gather(object: &Bound<'_, PyAny>, order: Order) -> PyResult<Gathered> {
    let pinned = Pinned(export(object, STRIDES)?);
    let view = &pinned.0;
    let axes = usize::try_from(view.ndim)?;
    let mut shape = Vec::with_capacity(axes);
    for axis in 0..axes {
        #[expect(unsafe_code, reason = "reads the exported shape and strides")]
        // SAFETY: the export was asked for with strides, so both have `ndim` entries while it lives.
        let (length, stride) = unsafe { (*view.shape.add(axis), *view.strides.add(axis)) };
        shape.push((usize::try_from(length)?, stride));
    }
    let plan = Plan::new(&shape, usize::try_from(view.itemsize)?, order);
    Ok(Gathered { pinned, plan })
}

impl Source for Gathered {
    fn len(&self) -> u64 {
        self.plan.len()
    }

    fn read_at(&self, offset: u64, mut into: &mut [u8]) {
        let start = self.pinned.0.buf.cast::<u8>().cast_const();
        self.plan.runs(offset, into.len(), |run| {
            let (now, rest) = std::mem::take(&mut into).split_at_mut(run.count * run.length);
            into = rest;
            #[expect(unsafe_code, reason = "reads the exported memory")]
            // SAFETY: the export is alive, and the plan, made of its shape and strides, gives only
            // places of its items; `now` is as long as the runs are together. Python code may write
            // meanwhile, see `Pinned`.
            unsafe {
                let mut from = start.offset(run.place);
                let mut to = now.as_mut_ptr();
                macro_rules! items {
                    ($kind:ty) => {
                        for _ in 0..run.count {
                            to.cast::<$kind>().write_unaligned(from.cast::<$kind>().read_unaligned());
                            (from, to) = (from.wrapping_offset(run.stride), to.wrapping_add(run.length));
                        }
                    };
                }
                match run.length {
                    1 => items!(u8),
                    2 => items!(u16),
                    4 => items!(u32),
                    8 => items!(u64),
                    16 => items!(u128),
                    length => {
                        for _ in 0..run.count {
                            std::ptr::copy_nonoverlapping(from, to, length);
                            (from, to) = (from.wrapping_offset(run.stride), to.wrapping_add(length));
                        }
                    }
                }
            }
        });
    }
}

/// Lets `fill` write into an object's memory without the interpreter.
///
/// For memory that nobody else has yet: what an unpickler asks to be filled.
///
/// # Errors
/// Where the object offers no flat view that can be written to.
pub(super) fn fill<R: Send>(
    object: &Bound<'_, PyAny>,
    fill: impl FnOnce(&mut [u8]) -> R + Send,
) -> PyResult<R> {
    let mut view = export(object, WRITABLE)?;
    let (start, length) = (view.buf as usize, usize::try_from(view.len).unwrap_or(0));
    let filled = object.py().detach(|| {
        if length == 0 {
            return fill(&mut []);
        }
        #[expect(unsafe_code, reason = "writes to the exported memory")]
        // SAFETY: the export lives until it is released below, and was given as writable; the caller
        // promises that nobody else reads or writes it meanwhile.
        let memory = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
        fill(memory)
    });
    #[expect(unsafe_code, reason = "gives the export back")]
    // SAFETY: filled by `export`, released once, with the thread attached.
    unsafe {
        PyBuffer_Release(&raw mut *view);
    }
    Ok(filled)
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
