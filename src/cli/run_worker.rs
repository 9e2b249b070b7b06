//! `flash platform run-worker`.

use tokio::runtime::Builder;

use super::platform_env::choose;
use super::{ExitStatus, Printer};
use crate::platform::provision::{WorkerRequest, provision};
use crate::platform::running::Running;

/// Arguments of `flash platform run-worker`.
#[derive(Debug, clap::Args)]
pub(super) struct RunWorkerArgs {
    /// Address of the platform; needed where several run.
    #[arg(long, env = "FLASH_PLATFORM_URL", hide_env_values = true)]
    url: Option<String>,
    /// Token to call with; the platform's own when it is not given.
    #[arg(long, env = "FLASH_PLATFORM_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Name of the endpoint; it is made when there is none.
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// Most workers at once.
    #[arg(long, default_value_t = 1, value_name = "N")]
    workers: u32,
    /// Workers that are kept when there is nothing to do.
    #[arg(long, default_value_t = 0, value_name = "N")]
    min_workers: u32,
    /// Seconds that an idle worker stays.
    #[arg(long, value_name = "SECONDS")]
    idle_timeout: Option<u32>,
    /// The command serves HTTP on `PORT`, instead of taking jobs.
    #[arg(long)]
    load_balanced: bool,
    /// The worker: a program and its arguments, started in this folder.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs `flash platform run-worker`: has a running platform run a command.
pub(super) fn run_worker(arguments: RunWorkerArgs, printer: Printer) -> ExitStatus {
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => {
            printer.error(&format!("cannot read the current folder: {error}"));
            return ExitStatus::Failure;
        }
    };
    let running = match choose(Running::list(), arguments.url, arguments.token) {
        Ok(running) => running,
        Err(refusal) => return refusal.print(printer),
    };
    let request = WorkerRequest {
        url: running.url,
        token: running.token,
        endpoint: arguments.endpoint,
        workers: arguments.workers,
        least: arguments.min_workers,
        idle_timeout: arguments.idle_timeout,
        balanced: arguments.load_balanced,
        command: arguments.command,
        directory,
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.error(&format!("cannot start: {error}"));
            return ExitStatus::Failure;
        }
    };
    match runtime.block_on(provision(&request)) {
        Ok(done) => {
            let what = if done.is_new { "made" } else { "changed" };
            printer.message(&format!(
                "{what} endpoint `{}`: up to {} workers of `{}`",
                request.endpoint,
                request.workers,
                request.command.join(" ")
            ));
            printer.data(&done.id);
            ExitStatus::Success
        }
        Err(error) => {
            printer.failure(&error, Some(error.hint()));
            ExitStatus::Failure
        }
    }
}
