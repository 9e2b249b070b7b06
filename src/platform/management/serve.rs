//! What the platform is asked to serve for an endpoint of an account.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Management;
use super::model::{Build, Endpoint, EndpointType, FlashBoot, ScalerType, State};
use crate::endpoint::{EndpointKind, Workers};
use crate::platform::images::{self, ImageRequest};
use crate::platform::spec::{CommandRuntime, EndpointSpec, Scaling};

/// Whether what makes an endpoint's spec is the same in both states.
pub(super) fn is_same(before: &State, after: &State, endpoint: &Arc<Endpoint>) -> bool {
    let same = |before: Option<&Arc<Endpoint>>| before.is_some_and(|known| Arc::ptr_eq(known, endpoint));
    same(before.endpoints.get(&endpoint.id))
        && pointer(before.templates.get(&endpoint.template_id))
            == pointer(after.templates.get(&endpoint.template_id))
        && active_build(before, endpoint) == active_build(after, endpoint)
}

fn pointer<T>(document: Option<&Arc<T>>) -> Option<*const T> {
    document.map(Arc::as_ptr)
}

/// ID of the build that the endpoint runs.
fn active_build<'a>(state: &'a State, endpoint: &Endpoint) -> Option<&'a str> {
    state.environments.get(endpoint.environment_id.as_deref()?)?.active_build.as_deref()
}

impl Management {
    pub(super) fn spec(&self, state: &State, endpoint: &Endpoint) -> EndpointSpec {
        let template = state.templates.get(&endpoint.template_id);
        let image = template.map(|template| template.image.clone()).unwrap_or_default();
        let env: BTreeMap<String, String> = template
            .into_iter()
            .flat_map(|template| &template.env)
            .map(|variable| (variable.key.clone(), variable.value.clone()))
            .collect();
        let kind = match endpoint.kind {
            EndpointType::Queue => EndpointKind::Queue,
            EndpointType::LoadBalanced => EndpointKind::LoadBalanced,
        };
        let build = active_build(state, endpoint).and_then(|id| state.builds.get(id));
        let fingerprint = fingerprint(endpoint, &image, &env, build.map(|build| build.id.as_str()));
        let request = ImageRequest {
            endpoint_id: &endpoint.id,
            name: &endpoint.name,
            kind,
            image: &image,
            env: &env,
            command: command(endpoint),
            artifact: build.map(|build| self.artifact(build)),
            volume: endpoint.volume_ids.first().map(|id| self.volume_folder(id)),
            max_concurrency: build.map_or(1, |build| max_concurrency(build, &endpoint.name, &env)),
        };
        let runtime = images::runtime(&request, &self.options.environments);
        EndpointSpec {
            id: endpoint.id.clone(),
            name: endpoint.name.clone(),
            kind,
            workers: Workers { min: endpoint.workers_min, max: endpoint.workers_max },
            idle_timeout: Duration::from_secs(u64::from(endpoint.idle_timeout)),
            execution_timeout: Some(endpoint.execution_timeout_ms)
                .filter(|milliseconds| *milliseconds > 0)
                .map(Duration::from_millis),
            scaling: scaling(endpoint),
            flashboot: endpoint.flash_boot != FlashBoot::Off,
            env,
            runtime,
            account: endpoint.account.clone(),
            key: Some(endpoint.key.clone()),
            fingerprint,
        }
    }
}

/// Jobs that a worker of a deployed resource takes at a time, as its manifest says.
fn max_concurrency(build: &Build, endpoint: &str, env: &BTreeMap<String, String>) -> u32 {
    let resource = env.get("FLASH_RESOURCE_NAME").map_or(endpoint, String::as_str);
    let resources = build.manifest.as_ref().and_then(|manifest| manifest.get("resources"));
    let said = resources.and_then(|resources| resources.get(resource)?.get("max_concurrency")?.as_u64());
    said.and_then(|number| u32::try_from(number).ok()).unwrap_or(1).max(1)
}

fn command(endpoint: &Endpoint) -> Option<CommandRuntime> {
    if endpoint.command.is_empty() {
        return None;
    }
    let directory = endpoint.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    Some(CommandRuntime { argv: endpoint.command.clone(), directory })
}

fn scaling(endpoint: &Endpoint) -> Scaling {
    match endpoint.scaler_type {
        ScalerType::QueueDelay => Scaling::QueueDelay(Duration::from_secs_f64(endpoint.scaler_value)),
        // Checked to be between 1 and a million.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked when it was set"
        )]
        ScalerType::RequestCount => Scaling::RequestCount(endpoint.scaler_value as u32),
    }
}

/// Changes when workers must be started anew.
fn fingerprint(
    endpoint: &Endpoint,
    image: &str,
    env: &BTreeMap<String, String>,
    build: Option<&str>,
) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(image.as_bytes());
    add(build.unwrap_or_default().as_bytes());
    for (name, value) in env {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    add(b"command");
    for part in endpoint.command.iter().chain(&endpoint.volume_ids) {
        add(part.as_bytes());
    }
    if let Some(directory) = &endpoint.directory {
        add(directory.as_os_str().as_encoded_bytes());
    }
    hex(&hash.finalize())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}
