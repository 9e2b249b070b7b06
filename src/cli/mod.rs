//! One file per command: parse arguments, call one function below, print.
//!
//! Holds no business logic.

mod init;
mod manifest;
mod printer;
mod run;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::requirements::HostPython;
pub use printer::Printer;

/// Python functions on Runpod Serverless, and on this machine.
#[derive(Debug, Parser)]
#[command(name = "flash", version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a project.
    Init(init::InitArgs),
    /// Serve the project here, with live API docs and reload.
    #[command(alias = "dev")]
    Run(run::RunArgs),
    /// Print or write the project's manifest.
    Manifest(manifest::ManifestArgs),
}

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
pub fn main(arguments: Vec<OsString>, host: &HostPython) -> ExitStatus {
    let printer = Printer::new();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success };
            // The terminal may be gone; there is nobody left to tell.
            let _ = error.print();
            return status;
        }
    };
    match cli.command {
        Command::Init(arguments) => init::init(&arguments, printer),
        Command::Run(arguments) => run::run(&arguments, host, &printer),
        Command::Manifest(arguments) => manifest::manifest(&arguments, host, &printer),
    }
}
