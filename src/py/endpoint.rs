//! The Rust half of `Endpoint`: arguments in, a checked configuration kept, settings out.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use super::errors;
use crate::catalog::{self, GpuChoice, ImageKind};
use crate::endpoint::value::{Arguments, Value};
use crate::endpoint::{EndpointConfig, EndpointKind, Hardware, normalize_name, parameters};

/// Base of the public `Endpoint` class; holds what the arguments mean.
///
/// `__new__` sees the arguments before the Python class binds them, so that an unknown keyword is
/// answered with the nearest right one while `inspect.signature` shows the real parameters.
#[pyclass(subclass, frozen, module = "runpod_flash._core")]
pub(super) struct EndpointBase {
    pub(super) config: EndpointConfig,
    arguments: Py<PyDict>,
}

#[pymethods]
impl EndpointBase {
    #[new]
    #[pyo3(signature = (*args, **kwargs))]
    fn new(py: Python<'_>, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let given = PyDict::new(py);
        if args.len() > 1 {
            return Err(PyTypeError::new_err(format!(
                "Endpoint() takes one positional argument (name), got {}; write the others as keywords",
                args.len()
            )));
        }
        if let Ok(name) = args.get_item(0) {
            given.set_item("name", name)?;
        }
        for (key, value) in kwargs.into_iter().flatten() {
            let key: String = key.extract()?;
            parameters::check_keyword(&key)
                .map_err(|error| PyTypeError::new_err(crate::endpoint::error::describe(&[error])))?;
            if given.contains(&key)? {
                return Err(PyTypeError::new_err("Endpoint() got multiple values for argument 'name'"));
            }
            given.set_item(key, value)?;
        }
        let arguments = arguments_of(&given)?;
        let config = EndpointConfig::from_arguments(&arguments)
            .map_err(|problems| errors::configuration(py, &problems))?;
        Ok(Self { config, arguments: given.unbind() })
    }

    /// The keyword arguments as given; a positional name among them.
    #[getter]
    fn _arguments(&self, py: Python<'_>) -> Py<PyDict> {
        self.arguments.clone_ref(py)
    }

    /// Whether it is a client (`id=` or `image=`), which decorates nothing.
    #[getter]
    fn is_client(&self) -> bool {
        self.config.is_client()
    }

    /// Whether it runs on CPUs.
    #[getter]
    fn is_cpu(&self) -> bool {
        self.config.is_cpu()
    }

    #[getter]
    fn _is_cpu(&self) -> bool {
        self.config.is_cpu()
    }

    /// Fewest workers.
    #[getter]
    fn workers_min(&self) -> u32 {
        self.config.workers.min
    }

    /// Most workers.
    #[getter]
    fn workers_max(&self) -> u32 {
        self.config.workers.max
    }

    #[getter]
    fn _workers_min(&self) -> u32 {
        self.config.workers.min
    }

    #[getter]
    fn _workers_max(&self) -> u32 {
        self.config.workers.max
    }

    #[getter]
    fn _max_concurrency(&self) -> u32 {
        self.config.max_concurrency
    }

    /// `(enum class, member name)` of each GPU; `None` for CPUs.
    fn _gpu_members(&self) -> Option<Vec<(&'static str, String)>> {
        let Hardware::Gpu { choices, .. } = &self.config.hardware else { return None };
        let pair = |choice: &GpuChoice| match choice {
            GpuChoice::Group(member) => ("GpuGroup", member.clone()),
            GpuChoice::Type(member) => ("GpuType", member.clone()),
        };
        Some(choices.iter().map(pair).collect())
    }

    /// Values of the CPU instances; `None` for GPUs.
    fn _cpu_values(&self) -> Option<Vec<String>> {
        match &self.config.hardware {
            Hardware::Cpu { instances } => Some(instances.clone()),
            Hardware::Gpu { .. } => None,
        }
    }

    /// Data center values in the order given; `None` when none were.
    fn _data_center_values(&self) -> Option<Vec<String>> {
        self.config.datacenters.clone()
    }

    /// The name as Runpod gets it, `live-` aside.
    fn _normalized_name(&self, name: &str) -> String {
        normalize_name(name, self.config.flashboot)
    }

    /// Refuses a name that cannot stand in a URL.
    fn _check_name(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        crate::endpoint::check_name(name, self.config.flashboot)
            .map_err(|problem| errors::configuration(py, &[problem]))
    }

