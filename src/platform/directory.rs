//! Which endpoint a deployed app's name means; management knows it.

use std::sync::{PoisonError, RwLock, Weak};

/// Knows the endpoints of deployed apps.
pub trait Directory: Send + Sync + 'static {
    /// Returns the ID of an account's endpoint by app, environment and name, as callers of a
    /// deployed app name it (`wire.md` 4.1).
    fn resolve(&self, account: &str, app: &str, environment: &str, endpoint: &str) -> Option<String>;
}

/// The platform's directory, once there is one.
#[derive(Default)]
pub(super) struct Directories(RwLock<Option<Weak<dyn Directory>>>);

impl Directories {
    pub(super) fn set(&self, directory: Weak<dyn Directory>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(directory);
    }

    pub(super) fn resolve(&self, account: &str, app: &str, environment: &str, name: &str) -> Option<String> {
        let directory = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()?;
        directory.resolve(account, app, environment, name)
    }
}
