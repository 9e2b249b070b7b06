//! `flash platform`.

use std::path::PathBuf;

use super::platform_env::{EnvArgs, env};
use super::run_worker::{RunWorkerArgs, run_worker};
use super::{ExitStatus, Printer};
use crate::dev::Teller;
use crate::platform::standalone::{self, Ready, StandaloneOptions};
use crate::requirements::HostPython;
use crate::requirements::mode::{DepsMode, UnknownMode};

/// Arguments of `flash platform`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct PlatformArgs {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Have a running platform run a command as an endpoint's workers.
    RunWorker(RunWorkerArgs),
    /// Print the variables that point official clients at a running platform.
    Env(EnvArgs),
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Host or address to listen on.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Port; the next free one is taken when it is in use, any when it is 0.
    #[arg(long, short, default_value_t = 8890)]
    port: u16,
    /// Keep jobs and endpoints in this folder; without it they go with the process.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Token that callers send; made when it is not given.
    #[arg(long, env = "FLASH_PLATFORM_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Serve the endpoints of the app in this folder.
    #[arg(long, value_name = "DIR")]
    app: Option<PathBuf>,
    /// Where packages of the app's endpoints come from: auto, isolated, host or none.
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
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// Let clients ask as often as they like, not only as often as on Runpod.
    #[arg(long)]
    no_rate_limits: bool,
    /// Most workers at once, of all endpoints; cores and memory decide when it is not given.
    #[arg(long, value_name = "N")]
    max_workers: Option<usize>,
    /// Print one line of JSON on stdout when it is ready.
    #[arg(long)]
    json: bool,
    /// Stop when standard input ends.
    #[arg(long, hide = true)]
    follow_stdin: bool,
}

fn parse_mode(text: &str) -> Result<DepsMode, UnknownMode> {
    text.parse()
}

/// Runs `flash platform`.
pub(super) fn platform<E>(
    arguments: PlatformArgs,
    host: impl FnOnce() -> Result<HostPython, E>,
    printer: Printer,
) -> Result<ExitStatus, E> {
    Ok(match arguments.command {
        None => serve(arguments.serve, host()?, printer),
        Some(Command::RunWorker(arguments)) => run_worker(arguments, printer),
        Some(Command::Env(arguments)) => env(arguments, printer),
    })
}

fn serve(arguments: ServeArgs, host: HostPython, printer: Printer) -> ExitStatus {
    let options = StandaloneOptions {
        host: arguments.host,
        port: arguments.port,
        state: arguments.state,
        token: arguments.token,
        app: arguments.app,
        deps: arguments.deps,
        allowed_hosts: arguments.allow_host,
        limits_rates: !arguments.no_rate_limits,
        max_workers: arguments.max_workers,
        follows_stdin: arguments.follow_stdin,
    };
    let teller = Teller::on(Box::new(printer));
    let tell = |ready: &Ready| tell(ready, arguments.json, printer);
    match standalone::serve(options, host, teller.clone(), teller, tell) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            printer.failure(&error, error.hint().as_deref());
            ExitStatus::Failure
        }
    }
}

fn tell(ready: &Ready, json: bool, printer: Printer) {
    if json {
        printer.data(&serde_json::to_string(ready).unwrap_or_default());
        return;
    }
    printer.message(&format!("Runpod on this machine: {}", ready.url));
    printer.message(&format!("  jobs      {}/ENDPOINT/run", ready.api));
    printer.message(&format!("  token     {}", ready.token));
    printer.message(&format!("  clients   eval \"$(flash platform env --url {})\"", ready.url));
}
