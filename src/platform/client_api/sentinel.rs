//! `/v2/flash/…`: an endpoint of a deployed app, named by headers instead of an ID
//! (`platform.md` 1.1).

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};

use super::refusal::Refusal;
use crate::platform::Platform;
use crate::platform::access::Caller;

/// What stands in the place of an endpoint's ID.
pub(super) const SENTINEL: &str = "flash";

/// Returns the ID of the endpoint that the headers name.
pub(super) fn resolve(
    platform: &Arc<Platform>,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<String, Refusal> {
    let account = match caller {
        Caller::Account(account) => account.clone(),
        Caller::Anyone => String::new(),
        // The key of an endpoint may name that endpoint.
        Caller::Token(_) => account_of(platform, caller).ok_or_else(Refusal::unauthorized)?,
        Caller::Nobody => return Err(Refusal::unauthorized()),
    };
    let text = |name: &str| headers.get(name).and_then(|text| text.to_str().ok()).unwrap_or_default().trim();
    let (app, environment, endpoint) =
        (text("x-flash-app"), text("x-flash-environment"), text("x-flash-endpoint"));
    if app.is_empty() || environment.is_empty() || endpoint.is_empty() {
        let text = "`flash` needs the headers X-Flash-App, X-Flash-Environment and X-Flash-Endpoint";
        return Err(Refusal::new(StatusCode::NOT_FOUND, text));
    }
    platform.resolve(&account, app, environment, endpoint).ok_or_else(|| {
        let text =
            format!("app `{app}` has no endpoint `{endpoint}` deployed in environment `{environment}`");
        Refusal::new(StatusCode::NOT_FOUND, text)
    })
}

/// The account of the endpoint that the caller has the key of.
fn account_of(platform: &Platform, caller: &Caller) -> Option<String> {
    platform.supervisors().iter().find_map(|supervisor| {
        let spec = &supervisor.lock().spec;
        caller.opens(&spec.account, spec.key.as_deref()).then(|| spec.account.clone())
    })
}
