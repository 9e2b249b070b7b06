//! Provisioning of live endpoints by a script or notebook.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::{client, completion, errors};
use crate::endpoint::EndpointKind;
use crate::runpod::client::Client;
use crate::runpod::control::{self, EndpointInput};
use crate::runpod::credentials::{self, ApiKey};
use crate::runpod::live::{Live, Provision as _, Provisioner, ProvisionerOptions, input_of};
use crate::runpod::urls::Urls;
use crate::runpod::{ErrorKind, RunpodError};

/// What a provisioner is for: process, addresses, key and folder.
type Purpose = (u32, Urls, Option<ApiKey>, PathBuf);

static KNOWN: Mutex<Vec<(Purpose, Provisioner)>> = Mutex::new(Vec::new());

/// Returns this process's provisioner for a project's folder; made once for each key and address.
///
/// Endpoints that a script makes stay, as in 1.21; they are tracked in `.flash/resources.json`.
pub(super) async fn provisioner(client: Client, root: PathBuf) -> Result<Provisioner, RunpodError> {
    let purpose = (std::process::id(), client.urls().clone(), credentials::find_key(), root.clone());
    let find = || {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(other, _)| *other == purpose).map(|(_, found)| found.clone())
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    let control = control::choose(&client).await?.plane;
    let made = Provisioner::new(ProvisionerOptions {
        control,
        api: client.urls().api.clone(),
        root,
        is_temporary: false,
        needs_price: false,
        say: Arc::new(|line| {
            // A closed stream is the reader's choice.
            let _ = writeln!(std::io::stderr().lock(), "flash: {line}");
        }),
    });
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    // Another task may have been faster: calls share one, so that endpoints are made once.
    if let Some((_, found)) = known.iter().find(|(other, _)| *other == purpose) {
        return Ok(found.clone());
    }
    known.retain(|((process, ..), _)| *process == std::process::id());
    known.push((purpose, made.clone()));
    Ok(made)
}

/// Finds, changes or makes an endpoint; the awaitable gives `(id, is_new)`.
///
/// `input` is the JSON of GraphQL's `EndpointInput` (`wire.md` 5.3), with `volumes` beside it:
/// `[{"id", "name", "size", "dataCenterId"}]`.
#[pyfunction]
pub(super) fn provision<'py>(py: Python<'py>, input: &str) -> PyResult<Bound<'py, PyAny>> {
    let input: EndpointInput = serde_json::from_str(input).map_err(|error| {
        let message = format!("this is no endpoint: {error}");
        errors::runpod(py, &RunpodError::new(ErrorKind::Configuration, message))
    })?;
    let (client, root) = (client::client(py)?, std::env::current_dir()?);
    let work = async move { provisioner(client, root).await?.ensure(&input).await };
    completion::awaitable(py, work, |py, live: Result<Live, RunpodError>| {
        let live = live.map_err(|error| errors::runpod(py, &error))?;
        Ok((live.id, live.is_new).into_pyobject(py)?.into_any().unbind())
    })
}

/// Forgets what is known of an endpoint by its name on Runpod: its next use looks at it again.
#[pyfunction]
pub(super) fn forget_endpoint(py: Python<'_>, name: String) -> PyResult<Bound<'_, PyAny>> {
    let (client, root) = (client::client(py)?, std::env::current_dir()?);
    let work = async move { provisioner(client, root).await.map(|known| known.forget(&name)) };
    completion::awaitable(py, work, |py, done| {
        done.map(|()| py.None()).map_err(|error| errors::runpod(py, &error))
    })
}

/// Returns the JSON of what Runpod is told of an `Endpoint`; `kind` is `queue` or `load_balanced`.
#[pyfunction]
pub(super) fn endpoint_input(
    py: Python<'_>,
    endpoint: &super::endpoint::EndpointBase,
    name: &str,
    kind: &str,
    live: bool,
) -> PyResult<String> {
    let kind = match kind {
        "load_balanced" => EndpointKind::LoadBalanced,
        _ => EndpointKind::Queue,
    };
    let text = input_of(&endpoint.config, name, kind, live).and_then(|input| {
        serde_json::to_string(&input)
            .map_err(|error| RunpodError::new(ErrorKind::Configuration, error.to_string()))
    });
    text.map_err(|error| errors::runpod(py, &error))
}