    /// Checks a route's method and path; returns the method in capital letters.
    #[staticmethod]
    fn _check_route(py: Python<'_>, method: &str, path: &str) -> PyResult<&'static str> {
        crate::endpoint::route::check(method, path)
            .map(crate::endpoint::Method::as_str)
            .map_err(|problem| errors::configuration(py, &[problem]))
    }

    /// Fields of the resource that Runpod gets, spelled as its API spells them.
    fn _resource_fields<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        is_load_balanced: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let config = &self.config;
        let kind = if is_load_balanced { EndpointKind::LoadBalanced } else { EndpointKind::Queue };
        let image_kind = if is_load_balanced { ImageKind::LoadBalanced } else { ImageKind::Queue };
        let fields = PyDict::new(py);
        fields.set_item("name", normalize_name(name, config.flashboot))?;
        fields.set_item("workersMin", config.workers.min)?;
        fields.set_item("workersMax", config.workers.max)?;
        fields.set_item("idleTimeout", config.idle_timeout)?;
        fields.set_item("executionTimeoutMs", config.execution_timeout_ms)?;
        fields.set_item("flashboot", config.flashboot)?;
        fields.set_item("scalerType", config.scaler_type_for(kind))?;
        fields.set_item("scalerValue", config.scaler_value)?;
        fields.set_item("type", if is_load_balanced { "LB" } else { "QB" })?;
        let image = config.image.clone().unwrap_or_else(|| catalog::image_name(image_kind, config.is_cpu()));
        fields.set_item("imageName", image)?;
        let default_centers = || catalog::data_center::default_data_centers().collect::<Vec<_>>().join(",");
        match &config.hardware {
            Hardware::Gpu { choices, count, min_cuda_version } => {
                fields.set_item("gpuIds", catalog::gpu_ids(choices))?;
                fields.set_item("gpuCount", count)?;
                fields.set_item("minCudaVersion", min_cuda_version)?;
                let centers = config.datacenters.as_ref().map(|centers| centers.join(","));
                fields.set_item("locations", centers.unwrap_or_else(default_centers))?;
            }
            Hardware::Cpu { instances } => {
                fields.set_item("instanceIds", instances)?;
                fields.set_item("locations", config.datacenters.as_ref().map(|centers| centers.join(",")))?;
            }
        }
        let arguments = self.arguments.bind(py);
        fields.set_item("env", arguments.get_item("env")?)?;
        fields.set_item("template", arguments.get_item("template")?)?;
        Ok(fields)
    }
}

/// Reads keyword arguments into values.
pub(super) fn arguments_of(given: &Bound<'_, PyDict>) -> PyResult<Arguments> {
    given.iter().map(|(key, value)| Ok((key.extract()?, value_of(&value)?))).collect()
}

fn value_of(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if object.is_none() {
        return Ok(Value::None);
    }
    let class = object.get_type();
    let class_name = class.name()?.to_string();
    // By class name, as in 1.21: a module that was imported again has classes of its own.
    if catalog::enum_table(&class_name).is_some()
        && let Ok(member) = object.getattr("_name_")
    {
        return Ok(Value::Member { class: class_name, member: member.extract()? });
    }
    if let Ok(value) = object.cast::<PyBool>() {
        return Ok(Value::Bool(value.is_true()));
    }
    if let Ok(value) = object.cast::<PyInt>() {
        let other = || Value::Other { type_name: "int".to_owned() };
        return Ok(value.extract().map_or_else(|_| other(), Value::Int));
    }
    if let Ok(value) = object.cast::<PyFloat>() {
        return Ok(Value::Float(value.extract()?));
    }
    if let Ok(value) = object.cast::<PyString>() {
        return Ok(value.extract().map_or(Value::Other { type_name: "str".to_owned() }, Value::Str));
    }
    if let Ok(items) = object.cast::<PyList>() {
        return Ok(Value::List(items.iter().map(|item| value_of(&item)).collect::<PyResult<_>>()?));
    }
    if let Ok(items) = object.cast::<PyTuple>() {
        return Ok(Value::Tuple(items.iter().map(|item| value_of(&item)).collect::<PyResult<_>>()?));
    }
    if let Ok(entries) = object.cast::<PyDict>() {
        let entries = entries.iter().map(|(key, value)| Ok((value_of(&key)?, value_of(&value)?)));
        return Ok(Value::Dict(entries.collect::<PyResult<_>>()?));
    }
    if let Some(class) = model_class(&class)? {
        return Ok(Value::Object { class: class.to_owned(), fields: model_fields(object)? });
    }
    Ok(Value::Other { type_name: class_name })
}

/// Returns which of our models a class is, or is derived from.
fn model_class(class: &Bound<'_, PyType>) -> PyResult<Option<&'static str>> {
    for base in class.mro().iter() {
        let name = base.cast::<PyType>()?.name()?.to_string();
        if let Some(model) = ["NetworkVolume", "PodTemplate"].into_iter().find(|model| *model == name) {
            return Ok(Some(model));
        }
    }
    Ok(None)
}

fn model_fields(object: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Value)>> {
    let options = PyDict::new(object.py());
    options.set_item("mode", "json")?;
    options.set_item("exclude_unset", true)?;
    let dump = object.call_method("model_dump", (), Some(&options))?;
    arguments_of(dump.cast::<PyDict>()?)
}

/// Returns what names that mean one endpoint have in common.
#[pyfunction]
pub(super) fn bare_name(name: &str) -> &str {
    crate::endpoint::bare_name(name)
}
