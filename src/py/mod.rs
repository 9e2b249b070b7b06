//! Python objects: classes, conversions, exceptions, awaitables.
//!
//! The only room that names `pyo3`. A function here extracts, releases the GIL, calls one function
//! below, and converts. Holds no business logic.

mod call;
mod cli;
mod worker;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::cli::cli_main;
    #[pymodule_export]
    use super::worker::WorkerLink;
}
