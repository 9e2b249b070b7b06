//! The only place where what went wrong below becomes a Python exception.
//!
//! The classes themselves are in `runpod_flash/errors.py`, because they inherit the standard
//! classes that people expect beside `FlashError`; they are imported when the first one is raised.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::endpoint::ConfigError;
use crate::endpoint::error::describe;
use crate::endpoint::target::TargetError;
use crate::runpod::{ErrorKind, RunpodError};
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

/// What Runpod did not do: one class for each kind of failure.
pub(super) fn runpod(py: Python<'_>, error: &RunpodError) -> PyErr {
    let exchange = &error.exchange;
    let class = match error.kind {
        ErrorKind::Configuration => {
            return raise(py, "ConfigurationError", &error.message, error.hint.as_deref());
        }
        // Runpod has not been asked: there is no key.
        ErrorKind::Authentication if exchange.status.is_none() => "RunpodAPIKeyError",
        ErrorKind::Authentication => "AuthenticationError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::JobNotFound => "JobNotFoundError",
        ErrorKind::RateLimited => "RateLimitError",
        ErrorKind::InvalidRequest => "InvalidRequestError",
        ErrorKind::PayloadTooLarge => "PayloadTooLargeError",
        ErrorKind::Unavailable => "ServiceUnavailableError",
        ErrorKind::Connection => "ConnectionFailedError",
        ErrorKind::DeadlineExceeded => "DeadlineExceededError",
        ErrorKind::Malformed => "MalformedAnswerError",
        ErrorKind::JobFailed => "JobFailedError",
        ErrorKind::JobTimedOut => "JobTimedOutError",
        ErrorKind::JobCancelled => "JobCancelledError",
        ErrorKind::Shipment => "ShipmentError",
        ErrorKind::Provisioning => "ProvisioningError",
    };
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let options = PyDict::new(py);
        options.set_item("hint", error.hint.as_deref())?;
        options.set_item("endpoint", exchange.endpoint.as_deref())?;
        options.set_item("job_id", exchange.job.as_deref())?;
        options.set_item("request_id", exchange.request_id.as_deref())?;
        options.set_item("request", exchange.request.as_deref())?;
        options.set_item("status_code", exchange.status)?;
        options.set_item("body", exchange.body.as_deref())?;
        options.set_item("last_status", exchange.last_status.as_deref())?;
        options.set_item("retry_after", exchange.retry_after.map(|wait| wait.as_secs_f64()))?;
        options.set_item("output", exchange.output.as_deref())?;
        options.set_item("error_type", exchange.error_type.as_deref())?;
        options.set_item("remote_traceback", exchange.traceback.as_deref())?;
        py.import("runpod_flash.errors")?.call_method("runpod", (class, &error.message), Some(&options))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}
