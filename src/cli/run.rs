//! `flash run`.

use std::path::PathBuf;

use super::{ExitStatus, Printer};
use crate::dev::{self, Asked, DevError, DevOptions, Terminal};
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
    /// Run all functions on this machine.
    #[arg(long, conflicts_with = "remote")]
    local: bool,
    /// Run these endpoints on Runpod, or all of them; their workers cost money while they run.
    #[arg(long, value_name = "ENDPOINT", num_args = 0.., value_delimiter = ',')]
    remote: Option<Vec<String>>,
    /// Stop all workers on Runpod when this run has cost so many US dollars.
    #[arg(long, value_name = "USD", value_parser = parse_cost)]
    max_cost: Option<f64>,
    /// Remove live endpoints that a killed run left, without asking.
    #[arg(long)]
    clean: bool,
    /// Compare times of files instead of waiting for notifications.
    #[arg(long)]
    poll: bool,
}

fn parse_mode(text: &str) -> Result<DepsMode, UnknownMode> {
    text.parse()
}

fn parse_cost(text: &str) -> Result<f64, String> {
    let cost =
        text.trim_start_matches('$').parse::<f64>().ok().filter(|cost| cost.is_finite() && *cost > 0.0);
    cost.ok_or_else(|| "write a number of US dollars above 0, such as 0.50".to_owned())
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
        asked: match &arguments.remote {
            _ if arguments.local => Asked::Local,
            Some(names) => Asked::Remote(names.clone()),
            None => Asked::Nothing,
        },
        max_cost: arguments.max_cost,
        clean: arguments.clean,
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

    fn ask(&self, question: &str) -> Option<String> {
        Printer::ask(*self, question)
    }

    fn width(&self) -> Option<usize> {
        Printer::width(*self)
    }
}
