//! The Python that `flash` (or a script) itself runs in.

use std::path::PathBuf;

/// What is known of the host interpreter; workers without packages of their own run in it, and
/// environments are based on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPython {
    /// `sys.executable`.
    pub executable: PathBuf,
    /// Version, such as `(3, 11, 7)`.
    pub version: (u8, u8, u8),
    /// Folder of the `runpod_flash` package; `worker/__main__.py` lies below it.
    pub package: PathBuf,
    /// Folders from which a worker in another environment gets our own runtime (`sys.path`
    /// entries that hold `runpod_flash`, pydantic, FastAPI and cloudpickle).
    pub runtime_paths: Vec<PathBuf>,
}
