//! `/v2/flash/…`: an endpoint of a deployed app, named by headers instead of an ID
//! (`platform.md` 1.1).

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};

use super::refusal::Refusal;
use crate::platform::Platform;
use crate::platform::access::Caller;

/// What stands in the place of an endpoint's ID.
pub(super) const SENTINEL: &str = "flash";

/// What the headers of a sentinel request name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelAddress {
    /// `X-Flash-App`.
    pub app: String,
    /// `X-Flash-Environment`.
    pub environment: String,
    /// `X-Flash-Endpoint`: the endpoint's name in the app.
    pub endpoint: String,
}

impl SentinelAddress {
    /// Reads the headers; `None` unless all are there.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Some(Self {
            app: text("x-flash-app")?,
            environment: text("x-flash-environment")?,
            endpoint: text("x-flash-endpoint")?,
        })
    }
}

/// Knows which endpoints are deployed where.
pub trait DeployedEndpoints: Send + Sync + 'static {
    /// Returns an endpoint's ID; `account` is `None` where the caller's account is not known (a
    /// token of an endpoint's own, or no accounts at all), and any account's will do.
    fn resolve(&self, account: Option<&str>, address: &SentinelAddress) -> Option<String>;
}

/// Returns the ID of the endpoint that the headers name.
pub(super) fn resolve(
    platform: &Arc<Platform>,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<String, Refusal> {
    let not_found = |text: String| match caller {
        Caller::Anyone | Caller::Account(_) => Refusal::new(StatusCode::NOT_FOUND, text),
        Caller::Token(_) | Caller::Nobody => Refusal::unauthorized(),
    };
    let Some(address) = SentinelAddress::of(headers) else {
        let text = "`flash` needs the headers X-Flash-App, X-Flash-Environment and X-Flash-Endpoint";
        return Err(not_found(text.to_owned()));
    };
    let account = match caller {
        Caller::Account(account) => Some(account.as_str()),
        Caller::Anyone | Caller::Token(_) | Caller::Nobody => None,
    };
    platform.resolve_sentinel(account, &address).ok_or_else(|| {
        let SentinelAddress { app, environment, endpoint } = &address;
        not_found(format!("app `{app}` has no endpoint `{endpoint}` deployed in environment `{environment}`"))
    })
}

impl Platform {
    /// Sets who knows which endpoints are deployed; the first to be set stays. It must hold this
    /// platform weakly, if at all.
    pub fn set_deployed(&self, deployed: Arc<dyn DeployedEndpoints>) {
        let _ = self.deployed.set(deployed);
    }

    /// Sets the name of the app whose endpoints [`Platform::apply`] serves: they are found by it,
    /// whatever the environment.
    pub fn set_app_name(&self, name: String) {
        let _ = self.app_name.set(name);
    }

    /// Returns the ID of an endpoint of a deployed app, or of the app that is served here.
    pub fn resolve_sentinel(&self, account: Option<&str>, address: &SentinelAddress) -> Option<String> {
        if let Some(id) = self.deployed.get().and_then(|deployed| deployed.resolve(account, address)) {
            return Some(id);
        }
        if *self.app_name.get()? != address.app {
            return None;
        }
        let supervisor = self.endpoint(&address.endpoint).filter(|supervisor| supervisor.is_of_app)?;
        let is_own = account.is_none_or(|account| supervisor.lock().spec.account == account);
        is_own.then(|| supervisor.name.clone())
    }
}
