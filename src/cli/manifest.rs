//! `flash manifest`.

use super::{ExitStatus, Printer};
use crate::requirements::HostPython;

/// Arguments of `flash manifest`.
#[derive(Debug, clap::Args)]
pub(super) struct ManifestArgs {}

/// Runs `flash manifest`.
pub(super) fn manifest(_arguments: &ManifestArgs, _host: &HostPython, printer: &Printer) -> ExitStatus {
    printer.error("not built yet");
    ExitStatus::Failure
}
