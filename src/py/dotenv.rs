//! `.env` files, as 1.21 reads them at import.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;

/// Returns the variables of the nearest `.env` from a folder upward, in the file's order.
///
/// A line that cannot be read is left out: a stray line in someone's `.env` must not stop an import.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the form in which a path comes from Python")]
pub(super) fn read_dotenv(folder: PathBuf) -> Vec<(String, String)> {
    let Some(file) = folder.ancestors().map(|parent| parent.join(".env")).find(|file| file.is_file()) else {
        return Vec::new();
    };
    parse(&file)
}

fn parse(file: &Path) -> Vec<(String, String)> {
    match dotenvy::from_path_iter(file) {
        Ok(entries) => entries.flatten().collect(),
        Err(_) => Vec::new(),
    }
}
