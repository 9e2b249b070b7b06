//! The `flash` console script.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::requirements::HostPython;

/// Reads what is known of the running interpreter.
pub(super) fn host_python(py: Python<'_>) -> PyResult<HostPython> {
    let sys = py.import("sys")?;
    let version = sys.getattr("version_info")?;
    let part = |index: usize| -> PyResult<u8> { version.get_item(index)?.extract() };
    let package: PathBuf = py.import("runpod_flash")?.getattr("__path__")?.get_item(0)?.extract()?;
    let mut runtime_paths: Vec<PathBuf> = package.parent().map(PathBuf::from).into_iter().collect();
    for entry in sys.getattr("path")?.try_iter()? {
        let entry: PathBuf = entry?.extract()?;
        let is_packages = entry.ends_with("site-packages") || entry.ends_with("dist-packages");
        if is_packages && !runtime_paths.contains(&entry) {
            runtime_paths.push(entry);
        }
    }
    Ok(HostPython {
        executable: sys.getattr("executable")?.extract()?,
        version: (part(0)?, part(1)?, part(2)?),
        package,
        runtime_paths,
    })
}

/// Runs one `flash` command and returns its exit status.
#[pyfunction]
pub(super) fn cli_main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    own_interrupts(py)?;
    let status = py.detach(|| crate::cli::main(arguments, || Python::attach(host_python)))?;
    Ok(status.into())
}

/// Takes Ctrl-C from Python: its handler only sets a flag, which nobody reads while a command
/// runs in Rust, and which would become a `KeyboardInterrupt` after a command has ended well. A
/// process that was started with interrupts ignored (`nohup`, a shell's `&`) goes on ignoring them.
fn own_interrupts(py: Python<'_>) -> PyResult<()> {
    // The C module below `signal`, which would import `enum` first.
    let signal = py.import("_signal")?;
    let interrupt = signal.getattr("SIGINT")?;
    let handler = signal.call_method1("getsignal", (&interrupt,))?;
    if handler.is(&signal.getattr("default_int_handler")?) {
        signal.call_method1("signal", (&interrupt, signal.getattr("SIG_DFL")?))?;
    }
    Ok(())
}
