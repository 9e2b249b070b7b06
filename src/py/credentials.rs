//! The API key, for Python code that sends requests of its own.

use pyo3::prelude::*;

use crate::runpod::credentials;

/// Returns the API key: the environment's, else the credentials file's; `None` where there is none.
#[pyfunction]
pub(super) fn api_key() -> Option<String> {
    credentials::find_key().map(|key| key.reveal().to_owned())
}
