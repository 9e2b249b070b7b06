//! The only place where what went wrong below becomes a Python exception.
//!
//! The classes themselves are in `runpod_flash/errors.py`, because they inherit the standard
//! classes that people expect beside `FlashError`; they are imported when the first one is raised.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::endpoint::ConfigError;
use crate::endpoint::error::describe;
use crate::endpoint::target::TargetError;
use crate::wire::message::{ErrorReport, Failure};

/// Returns an exception of a class in `runpod_flash.errors`; the import's own failure otherwise.
fn raise(py: Python<'_>, class: &str, message: &str, hint: Option<&str>) -> PyErr {
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let options = PyDict::new(py);
        options.set_item("hint", hint)?;
        py.import("runpod_flash.errors")?.getattr(class)?.call((message,), Some(&options))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// A constructor's problems, all of them in one `ValueError`.
pub(super) fn configuration(py: Python<'_>, problems: &[ConfigError]) -> PyErr {
    match problems {
        [single] => raise(py, "ConfigurationError", &single.message, single.hint.as_deref()),
        several => raise(py, "ConfigurationError", &describe(several), None),
    }
}

/// A target that cannot be followed.
pub(super) fn target(py: Python<'_>, error: &TargetError) -> PyErr {
    raise(py, "TargetError", &error.to_string(), Some(error.hint()))
}

/// A failed call: the class says what failed, `raise … from` has the remote exception where it can
/// be unpickled here.
pub(super) fn report(py: Python<'_>, endpoint: &str, report: &ErrorReport) -> PyErr {
    let class = match report.failure {
        Failure::Raised => "RemoteExecutionError",
        Failure::InvalidInput => "InvalidInputError",
        Failure::Unencodable => "ResultEncodingError",
        Failure::Load => "WorkerLoadError",
        Failure::Environment => "EnvironmentSetupError",
        Failure::WorkerDied => "WorkerDiedError",
        Failure::TimedOut => "ExecutionTimeoutError",
        Failure::Cancelled => "CallCancelledError",
        Failure::NotFound => "EndpointNotFoundError",
        Failure::Cycle => "CallCycleError",
        Failure::StorageFull | Failure::Internal => "InternalError",
    };
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let options = PyDict::new(py);
        options.set_item("hint", report.hint.as_deref())?;
        options.set_item("endpoint", endpoint)?;
        options.set_item("error_type", &report.error_type)?;
        options.set_item("remote_traceback", &report.traceback)?;
        options.set_item("exception", report.exception.as_ref().map(|bytes| bytes.as_slice()))?;
        options.set_item("detail", report.detail.as_ref().map(ToString::to_string))?;
        py.import("runpod_flash.errors")?.call_method("remote", (class, &report.message), Some(&options))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}
