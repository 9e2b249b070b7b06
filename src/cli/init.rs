//! `flash init`.

use super::{ExitStatus, Printer};

/// Arguments of `flash init`.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {}

/// Runs `flash init`.
pub(super) fn init(_arguments: &InitArgs, printer: &Printer) -> ExitStatus {
    printer.error("not built yet");
    ExitStatus::Failure
}
