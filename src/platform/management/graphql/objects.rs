//! Objects of the schema as JSON, with all of their fields.

use serde_json::{Value, json};

use crate::catalog::gpu::GpuType;
use crate::platform::management::login::Login;
use crate::platform::management::model::{
    App, AppEnvironment, Build, Endpoint, EndpointType, FlashBoot, Registry, State, Template, Volume, owned,
};
use crate::platform::management::time;
use crate::platform::management::uploads::{ADDRESS_LIFE, Purpose};

/// What machines have of anything: this one does not run out.
const IN_STOCK: &str = "High";

pub(super) fn endpoint(state: &State, endpoint: &Endpoint) -> Value {
    let template = state.templates.get(&endpoint.template_id);
    let volume = endpoint.volume_ids.first().and_then(|id| state.volumes.get(id));
    let environment = endpoint.environment_id.as_ref().and_then(|id| state.environments.get(id));
    let volumes: Vec<Value> = endpoint
        .volume_ids
        .iter()
        .map(|id| {
            let center = state.volumes.get(id).map(|volume| volume.data_center_id.as_str());
            json!({ "networkVolumeId": id, "dataCenterId": center })
        })
        .collect();
    json!({
        "id": endpoint.id,
        "name": endpoint.name,
        "aiKey": endpoint.key,
        "type": type_name(endpoint.kind),
        "templateId": endpoint.template_id,
        "template": template.map(|template| self::template(template)),
        "gpuIds": endpoint.gpu_ids,
        "gpuCount": endpoint.gpu_count,
        "instanceIds": endpoint.instance_ids,
        "computeType": compute_type(endpoint),
        "networkVolumeId": endpoint.volume_ids.first(),
        "networkVolumeIds": volumes,
        "networkVolume": volume.map(|volume| self::volume(volume)),
        "locations": endpoint.locations,
        "idleTimeout": endpoint.idle_timeout,
        "scalerType": endpoint.scaler_type.as_str(),
        "scalerValue": scaler_value(endpoint),
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "workersStandby": endpoint.workers_min,
        "workersPFBTarget": endpoint.workers_pfb_target,
        "executionTimeoutMs": endpoint.execution_timeout_ms,
        "allowedCudaVersions": endpoint.allowed_cuda_versions,
        "minCudaVersion": Some(&endpoint.min_cuda_version).filter(|version| !version.is_empty()),
        "flashBootType": (endpoint.flash_boot != FlashBoot::Off).then(|| endpoint.flash_boot.as_str()),
        "flashEnvironmentId": endpoint.environment_id,
        "activeBuildid": environment.and_then(|environment| environment.active_build.as_ref()),
        "modelReferences": endpoint.model_references,
        "env": template.map(|template| variables(template)),
        "userId": endpoint.account,
        "version": endpoint.version,
        "createdAt": time::text(endpoint.created_at),
        "pods": [],
    })
}

fn type_name(kind: EndpointType) -> &'static str {
    match kind {
        EndpointType::Queue => "QB",
        EndpointType::LoadBalanced => "LB",
    }
}

pub(in crate::platform::management) fn compute_type(endpoint: &Endpoint) -> &'static str {
    if endpoint.instance_ids.is_empty() { "GPU" } else { "CPU" }
}

/// Half seconds, which version 2 of the REST API knows, are rounded up here.
#[expect(clippy::cast_possible_truncation, reason = "checked to be small when it was set")]
pub(in crate::platform::management) fn scaler_value(endpoint: &Endpoint) -> i64 {
    endpoint.scaler_value.ceil() as i64
}

fn variables(template: &Template) -> Value {
    template.env.iter().map(|variable| json!({ "key": variable.key, "value": variable.value })).collect()
}

pub(super) fn template(template: &Template) -> Value {
    json!({
        "id": template.id,
        "name": template.name,
        "imageName": template.image,
        "containerDiskInGb": template.container_disk_gb,
        "containerRegistryAuthId": template.registry_id,
        "dockerArgs": template.docker_args,
        "env": variables(template),
        "ports": template.ports,
        "readme": template.readme,
        "startScript": template.start_script,
        "volumeInGb": template.volume_gb,
        "volumeMountPath": template.volume_mount_path,
        "isServerless": template.is_serverless,
        "isPublic": template.is_public,
        "isRunpod": false,
        "advancedStart": false,
        "startJupyter": false,
        "startSsh": false,
        "config": {},
        "boundEndpointId": template.owner,
        "userId": template.account,
    })
}

