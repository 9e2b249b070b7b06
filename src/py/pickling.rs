//! In-band pickles without copies: what a pickler writes is collected, large memory stays in place.
//!
//! `CPython`'s pickler hands what has 64 KiB and more to its file as the object itself, so such a
//! write is pinned and not copied. What numpy would copy before (strided, mapped, masked, dated) is
//! reduced here to the same call, with a stand-in for the bytes that `write` knows again.

use std::collections::HashMap;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyTuple, PyType};

use super::buffer;
use super::strided::Order;
use crate::wire::payload::{Segment, Source};

/// From this many bytes on the pickler writes the object itself (`FRAME_SIZE_TARGET`).
const WRITTEN_ALONE: usize = 64 * 1024;
/// Arrays below this are reduced by numpy: a copy costs less than our way around it.
const SPARED_FROM: usize = 256 * 1024;

/// The file of a pickler.
#[pyclass(module = "runpod_flash._core")]
pub(super) struct Sink {
    done: Vec<Segment>,
    text: Vec<u8>,
    /// What goes in the place of stand-ins, by their address.
    stand_ins: HashMap<usize, (Py<PyAny>, Segment)>,
    numpy: Option<Numpy>,
}

#[pymethods]
impl Sink {
    fn write(&mut self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        if let Some((_, segment)) = self.stand_ins.remove(&(data.as_ptr() as usize)) {
            self.push(segment);
            return Ok(0);
        }
        if let Ok(bytes) = data.cast::<PyBytes>()
            && bytes.as_bytes().len() < WRITTEN_ALONE
        {
            self.text.extend_from_slice(bytes.as_bytes());
            return Ok(bytes.as_bytes().len());
        }
        let pinned = buffer::pin(data)?;
        let length = pinned.len();
        self.push(pinned.into());
        Ok(length)
    }

    /// Returns how to reduce what would be copied otherwise, `None` for all else.
    fn reduce<'py>(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if value.is_instance_of::<PyMemoryView>() {
            return self.memory_view(value);
        }
        if self.numpy.is_none() {
            self.numpy = Numpy::loaded(value.py())?;
        }
        let Some(numpy) = &self.numpy else { return Ok(None) };
        if !value.is_instance(numpy.array.bind(value.py()))? {
            return Ok(None);
        }
        self.array(value)
    }
}

impl Sink {
    pub(super) fn new() -> Self {
        Self { done: Vec::new(), text: Vec::new(), stand_ins: HashMap::new(), numpy: None }
    }

    /// Returns what was written; `None` where a stand-in was copied instead of written.
    pub(super) fn finish(&mut self) -> Option<Vec<Segment>> {
        self.flush();
        let is_whole = self.stand_ins.is_empty();
        self.stand_ins.clear();
        let done = std::mem::take(&mut self.done);
        is_whole.then_some(done)
    }

