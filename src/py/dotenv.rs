//! `.env` files at import, as 1.21 reads them.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::project::dotenv;

/// Returns the variables of the nearest `.env` from a folder upward, in the file's order.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the form in which a path comes from Python")]
pub(super) fn read_dotenv(folder: PathBuf) -> Vec<(String, String)> {
    dotenv::nearest(&folder).map(|file| dotenv::read(&file)).unwrap_or_default()
}
