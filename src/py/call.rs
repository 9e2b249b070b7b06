//! Where this process's calls go.

use std::sync::{Arc, OnceLock};

use crate::wire::Backend;

static BACKEND: OnceLock<Arc<dyn Backend>> = OnceLock::new();

/// Makes `backend` the one that calls of this process use; a worker installs the connection to
/// its parent before user code loads. Returns whether it was the first.
pub(super) fn install_backend(backend: Arc<dyn Backend>) -> bool {
    BACKEND.set(backend).is_ok()
}
