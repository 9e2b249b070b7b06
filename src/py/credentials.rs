//! The API key, for Python code that sends requests of its own.

use pyo3::prelude::*;

use super::errors;
use crate::runpod::credentials::{self, ApiKey};
use crate::runpod::credentials_file::{CredentialsFile, migrate};
use crate::runpod::{ErrorKind, RunpodError};

/// Returns the API key: the environment's, else the credentials file's; `None` where there is none.
#[pyfunction]
pub(super) fn api_key() -> Option<String> {
    credentials::find_key().map(|key| key.reveal().to_owned())
}

/// Keeps a key in the credentials file; returns the file's path.
#[pyfunction]
pub(super) fn save_api_key(py: Python<'_>, key: &str) -> PyResult<String> {
    let save = || {
        let blank = || RunpodError::new(ErrorKind::Configuration, "a blank API key cannot be kept");
        let key = ApiKey::new(key).ok_or_else(blank)?;
        let mut file = CredentialsFile::open()?;
        file.save(&key)?;
        Ok(file.path().display().to_string())
    };
    py.detach(save).map_err(|error: RunpodError| errors::runpod(py, &error))
}

/// Takes over the key that older versions kept elsewhere, where there is no other; returns whether
/// it did.
#[pyfunction]
pub(super) fn migrate_api_key(py: Python<'_>) -> PyResult<bool> {
    let take_over = || migrate(&mut CredentialsFile::open()?);
    py.detach(take_over).map(|old| old.is_some()).map_err(|error| errors::runpod(py, &error))
}
