//! Management of Runpod from Python: operations by the names that GraphQL has for them, with JSON
//! in and out (`wire.md` 5.5).

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::completion::awaitable;
use super::{errors, runtime};
use crate::runpod::apps::{Apps, Progress};
use crate::runpod::client::Client;
use crate::runpod::control::{self, ControlPlane, EndpointInput, RemoteEndpoint, VolumeInput};
use crate::runpod::credentials;
use crate::runpod::urls::Urls;
use crate::runpod::{ErrorKind, RunpodError};

/// Does one operation; the awaitable gives its answer as JSON text.
///
/// Names and arguments are those of the GraphQL operations, the fields of an `input` one by one:
/// `createFlashEnvironment` with `{"flashAppId": …, "name": …}`. Further ones are
/// `uploadFlashBuild`, those of endpoints (`createEndpoint`, `updateEndpoint`, `endpointExists`, …)
/// and of volumes. `progress` is called with numbers of bytes while an artifact is sent.
#[pyfunction]
#[pyo3(signature = (operation, arguments, progress=None))]
pub(super) fn manage(
    py: Python<'_>,
    operation: String,
    arguments: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'_, PyAny>> {
    let progress = progress.map(tell);
    let work = async move {
        let client = Client::new(Urls::from_environment()?, Some(credentials::require_key()?))?;
        carry_out(&client, &operation, &arguments, progress).await
    };
    awaitable(py, work, |py, outcome| match outcome {
        Ok(answer) => Ok(answer.to_string().into_pyobject(py)?.into_any().unbind()),
        Err(error) => Err(errors::runpod(py, &error)),
    })
}

