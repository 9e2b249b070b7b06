//! An endpoint's configuration in Runpod's words, as 1.21 says it (`wire.md` 5.3).

use std::env;
use std::fmt::Write as _;

use serde_json::Map;
use sha2::{Digest as _, Sha256};

use crate::catalog::{self, ImageKind, cuda, data_center};
use crate::endpoint::name::LIVE_PREFIX;
use crate::endpoint::storage::DEFAULT_DISK_GB;
use crate::endpoint::{EndpointConfig, EndpointKind, Hardware, Value, normalize_name};
use crate::runpod::control::{EndpointInput, EnvironmentVariable, TemplateInput, VolumeInput};
use crate::runpod::error::{ErrorKind, RunpodError};

/// Returns what Runpod is to be told of an endpoint; variables come from this process.
///
/// # Errors
/// As [`input_with`].
pub fn input_of(
    config: &EndpointConfig,
    name: &str,
    kind: EndpointKind,
    live: bool,
) -> Result<EndpointInput, RunpodError> {
    input_with(config, name, kind, live, &|variable| env::var(variable).ok())
}

/// Returns what Runpod is to be told of an endpoint.
///
/// `live` puts `live-` before the name, once. Unlike 1.21, the account's key is not among the
/// variables, and a template's own image is not replaced.
///
/// # Errors
/// [`ErrorKind::Configuration`] names a variable that `env=` reads and nobody has set.
pub fn input_with(
    config: &EndpointConfig,
    name: &str,
    kind: EndpointKind,
    live: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<EndpointInput, RunpodError> {
    let name = endpoint_name(name, config.flashboot, live);
    let mut input = EndpointInput {
        kind: Some(if kind == EndpointKind::LoadBalanced { "LB" } else { "QB" }.to_owned()),
        workers_min: Some(config.workers.min.into()),
        workers_max: Some(config.workers.max.into()),
        workers_pfb_target: Some(0),
        idle_timeout: config.idle_timeout.map(Into::into),
        execution_timeout_ms: i64::try_from(config.execution_timeout_ms).ok(),
        scaler_type: Some(config.scaler_type_for(kind).to_owned()),
        scaler_value: Some(config.scaler_value),
        flash_boot_type: config.flashboot.then(|| "FLASHBOOT".to_owned()),
        locations: locations(config, lookup),
        volumes: volumes(config),
        ..EndpointInput::default()
    };
    match &config.hardware {
        Hardware::Gpu { choices, count, min_cuda_version } => {
            let least = min_cuda_version.as_deref().unwrap_or(cuda::DEFAULT_MIN_CUDA_VERSION);
            input.gpu_ids = Some(catalog::gpu_ids(choices));
            input.gpu_count = Some((*count).into());
            input.min_cuda_version = Some(least.to_owned());
            input.allowed_cuda_versions = Some(String::new());
        }
        Hardware::Cpu { instances } => input.instance_ids = Some(instances.clone()),
    }
    let mut template = template(config, kind, lookup)?;
    input.name = name;
    template.name = template_name(&input, &template, config.is_cpu());
    input.template = Some(template);
    Ok(input)
}

/// Returns an endpoint's name on Runpod.
pub fn endpoint_name(name: &str, flashboot: bool, live: bool) -> String {
    let name = normalize_name(name, flashboot);
    if !live {
        return name;
    }
    let mut bare = name.as_str();
    while let Some(rest) = bare.strip_prefix(LIVE_PREFIX) {
        bare = rest;
    }
    format!("{LIVE_PREFIX}{bare}")
}

/// `RUNPOD_DEFAULT_LOCATIONS` wins over everything, as in 1.21; `RUNPOD_DEFAULT_DATACENTER` counts
/// where the endpoint names no place (1.21 lets it win over `datacenter=`).
fn locations(config: &EndpointConfig, lookup: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| lookup(name).filter(|text| !text.trim().is_empty());
    let of_config = || match &config.datacenters {
        Some(places) => Some(places.join(",")),
        None => variable("RUNPOD_DEFAULT_DATACENTER").or_else(|| {
            let all = data_center::default_data_centers().collect::<Vec<_>>().join(",");
            (!config.is_cpu()).then_some(all)
        }),
    };
    variable("RUNPOD_DEFAULT_LOCATIONS").or_else(of_config).filter(|places| !places.is_empty())
}

fn volumes(config: &EndpointConfig) -> Vec<VolumeInput> {
    let volume = |volume: &crate::endpoint::config::Volume| VolumeInput {
        id: volume.id.clone(),
        name: volume.name.clone(),
        size: volume.size.map(Into::into),
        data_center_id: volume.data_center.clone(),
    };
    config.volumes.iter().map(volume).collect()
}

fn template(
    config: &EndpointConfig,
    kind: EndpointKind,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<TemplateInput, RunpodError> {
    let given = |name: &str| {
        let fields = config.template.as_deref().unwrap_or_default();
        fields.iter().find(|(field, value)| field == name && *value != Value::None).map(|(_, value)| value)
    };
    let text = |name: &str| match given(name) {
        Some(Value::Str(text)) => text.clone(),
        _ => String::new(),
    };
    let mut disk = match given("containerDiskInGb") {
        Some(Value::Int(disk)) => *disk,
        _ => DEFAULT_DISK_GB,
    };
    if let Hardware::Cpu { instances } = &config.hardware
        && disk == DEFAULT_DISK_GB
        && let Some(largest) = catalog::cpu_max_disk(instances)
    {
        disk = largest.into();
    }
    let is_balanced = kind == EndpointKind::LoadBalanced;
    let image_kind = if is_balanced { ImageKind::LoadBalanced } else { ImageKind::Queue };
    let own_image = config.image.clone().or_else(|| Some(text("imageName")).filter(|name| !name.is_empty()));
    Ok(TemplateInput {
        name: String::new(),
        image_name: own_image.unwrap_or_else(|| catalog::image_name(image_kind, config.is_cpu())),
        container_disk_in_gb: disk,
        docker_args: text("dockerArgs"),
        env: match &config.env {
            Some(entries) => variables(entries, lookup)?,
            None => template_variables(given("env")),
        },
        ports: text("ports"),
        start_script: text("startScript"),
        container_registry_auth_id: text("containerRegistryAuthId"),
        advanced_start: matches!(given("advancedStart"), Some(Value::Bool(true))),
        config: given("config").map(settings).unwrap_or_default(),
    })
}

fn variables(
    entries: &[(String, Value)],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<EnvironmentVariable>, RunpodError> {
    let filled = |(key, value): &(String, Value)| {
        let text = match value {
            Value::Str(text) => Ok(text.clone()),
            other => other.filled(lookup).unwrap_or_else(|| Ok(other.repr())),
        };
        text.map(|value| EnvironmentVariable { key: key.clone(), value }).map_err(|missing| {
            let message = format!("env[`{key}`] reads `{missing}`, which is not set");
            RunpodError::new(ErrorKind::Configuration, message)
                .with_hint(format!("set {missing} in the shell or in .env"))
        })
    };
    entries.iter().map(filled).collect()
}

/// `env` of a `PodTemplate`: a list of `{key, value}`.
fn template_variables(env: Option<&Value>) -> Vec<EnvironmentVariable> {
    let Some(Value::List(items)) = env else { return Vec::new() };
    let field = |fields: &[(String, Value)], name: &str| {
        fields.iter().find_map(|(field, value)| match value {
            Value::Str(text) if field == name => Some(text.clone()),
            _ => None,
        })
    };
    let entry = |item: &Value| {
        let fields: Vec<(String, Value)> = match item {
            Value::Object { fields, .. } => fields.clone(),
            Value::Dict(entries) => entries
                .iter()
                .filter_map(|(key, value)| match key {
                    Value::Str(key) => Some((key.clone(), value.clone())),
                    _ => None,
                })
                .collect(),
            _ => return None,
        };
        Some(EnvironmentVariable { key: field(&fields, "key")?, value: field(&fields, "value")? })
    };
    items.iter().filter_map(entry).collect()
}

fn settings(value: &Value) -> Map<String, serde_json::Value> {
    let Value::Dict(entries) = value else { return Map::new() };
    let entry = |(key, value): &(Value, Value)| {
        let Value::Str(key) = key else { return None };
        let value = match value {
            Value::Str(text) => text.clone().into(),
            Value::Int(number) => (*number).into(),
            Value::Bool(flag) => (*flag).into(),
            Value::Float(number) => (*number).into(),
            _ => return None,
        };
        Some((key.clone(), value))
    };
    entries.iter().filter_map(entry).collect()
}

/// Names a template in the form of 1.21: class and digest of the endpoint, then of the template.
fn template_name(input: &EndpointInput, template: &TemplateInput, is_cpu: bool) -> String {
    let class = match (input.kind.as_deref() == Some("LB"), is_cpu) {
        (false, false) => "LiveServerless",
        (false, true) => "CpuLiveServerless",
        (true, false) => "LiveLoadBalancer",
        (true, true) => "CpuLiveLoadBalancer",
    };
    let text = |result: Result<String, serde_json::Error>| result.unwrap_or_default();
    let endpoint = digest(&text(serde_json::to_string(input)));
    // Values of variables may be secrets: not even their digest goes into a name.
    let mut template = template.clone();
    template.env.iter_mut().for_each(|variable| variable.value.clear());
    let template = digest(&text(serde_json::to_string(&template)));
    format!("{class}_{endpoint}__PodTemplate_{template}")
}

/// The first 32 hexadecimal digits of SHA-256.
pub(super) fn digest(text: &str) -> String {
    let mut digest = String::with_capacity(32);
    for byte in &Sha256::digest(text.as_bytes())[..16] {
        _ = write!(digest, "{byte:02x}");
    }
    digest
}