    fn push(&mut self, segment: Segment) {
        self.flush();
        self.done.push(segment);
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Bytes::from(std::mem::take(&mut self.text)).into());
        }
    }

    /// A view arrives as bytes, as cloudpickle sends it.
    fn memory_view<'py>(&mut self, view: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = view.py();
        if view.getattr("nbytes")?.extract::<usize>()? < WRITTEN_ALONE {
            return Ok(None);
        }
        let data = if view.getattr("c_contiguous")?.is_truthy()? {
            pickle_buffer(&view.call_method0("toreadonly")?)?
        } else {
            let Ok(gathered) = buffer::gather(view, Order::C) else { return Ok(None) };
            self.stand_in(py, source(gathered))?
        };
        (py.get_type::<PyBytes>(), (data,)).into_pyobject(py).map(Some)
    }

    fn array<'py>(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let py = array.py();
        let Some(numpy) = &self.numpy else { return Ok(None) };
        let dtype = array.getattr("dtype")?;
        if array.getattr("nbytes")?.extract::<usize>()? < SPARED_FROM
            || dtype.getattr("hasobject")?.is_truthy()?
        {
            return Ok(None);
        }
        let class = array.get_type();
        let is_numpys =
            |name: &str, of: &Py<PyAny>| -> PyResult<bool> { Ok(class.getattr(name)?.is(of.bind(py))) };
        if !is_numpys("__reduce_ex__", &numpy.reduce_ex)? {
            return Ok(None);
        }
        if is_numpys("__reduce__", &numpy.reduce)? {
            if class.is(numpy.array.bind(py)) && numpy.spares(array)? {
                return Ok(None);
            }
            let function = numpy.reconstruct.clone_ref(py);
            let Some(state) = self.state(array, &dtype)? else { return Ok(None) };
            let arguments = (class, (0,), PyBytes::new(py, b"b"));
            return (function, arguments, PyTuple::new(py, state)?).into_pyobject(py).map(Some);
        }
        let Some(masked) = Masked::loaded(py)? else { return Ok(None) };
        if !is_numpys("__reduce__", &masked.reduce)? || !is_numpys("__getstate__", &masked.state)? {
            return Ok(None);
        }
        let Some(mut state) = self.state(array, &dtype)? else { return Ok(None) };
        let Some(mask) = self.mask(array, &dtype)? else { return Ok(None) };
        state.extend([mask, array.getattr("_fill_value")?]);
        let arguments = (class, array.getattr("_baseclass")?, (0,), "b");
        (masked.reconstruct, arguments, PyTuple::new(py, state)?).into_pyobject(py).map(Some)
    }

    /// What an array's `__setstate__` takes, without a copy of its data.
    fn state<'py>(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
        let py = array.py();
        let is_fortran = array.getattr("flags")?.getattr("fnc")?;
        let order = if is_fortran.is_truthy()? { Order::Fortran } else { Order::C };
        let Some(segment) = segment(array, order)? else { return Ok(None) };
        let Some(numpy) = &self.numpy else { return Ok(None) };
        let version = numpy.version.clone_ref(py).into_bound(py);
        let data = self.stand_in(py, segment)?;
        Ok(Some(vec![version, array.getattr("shape")?, dtype.clone(), is_fortran, data]))
    }

    /// A masked array's mask as bytes, in the order of its data.
    fn mask<'py>(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = array.py();
        let order =
            if array.getattr("flags")?.getattr("fnc")?.is_truthy()? { Order::Fortran } else { Order::C };
        let core = py.import("numpy.ma")?;
        let mask = array.getattr("_mask")?;
        let segment = if mask.is(&core.getattr("nomask")?) {
            let item =
                core.call_method1("make_mask_descr", (dtype,))?.getattr("itemsize")?.extract::<u64>()?;
            Segment::Source(std::sync::Arc::new(Zeros(array.getattr("size")?.extract::<u64>()? * item)))
        } else {
            let Some(segment) = segment(&mask, order)? else { return Ok(None) };
            segment
        };
        self.stand_in(py, segment).map(Some)
    }

    /// Returns what the pickler takes for the segment's bytes.
    fn stand_in<'py>(&mut self, py: Python<'py>, segment: Segment) -> PyResult<Bound<'py, PyAny>> {
        let length = usize::try_from(segment.len())?;
        if length < WRITTEN_ALONE {
            // The pickler would copy the stand-in's own bytes.
            let mut bytes = vec![0; length];
            match &segment {
                Segment::Bytes(memory) => bytes.copy_from_slice(memory),
                Segment::Source(source) => source.read_at(0, &mut bytes),
            }
            return Ok(PyBytes::new(py, &bytes).into_any());
        }
        // Pages that nobody touches are never there.
        let module = py.import("mmap")?;
        let options = PyDict::new(py);
        options.set_item(
            "flags",
            module.getattr("MAP_PRIVATE")?.extract::<i32>()?
                | module.getattr("MAP_ANON")?.extract::<i32>()?,
        )?;
        options.set_item("prot", module.getattr("PROT_READ")?)?;
        let memory = module.getattr("mmap")?.call((-1, length), Some(&options))?;
        let stand_in = pickle_buffer(&memory)?;
        self.stand_ins.insert(stand_in.as_ptr() as usize, (stand_in.clone().unbind(), segment));
        Ok(stand_in)
    }
}

/// What is needed of numpy, where the program has loaded it.
struct Numpy {
    array: Py<PyType>,
    reduce: Py<PyAny>,
    reduce_ex: Py<PyAny>,
    reconstruct: Py<PyAny>,
    /// First entry of an array's state.
    version: Py<PyAny>,
    /// Whether numpy spares a copy for permuted axes too (2.3 and later).
    spares_permuted: bool,
}