pub(super) fn volume(volume: &Volume) -> Value {
    json!({
        "id": volume.id,
        "name": volume.name,
        "size": volume.size,
        "dataCenterId": volume.data_center_id,
        "dataCenter": data_center(&volume.data_center_id),
    })
}

pub(super) fn data_center(id: &str) -> Value {
    json!({ "id": id, "name": id, "location": id, "storageSupport": true, "listed": true })
}

pub(super) fn registry(registry: &Registry) -> Value {
    json!({ "id": registry.id, "name": registry.name })
}

/// What a worker is said to cost per hour: nothing on this machine, unless `FLASH_PLATFORM_PRICE` (US
/// dollars) has it play a cloud that costs something.
fn price() -> Value {
    let given = std::env::var("FLASH_PLATFORM_PRICE").ok().and_then(|text| text.trim().parse::<f64>().ok());
    given.filter(|price| price.is_finite() && *price > 0.0).map_or_else(|| json!(0), |price| json!(price))
}

pub(super) fn gpu_type(gpu: &GpuType) -> Value {
    json!({
        "id": gpu.value,
        "displayName": gpu.value.trim_start_matches("NVIDIA ").trim_start_matches("GeForce "),
        "manufacturer": "Nvidia",
        "memoryInGb": gpu.vram_gb,
        "maxGpuCount": 8,
        "secureCloud": true,
        "communityCloud": false,
        "securePrice": 0,
        "communityPrice": 0,
        "lowestPrice": { "minimumBidPrice": 0, "uninterruptablePrice": price(), "stockStatus": IN_STOCK },
    })
}

pub(super) fn cpu_flavor(id: &str, vcpus: &[u32]) -> Value {
    json!({
        "id": id,
        "groupId": id,
        "displayName": id,
        "minVcpu": vcpus.iter().min(),
        "maxVcpu": vcpus.iter().max(),
        "specifics": { "stockStatus": IN_STOCK, "securePrice": 0, "slsPrice": price() },
    })
}

pub(super) fn app(state: &State, app: &App, base: &str, now: u64) -> Value {
    let environments = state.environments_of(&app.account, &app.id);
    let environments: Vec<Value> = environments
        .into_iter()
        .map(|environment| self::environment(state, environment, base, now))
        .collect();
    let builds: Vec<Value> = state.builds_of(&app.account, &app.id).into_iter().map(build).collect();
    json!({
        "id": app.id,
        "name": app.name,
        "createdAt": time::text(app.created_at),
        "flashEnvironments": environments,
        "flashBuilds": builds,
    })
}

pub(super) fn environment(state: &State, environment: &AppEnvironment, base: &str, now: u64) -> Value {
    let there: Vec<_> = owned(&state.endpoints, &environment.account)
        .into_iter()
        .filter(|endpoint| endpoint.environment_id.as_deref() == Some(environment.id.as_str()))
        .collect();
    let mut volumes: Vec<&String> = there.iter().flat_map(|endpoint| &endpoint.volume_ids).collect();
    volumes.sort();
    volumes.dedup();
    let volumes = volumes.into_iter().filter_map(|id| state.volumes.get(id));
    let volumes: Vec<Value> = volumes.map(|volume| self::volume(volume)).collect();
    let endpoints: Vec<Value> = there.into_iter().map(|endpoint| self::endpoint(state, endpoint)).collect();
    let active = environment.active_build.as_ref().and_then(|id| state.builds.get(id));
    let state_name = if active.is_some() { "DEPLOYED" } else { "PENDING" };
    let expires = now + ADDRESS_LIFE;
    let artifact = active.map(|build| {
        json!({
            "objectKey": build.object_key,
            "downloadUrl": build.address(base, Purpose::Download, expires),
            "expiresAt": time::text(expires),
        })
    });
    json!({
        "id": environment.id,
        "name": environment.name,
        "state": state_name,
        "flashAppId": environment.app_id,
        "activeBuildId": environment.active_build,
        "activeArtifact": artifact,
        "createdAt": time::text(environment.created_at),
        "endpoints": endpoints,
        "networkVolumes": volumes,
    })
}

pub(super) fn build(build: &Build) -> Value {
    json!({
        "id": build.id,
        "flashAppId": build.app_id,
        "objectKey": build.object_key,
        "manifest": build.manifest,
        "createdAt": time::text(build.created_at),
    })
}

pub(super) fn login(login: &Login) -> Value {
    json!({
        "id": login.id,
        "status": login.status,
        "expiresAt": time::text(login.expires_at),
        "apiKey": login.token,
    })
}
