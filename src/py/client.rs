//! The client of Runpod that calls of this process share, and where its calls go.

use std::env;
use std::sync::PoisonError;

use pyo3::prelude::*;

use super::{errors, runtime};
use crate::endpoint::target::{Destination, Surroundings, parse_target};
use crate::runpod::client::{Client, set_runtime};
use crate::runpod::credentials::{self, ApiKey};
use crate::runpod::urls::Urls;

/// The client that was made last, and what for.
pub(super) type Cached = (Urls, Option<ApiKey>, Client);

/// Returns the client for the key and the URLs that count now; one per process as long as they stay.
///
/// Without a key there is one only for a platform on this machine, which takes anybody.
///
/// # Errors
/// `RunpodAPIKeyError`, or `ConfigurationError` for a URL that is none.
pub(super) fn client(py: Python<'_>) -> PyResult<Client> {
    let context = runtime::context(py)?;
    let urls = Urls::from_environment().map_err(|error| errors::runpod(py, &error))?;
    let mut cached = context.client.lock().unwrap_or_else(PoisonError::into_inner);
    let known = cached.as_ref().filter(|(known_urls, _, _)| *known_urls == urls);
    if let Some((_, Some(key), client)) = known
        && credentials::is_still_set(key)
    {
        return Ok(client.clone());
    }
    let key = match credentials::find_key() {
        None if urls.is_here() => None,
        None => Some(credentials::require_key().map_err(|error| errors::runpod(py, &error))?),
        found => found,
    };
    if let Some((_, known_key, client)) = known
        && *known_key == key
    {
        return Ok(client.clone());
    }
    let version = py.version_info();
    set_runtime(format!("Python {}.{}.{}", version.major, version.minor, version.patch));
    let client = Client::new(urls.clone(), key.clone()).map_err(|error| errors::runpod(py, &error))?;
    *cached = Some((urls, key, client.clone()));
    Ok(client)
}

/// Returns where a call of another endpoint's queue-based function goes now: `parent`, `local`,
/// `deployed` or `live`.
#[pyfunction]
pub(super) fn destination(py: Python<'_>) -> PyResult<&'static str> {
    Ok(match surroundings(py)?.destination() {
        Destination::InPlace => "here",
        Destination::LocalWorker => "local",
        Destination::ParentQueue => "parent",
        Destination::Deployed => "deployed",
        Destination::Live => "live",
    })
}

fn surroundings(py: Python<'_>) -> PyResult<Surroundings> {
    let has_parent = super::call::has_parent();
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    // A worker of this machine does what its parent does.
    let asked = if has_parent { Ok(None) } else { parse_target(env::var("FLASH_TARGET").ok().as_deref()) };
    let asked = asked.map_err(|error| errors::target(py, &error))?;
    Ok(Surroundings {
        asked,
        has_parent,
        is_on_runpod: is_set("RUNPOD_ENDPOINT_ID") || is_set("RUNPOD_POD_ID"),
        is_live: env::var("FLASH_IS_LIVE_PROVISIONING").is_ok_and(|word| word.eq_ignore_ascii_case("true")),
        is_test: is_set("PYTEST_CURRENT_TEST"),
        // Looked for last, since it may be in a file.
        has_key: asked.is_none() && !has_parent && credentials::find_key().is_some(),
    })
}

/// Returns the name of the deployed app that a program in `folder` belongs to.
#[pyfunction]
pub(super) fn app_name(folder: &str) -> String {
    crate::project::app_of(std::path::Path::new(folder))
}