impl Numpy {
    fn loaded(py: Python<'_>) -> PyResult<Option<Self>> {
        let Some(module) = loaded(py, "numpy")? else { return Ok(None) };
        // A module that is being imported has not all names yet.
        let (Ok(array), Ok(empty)) = (module.getattr("ndarray"), module.getattr("empty")) else {
            return Ok(None);
        };
        let sample = empty.call1((0,))?;
        let reduced = sample.call_method0("__reduce__")?;
        let by_buffer = sample.call_method1("__reduce_ex__", (5,))?.get_item(0)?;
        let arguments =
            by_buffer.getattr("__code__").and_then(|code| code.getattr("co_argcount")?.extract::<u32>());
        Ok(Some(Self {
            reduce: array.getattr("__reduce__")?.unbind(),
            reduce_ex: array.getattr("__reduce_ex__")?.unbind(),
            array: array.cast_into::<PyType>()?.unbind(),
            reconstruct: reduced.get_item(0)?.unbind(),
            version: reduced.get_item(2)?.get_item(0)?.unbind(),
            spares_permuted: arguments.is_ok_and(|count| count > 4),
        }))
    }

    /// Whether numpy itself gives a plain array's memory to the pickler.
    fn spares(&self, array: &Bound<'_, PyAny>) -> PyResult<bool> {
        let flags = array.getattr("flags")?;
        if !flags.getattr("contiguous")?.is_truthy()? && !flags.getattr("f_contiguous")?.is_truthy()? {
            return Ok(self.spares_permuted && is_permuted(array)? && pickle_buffer(array).is_ok());
        }
        // Dates have no format in the buffer protocol.
        Ok(pickle_buffer(array).is_ok())
    }
}

/// What is needed of `numpy.ma`.
struct Masked<'py> {
    reduce: Py<PyAny>,
    state: Py<PyAny>,
    reconstruct: Bound<'py, PyAny>,
}

impl<'py> Masked<'py> {
    fn loaded(py: Python<'py>) -> PyResult<Option<Self>> {
        let Some(module) = loaded(py, "numpy.ma.core")? else { return Ok(None) };
        let class = module.getattr("MaskedArray")?;
        Ok(Some(Self {
            reduce: class.getattr("__reduce__")?.unbind(),
            state: class.getattr("__getstate__")?.unbind(),
            reconstruct: module.getattr("_mareconstruct")?,
        }))
    }
}

/// Nothing but zeros: the mask of an array that has none.
struct Zeros(u64);

impl Source for Zeros {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _offset: u64, into: &mut [u8]) {
        into.fill(0);
    }
}

/// An array's bytes in this order; `None` where it does not show its memory.
fn segment(array: &Bound<'_, PyAny>, order: Order) -> PyResult<Option<Segment>> {
    let name = if order == Order::C { "c_contiguous" } else { "f_contiguous" };
    if array.getattr("flags")?.getattr(name)?.is_truthy()? {
        return Ok(buffer::pin(array).ok().map(Segment::Bytes));
    }
    Ok(buffer::gather(array, order).ok().map(source))
}

fn source(gathered: buffer::Gathered) -> Segment {
    Segment::Source(std::sync::Arc::new(gathered))
}

/// Whether an array's items lie in a row when its axes are sorted.
fn is_permuted(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let shape = array.getattr("shape")?.extract::<Vec<isize>>()?;
    let strides = array.getattr("strides")?.extract::<Vec<isize>>()?;
    let mut axes: Vec<_> = strides.into_iter().zip(shape).filter(|(_, length)| *length != 1).collect();
    axes.sort_unstable();
    let mut expected = array.getattr("itemsize")?.extract::<isize>()?;
    Ok(axes.into_iter().all(|(stride, length)| {
        let fits = stride == expected;
        expected = stride.wrapping_mul(length);
        fits
    }))
}

/// Returns a module that the program has loaded.
pub(super) fn loaded<'py>(py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind())
    })?;
    Ok(modules.bind(py).get_item(name)?.filter(|module| !module.is_none()))
}

fn pickle_buffer<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(object.py(), "pickle", "PickleBuffer")?.call1((object,))
}
