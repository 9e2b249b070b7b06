//! `flash manifest`.

use std::path::PathBuf;

use super::{ExitStatus, Printer};
use crate::manifest::Manifest;
use crate::project::{self, Reader, Severity};
use crate::requirements::HostPython;

/// Arguments of `flash manifest`.
#[derive(Debug, clap::Args)]
pub(super) struct ManifestArgs {
    /// Folder of the project.
    #[arg(default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Write the manifest to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs `flash manifest`: nothing is run or built, and nothing written but the output.
pub(super) fn manifest(arguments: &ManifestArgs, host: &HostPython, printer: &Printer) -> ExitStatus {
    if !arguments.root.is_dir() {
        printer.error(&format!("`{}` is not a folder", arguments.root.display()));
        printer.hint("name the folder of a project: `flash manifest DIR`");
        return ExitStatus::Failure;
    }
    let project = Reader::new(&arguments.root, host.executable.clone()).read();
    for diagnostic in &project.diagnostics {
        printer.message(&project::diagnostic::render(diagnostic, &project, printer.has_color()));
        printer.message("");
    }
    let errors = project.diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
    if errors > 0 {
        let problems = if errors == 1 { "one problem".to_owned() } else { format!("{errors} problems") };
        printer.error(&format!("no manifest was written: {problems} in `{}`", project.root.display()));
        return ExitStatus::Failure;
    }
    if project.files.iter().all(|file| file.endpoints.is_empty()) {
        printer.message("no endpoints found");
    }
    let manifest = Manifest::from_project(&project).with_host_python(host.version);
    let Some(output) = &arguments.output else {
        printer.data(&manifest.to_json());
        return ExitStatus::Success;
    };
    match manifest.write(output) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            printer.error(&format!("cannot write `{}`", output.display()));
            printer.message(&format!("caused by: {error}"));
            ExitStatus::Failure
        }
    }
}