/// A Python function that is told of progress; what it raises is its own matter.
fn tell(function: Py<PyAny>) -> Progress {
    let function = Arc::new(function);
    Arc::new(move |count| {
        let function = Arc::clone(&function);
        if let Some(context) = runtime::existing() {
            context.deliver(move |py| {
                if let Err(error) = function.call1(py, (count,)) {
                    error.write_unraisable(py, None);
                }
            });
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppId {
    flash_app_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppName {
    flash_app_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InApp {
    flash_app_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentId {
    flash_environment_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildId {
    flash_build_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deployment {
    flash_environment_id: String,
    flash_build_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    flash_build_id: String,
    manifest: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prepare {
    flash_app_id: String,
    tarball_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finalize {
    flash_app_id: String,
    object_key: String,
    manifest: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upload {
    flash_app_id: String,
    path: PathBuf,
    manifest: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    id: String,
    #[serde(default)]
    template_id: Option<String>,
    input: EndpointInput,
    #[serde(default)]
    before: Option<EndpointInput>,
}

async fn carry_out(
    client: &Client,
    operation: &str,
    arguments: &str,
    progress: Option<Progress>,
) -> Result<Value, RunpodError> {
    let read = Arguments { operation, text: arguments };
    let apps = Apps::new(client.clone());
    match operation {
        "getFlashApps" => to_json(&apps.list().await?),
        "getFlashApp" => to_json(&apps.by_id(&read.as_type::<AppId>()?.flash_app_id).await?),
        "getFlashAppByName" => to_json(&apps.by_name(&read.as_type::<AppName>()?.flash_app_name).await?),
        "createFlashApp" => to_json(&apps.create(&read.as_type::<Name>()?.name).await?),
        "deleteFlashApp" => to_json(&apps.delete(&read.as_type::<AppId>()?.flash_app_id).await?),
        "createFlashEnvironment" => {
            let InApp { flash_app_id, name } = read.as_type()?;
            to_json(&apps.create_environment(&flash_app_id, &name).await?)
        }
        "deleteFlashEnvironment" => {
            let id = read.as_type::<EnvironmentId>()?.flash_environment_id;
            to_json(&apps.delete_environment(&id).await?)
        }
        "getFlashEnvironment" => {
            let id = read.as_type::<EnvironmentId>()?.flash_environment_id;
            to_json(&apps.environment(&id).await?)
        }
        "getFlashEnvironmentByName" => {
            let InApp { flash_app_id, name } = read.as_type()?;
            to_json(&apps.environment_by_name(&flash_app_id, &name).await?)
        }
        "listFlashEnvironments" => to_json(&apps.environments(&read.as_type::<AppId>()?.flash_app_id).await?),
        "listFlashBuilds" => to_json(&apps.builds(&read.as_type::<AppId>()?.flash_app_id).await?),
        "getFlashBuild" => to_json(&apps.build(&read.as_type::<BuildId>()?.flash_build_id).await?),
        "updateFlashBuildManifest" => {
            let Manifest { flash_build_id, manifest } = read.as_type()?;
            to_json(&apps.update_manifest(&flash_build_id, &manifest).await?)
        }
        "deployBuildToEnvironment" => {
            let Deployment { flash_environment_id, flash_build_id } = read.as_type()?;
            to_json(&apps.deploy(&flash_environment_id, &flash_build_id).await?)
        }
        "prepareFlashArtifactUpload" => {
            let Prepare { flash_app_id, tarball_size } = read.as_type()?;
            to_json(&apps.prepare_upload(&flash_app_id, tarball_size).await?)
        }
        "finalizeFlashArtifactUpload" => {
            let Finalize { flash_app_id, object_key, manifest } = read.as_type()?;
            to_json(&apps.finalize_upload(&flash_app_id, &object_key, &manifest).await?)
        }
        "uploadFlashBuild" => {
            let Upload { flash_app_id, path, manifest } = read.as_type()?;
            to_json(&apps.upload(&flash_app_id, &path, &manifest, progress).await?)
        }
        "listNetworkVolumes" => to_json(&control::list_volumes(client).await?),
        _ => on_plane(&read, client).await,
    }
}

/// Operations of the control plane, whichever it is.
async fn on_plane(read: &Arguments<'_>, client: &Client) -> Result<Value, RunpodError> {
    let chosen = control::choose(client).await?;
    let plane: &dyn ControlPlane = &*chosen.plane;
    Ok(match read.operation {
        "controlPlane" => json!({ "name": plane.name(), "line": chosen.line }),
        "createEndpoint" => endpoint_json(&plane.create_endpoint(&read.as_type()?).await?),
        "updateEndpoint" => {
            let Update { id, template_id, input, before } = read.as_type()?;
            let existing = RemoteEndpoint { id, template_id, ..RemoteEndpoint::default() };
            endpoint_json(&plane.update_endpoint(&existing, &input, before.as_ref()).await?)
        }
        "deleteEndpoint" => plane.delete_endpoint(&read.as_type::<Id>()?.id).await?.into(),
        "getEndpoint" => {
            plane.endpoint(&read.as_type::<Id>()?.id).await?.as_ref().map_or(Value::Null, endpoint_json)
        }
        "endpointExists" => plane.endpoint(&read.as_type::<Id>()?.id).await?.is_some().into(),
        "listEndpoints" => plane.endpoints().await?.iter().map(endpoint_json).collect(),
        "pricePerHour" => plane.price_per_hour(&read.as_type()?).await?.into(),
        "ensureNetworkVolume" => plane.ensure_volume(&read.as_type::<VolumeInput>()?).await?.id.into(),
        other => {
            let message = format!("`{other}` is no operation of Runpod's management API");
            return Err(RunpodError::new(ErrorKind::InvalidRequest, message));
        }
    })
}

/// An endpoint in the words of GraphQL.
fn endpoint_json(endpoint: &RemoteEndpoint) -> Value {
    json!({
        "id": endpoint.id,
        "name": endpoint.name,
        "templateId": endpoint.template_id,
        "aiKey": endpoint.key,
        "type": endpoint.kind,
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "warnings": endpoint.warnings,
    })
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Value, RunpodError> {
    serde_json::to_value(value).map_err(|error| RunpodError::new(ErrorKind::Malformed, error.to_string()))
}

struct Arguments<'a> {
    operation: &'a str,
    text: &'a str,
}

impl Arguments<'_> {
    fn as_type<T: DeserializeOwned>(&self) -> Result<T, RunpodError> {
        serde_json::from_str(self.text).map_err(|error| {
            RunpodError::new(
                ErrorKind::InvalidRequest,
                format!("`{}` was given wrong arguments: {error}", self.operation),
            )
        })
    }
}
