//! Which endpoint a deployed app's name means; management knows it.

use std::sync::{OnceLock, PoisonError, RwLock, Weak};

/// Knows the endpoints of deployed apps.
pub trait Directory: Send + Sync + 'static {
    /// Returns the ID of an account's endpoint by app, environment and name, as callers of a
    /// deployed app name it (`wire.md` 4.1).
    fn resolve(&self, account: &str, app: &str, environment: &str, endpoint: &str) -> Option<String>;
}

/// The platform's directory, once there is one.
#[derive(Default)]
pub(super) struct Directories {
    deployed: RwLock<Option<Weak<dyn Directory>>>,
    /// Name of the app that is served.
    app: OnceLock<String>,
}

impl Directories {
    pub(super) fn set(&self, directory: Weak<dyn Directory>) {
        *self.deployed.write().unwrap_or_else(PoisonError::into_inner) = Some(directory);
    }

    pub(super) fn set_app(&self, name: String) {
        let _ = self.app.set(name);
    }

    /// Whether the app that is served has this name.
    pub(super) fn is_app(&self, name: &str) -> bool {
        self.app.get().is_some_and(|app| app == name)
    }

    pub(super) fn resolve(&self, account: &str, app: &str, environment: &str, name: &str) -> Option<String> {
        let directory = self.deployed.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()?;
        directory.resolve(account, app, environment, name)
    }
}
