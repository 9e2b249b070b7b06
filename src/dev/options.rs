//! What can be set about a run.

use std::path::PathBuf;

use super::targets::Asked;
use crate::requirements::mode::DepsMode;

/// Options of [`super::serve`].
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct DevOptions {
    /// Host name or address to listen on.
    pub host: String,
    /// First port to try; 0 takes any.
    pub port: u16,
    /// Whether changes of files are followed.
    pub reload: bool,
    /// Whether files are compared instead of waiting for notifications.
    pub poll: bool,
    /// Whether every endpoint gets a worker at once (`--auto-provision`).
    pub start_workers: bool,
    /// Where packages come from.
    pub deps: DepsMode,
    /// Host names accepted besides loopback names and IP literals.
    pub allowed_hosts: Vec<String>,
    /// Token for servers that are not on loopback; one is made where it is missing.
    pub token: Option<String>,
    /// Folder that jobs are kept in; in memory when `None`: they go with the run.
    pub state: Option<PathBuf>,
    /// `FLASH_TARGET`.
    pub target: Option<String>,
    /// Which endpoints run on Runpod, as far as the command line says it.
    pub asked: Asked,
    /// What workers on Runpod may cost in this run, in US dollars.
    pub max_cost: Option<f64>,
    /// Whether endpoints that a killed run left are removed without asking.
    pub clean: bool,
}
