//! One file per command: parse arguments, call one function below, print.
//!
//! Holds no business logic.

mod init;
mod login;
mod manifest;
mod platform;
mod platform_env;
mod printer;
mod run;
mod run_worker;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Parser, Subcommand};

use crate::requirements::HostPython;
pub use printer::Printer;

/// Python functions on Runpod Serverless, and on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "flash",
    bin_name = "flash",
    version,
    disable_version_flag = true,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Print the version.
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a project.
    Init(init::InitArgs),
    /// Serve the project on this machine, with API docs and reload.
    #[command(visible_alias = "dev")]
    Run(run::RunArgs),
    /// Get an API key in the browser, and keep it for this user.
    Login(login::LoginArgs),
    /// Print or write the project's manifest.
    Manifest(manifest::ManifestArgs),
    /// Serve Runpod's APIs on this machine, for official clients and workers.
    Platform(Box<platform::PlatformArgs>),
}

/// Commands of the official 1.21 that this version does not have yet.
const LATER: [&str; 6] = ["build", "deploy", "undeploy", "env", "app", "update"];

/// How a command ended, as the process's exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0.
    Success,
    /// 1: what was asked could not be done; the reason was printed.
    Failure,
    /// 2: the command line was wrong.
    Usage,
}

impl From<ExitStatus> for u8 {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Success => 0,
            ExitStatus::Failure => 1,
            ExitStatus::Usage => 2,
        }
    }
}

/// Runs one `flash` command; `arguments` begin with the program's name.
///
/// What is known of the interpreter is only asked for by commands that need it: `--help` and
/// `--version` cost nothing more.
pub fn main<E>(
    arguments: Vec<OsString>,
    host: impl FnOnce() -> Result<HostPython, E>,
) -> Result<ExitStatus, E> {
    let printer = Printer::new();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return Ok(refuse(&error, printer)),
    };
    Ok(match cli.command {
        Command::Init(arguments) => init::init(&arguments, printer),
        Command::Run(arguments) => run::run(&arguments, &host()?, printer),
        Command::Login(arguments) => login::login(&arguments, printer),
        Command::Manifest(arguments) => manifest::manifest(&arguments, &host()?, printer),
        Command::Platform(arguments) => platform::platform(*arguments, host, printer)?,
    })
}

/// Prints help, the version, or what is wrong with a command line.
fn refuse(error: &clap::Error, printer: Printer) -> ExitStatus {
    match error.kind() {
        // The official line, which tools parse.
        ErrorKind::DisplayVersion => {
            printer.data(concat!("Runpod Flash CLI v", env!("CARGO_PKG_VERSION")));
            return ExitStatus::Success;
        }
        ErrorKind::InvalidSubcommand => {
            if let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand)
                && LATER.contains(&name.as_str())
            {
                printer.error(&format!("`flash {name}` is not in this version yet"));
                return ExitStatus::Usage;
            }
        }
        _ => {}
    }
    // The terminal may be gone; there is nobody left to tell.
    let _ = error.print();
    if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_that_comes_later_is_a_usage_error() {
        for name in LATER {
            let error = Cli::try_parse_from(["flash", name, "--preview"]).expect_err("not there yet");
            assert_eq!(refuse(&error, Printer::new()), ExitStatus::Usage, "{name}");
        }
    }

    #[test]
    fn run_arguments_are_those_of_the_official_cli() {
        let line = ["flash", "dev", "--host", "0.0.0.0", "-p", "9000", "--no-reload", "--auto-provision"];
        assert!(Cli::try_parse_from(line).is_ok());
        let error = Cli::try_parse_from(["flash", "run", "--port", "high"]).expect_err("not a port");
        assert_eq!(refuse(&error, Printer::new()), ExitStatus::Usage);
    }
}
