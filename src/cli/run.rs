//! `flash run`.

use super::{ExitStatus, Printer};
use crate::requirements::HostPython;

/// Arguments of `flash run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {}

/// Runs `flash run`.
pub(super) fn run(_arguments: &RunArgs, _host: &HostPython, printer: &Printer) -> ExitStatus {
    printer.error("not built yet");
    ExitStatus::Failure
}
