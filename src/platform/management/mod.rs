//! The management API: GraphQL, REST of both versions, uploads of apps, accounts.
//!
//! One model below three APIs. [`Management`] holds it, keeps every change as documents before
//! it counts, and has the platform serve the endpoints. Must never know how workers run.

mod accounts;
mod apps;
mod caller;
mod endpoints;
mod error;
mod fields;
mod files;
mod graphql;
mod login;
mod model;
mod problem;
mod registries;
mod rest_v1;
mod rest_v1_resources;
mod rest_v2;
mod rest_v2_resources;
mod rest_v2_workers;
mod serve;
mod templates;
mod time;
mod uploads;
mod volumes;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;

pub use self::error::ManagementError;
use self::login::Logins;
use self::model::{Document, State, Table};
use super::Platform;
use super::directory::Directory;
use super::store::DocumentStore;
use crate::requirements::Environments;

/// What [`Management`] works with.
pub struct ManagementOptions {
    /// Environments of workers.
    pub environments: Arc<Environments>,
    /// Folder that uploads and volumes are kept in.
    pub folder: PathBuf,
    /// Address of this server, for clients that do not name it.
    pub url: String,
}

/// What accounts have on this machine's Runpod.
pub struct Management {
    platform: Arc<Platform>,
    documents: Arc<dyn DocumentStore>,
    options: ManagementOptions,
    state: RwLock<Arc<State>>,
    logins: Logins,
    /// Held by who changes the state.
    writing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Management").field("folder", &self.options.folder).finish_non_exhaustive()
    }
}

impl Management {
    /// Reads what is stored and has the platform serve its endpoints.
    ///
    /// # Errors
    /// [`ManagementError`] says what cannot be read.
    pub fn open(platform: Arc<Platform>, options: ManagementOptions) -> Result<Arc<Self>, ManagementError> {
        let documents = Arc::clone(&platform.options().documents);
        let state = Arc::new(State::load(&*documents)?);
        let management = Arc::new(Self {
            platform,
            documents,
            options,
            state: RwLock::new(Arc::clone(&state)),
            logins: Logins::default(),
            writing: tokio::sync::Mutex::new(()),
        });
        for account in state.accounts.values() {
            if let Some(token) = &account.token {
                management.platform.options().access.admit(token.clone(), account.id.clone());
            }
        }
        let weak = Arc::downgrade(&management);
        management.platform.set_directory(weak);
        for endpoint in state.endpoints.values() {
            management.platform.put(management.spec(&state, endpoint));
        }
        Ok(management)
    }

    /// Builds the router of the management API.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .merge(graphql::router())
            .merge(rest_v1::router())
            .merge(rest_v1_resources::router())
            .merge(rest_v2::router())
            .merge(rest_v2_resources::router())
            .merge(rest_v2_workers::router())
            .merge(uploads::router())
            .merge(login::router())
            .merge(accounts::router())
            .with_state(Arc::clone(self))
    }

    /// The state now.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state: stored first, then served, then seen.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, ManagementError>,
    ) -> Result<T, ManagementError> {
        let _writing = self.writing.lock().await;
        let before = self.state();
        let mut after = State::clone(&before);
        let value = change(&mut after)?;
        let changes = before.changes(&after);
        for (kind, id, json) in changes {
            match json {
                Some(json) => self.documents.put(kind, &id, json).await?,
                None => self.documents.delete(kind, &id).await?,
            }
        }
        self.serve(&before, &after);
        self.clear(&before, &after);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        Ok(value)
    }

    fn serve(&self, before: &State, after: &State) {
        for id in before.endpoints.keys().filter(|id| !after.endpoints.contains_key(*id)) {
            self.platform.remove(id);
        }
        for endpoint in after.endpoints.values() {
            if !serve::is_same(before, after, endpoint) {
                self.platform.put(self.spec(after, endpoint));
            }
        }
    }

    /// Milliseconds since the Unix epoch.
    fn now(&self) -> u64 {
        u64::try_from(self.platform.options().clock.now().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Directory for Management {
    fn resolve(&self, account: &str, app: &str, environment: &str, endpoint: &str) -> Option<String> {
        self.state().resolve(account, app, environment, endpoint)
    }
}

impl State {
    fn load(documents: &dyn DocumentStore) -> Result<Self, ManagementError> {
        Ok(Self {
            accounts: load(documents)?,
            endpoints: load(documents)?,
            templates: load(documents)?,
            volumes: load(documents)?,
            registries: load(documents)?,
            apps: load(documents)?,
            environments: load(documents)?,
            builds: load(documents)?,
        })
    }
}

fn load<T: Document>(documents: &dyn DocumentStore) -> Result<Table<T>, ManagementError> {
    let mut table = Table::new();
    for (id, json) in documents.all(T::KIND)? {
        let damaged = |source| ManagementError::Damaged { kind: T::KIND, id: id.clone(), source };
        let document: T = serde_json::from_str(&json).map_err(damaged)?;
        table.insert(id, Arc::new(document));
    }
    Ok(table)
}
