//! `flash run`.

use std::path::PathBuf;

use super::{ExitStatus, Printer};
use crate::dev::{self, DevError, DevOptions, Terminal};
use crate::requirements::HostPython;
use crate::requirements::mode::{DepsMode, UnknownMode};

/// Arguments of `flash run`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct RunArgs {
    /// Host or address to listen on; anything but loopback asks callers for a token.
    #[arg(long, env = "FLASH_HOST", default_value = "localhost", hide_env_values = true)]
    host: String,
    /// Port; the next free one is taken when it is in use.
    #[arg(long, short, env = "FLASH_PORT", default_value_t = 8888, hide_env_values = true)]
    port: u16,
    /// Follow changes of the project's files (the default).
    #[arg(long, overrides_with = "no_reload")]
    reload: bool,
    /// Serve the project as it is now.
    #[arg(long)]
    no_reload: bool,
    /// Start workers now instead of at the first call.
    #[arg(long)]
    auto_provision: bool,
    /// Where packages come from: auto, isolated, host or none.
    #[arg(
        long,
        env = "FLASH_DEPS",
        default_value = "auto",
        value_name = "MODE",
        hide_env_values = true,
        value_parser = parse_mode
    )]
    deps: DepsMode,
    /// Accept requests that name this host; may be given several times.
    #[arg(
        long,
        env = "FLASH_ALLOW_HOSTS",
        value_name = "NAME",
        value_delimiter = ',',
        hide_env_values = true
    )]
    allow_host: Vec<String>,
    /// Keep jobs in this folder; without it they go with the run.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Compare times of files instead of waiting for notifications.
    #[arg(long)]
    poll: bool,
}

fn parse_mode(text: &str) -> Result<DepsMode, UnknownMode> {
    text.parse()
}

/// Runs `flash run`.
pub(super) fn run(arguments: &RunArgs, host: &HostPython, printer: Printer) -> ExitStatus {
    let options = DevOptions {
        host: arguments.host.clone(),
        port: arguments.port,
        reload: !arguments.no_reload,
        poll: arguments.poll,
        start_workers: arguments.auto_provision,
        deps: arguments.deps,
        allowed_hosts: arguments.allow_host.clone(),
        token: std::env::var("FLASH_TOKEN").ok(),
        state: arguments.state.clone(),
        target: std::env::var("FLASH_TARGET").ok(),
    };
    match dev::serve(options, host.clone(), Box::new(printer)) {
        Ok(()) => ExitStatus::Success,
        Err(DevError::NoEndpoints) => ExitStatus::Failure,
        Err(error) => {
            printer.failure(&error, error.hint().as_deref());
            ExitStatus::Failure
        }
    }
}

impl Terminal for Printer {
    fn line(&self, text: &str) {
        self.message(text);
    }

    fn has_color(&self) -> bool {
        Self::has_color(*self)
    }
}
