//! One entry of `resources`.

use serde_json::{Map, Value as Json, json};

use crate::catalog::{self, ImageKind};
use crate::endpoint::config::Volume;
use crate::endpoint::{EndpointConfig, EndpointKind, Hardware, Value};
use crate::project::{Callable, DeclaredEndpoint, ProjectFile};

/// Disk of a template that says nothing, in GB; CPU instances have less where this does not fit.
const DEFAULT_DISK: i64 = 64;

/// Describes an endpoint with the keys of 1.21, then with what 1.21 drops.
pub(super) fn describe(file: &ProjectFile, endpoint: &DeclaredEndpoint, python: &str) -> Map<String, Json> {
    let config = &endpoint.config;
    let is_load_balanced = endpoint.kind == EndpointKind::LoadBalanced;
    let is_client = endpoint.kind == EndpointKind::Client;
    let is_cpu = config.is_cpu();
    let mut entry = Map::new();
    let mut put = |key: &str, value: Json| {
        entry.insert(key.to_owned(), value);
    };
    put(
        "resource_type",
        json!(match (is_load_balanced, is_cpu) {
            (false, false) => "LiveServerless",
            (false, true) => "CpuLiveServerless",
            (true, false) => "LiveLoadBalancer",
            (true, true) => "CpuLiveLoadBalancer",
        }),
    );
    put("file_path", json!(file.path.to_string_lossy()));
    put("local_path_prefix", json!(file.prefix));
    put("module_path", json!(file.module));
    put(
        "functions",
        endpoint.callables.iter().map(|callable| function(callable, &file.module, endpoint.kind)).collect(),
    );
    put("is_load_balanced", json!(is_load_balanced));
    put("is_live_resource", json!(true));
    put("config_variable", json!(endpoint.variable));
    put("makes_remote_calls", json!(endpoint.makes_remote_calls));
    if is_client {
        put("client_mode", json!(true));
    }
    if config.max_concurrency > 1 && !is_load_balanced {
        put("max_concurrency", json!(config.max_concurrency));
    }
    let kind = if is_load_balanced { ImageKind::LoadBalanced } else { ImageKind::Queue };
    let image = config.image.clone().unwrap_or_else(|| catalog::image_name(kind, is_cpu));
    put("imageName", json!(image));
    match &config.hardware {
        Hardware::Gpu { choices, .. } => {
            let ids = catalog::gpu_ids(choices);
            if !ids.is_empty() {
                put("gpuIds", json!(ids));
            }
        }
        Hardware::Cpu { instances } => {
            if !instances.is_empty() {
                put("instanceIds", json!(instances));
            }
        }
    }
    put("workersMin", json!(config.workers.min));
    put("workersMax", json!(config.workers.max));
    if let Some(seconds) = config.idle_timeout {
        put("idleTimeout", json!(seconds));
    }
    put("scalerType", json!(config.scaler_type_for(endpoint.kind)));
    put("scalerValue", json!(config.scaler_value));
    let locations = match &config.datacenters {
        Some(places) => places.join(","),
        None if is_cpu => String::new(),
        None => catalog::data_center::default_data_centers().collect::<Vec<_>>().join(","),
    };
    if !locations.is_empty() {
        put("locations", json!(locations));
    }
    if let Hardware::Gpu { min_cuda_version, .. } = &config.hardware {
        put(
            "minCudaVersion",
            json!(min_cuda_version.as_deref().unwrap_or(catalog::cuda::DEFAULT_MIN_CUDA_VERSION)),
        );
    }
    if let Some(variables) = &config.env {
        let variables: Map<String, Json> =
            variables.iter().map(|(name, value)| (name.clone(), json!(variable(value)))).collect();
        put("env", Json::Object(variables));
    }
    if !config.volumes.is_empty() {
        put("networkVolumes", config.volumes.iter().map(volume).collect());
    }
    put("template", template(config));
    if !is_load_balanced && !endpoint.callables.is_empty() {
        put("handler_file", json!(format!("handler_{}.py", endpoint.name)));
    }
    put("target_python_version", json!(python));
    // What 1.21 drops:
    if let Hardware::Gpu { count, .. } = &config.hardware {
        put("gpuCount", json!(count));
    }
    put("executionTimeoutMs", json!(config.execution_timeout_ms));
    put("flashboot", json!(config.flashboot));
    put("dependencies", json!(config.dependencies));
    put("systemDependencies", json!(config.system_dependencies));
    put("accelerateDownloads", json!(config.accelerate_downloads));
    if let Some(fields) = &config.template {
        let fields: Map<String, Json> =
            fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        put("podTemplate", Json::Object(fields));
    }
    entry
}

fn function(callable: &Callable, module: &str, kind: EndpointKind) -> Json {
    let mut entry = Map::new();
    let mut put = |key: &str, value: Json| {
        entry.insert(key.to_owned(), value);
    };
    let is_async = match (&callable.methods, kind) {
        (Some(methods), _) => methods.iter().any(|method| method.is_async && !method.is_generator),
        // What 1.21 puts around a queue-based function is a coroutine function in any case.
        (None, EndpointKind::Queue) => true,
        (None, _) => callable.is_async && !callable.is_generator,
    };
    put("name", json!(callable.name));
    put("module", json!(module));
    put("is_async", json!(is_async));
    put("is_class", json!(callable.methods.is_some()));
    if let Some(methods) = callable.methods.as_ref().filter(|methods| !methods.is_empty()) {
        put("class_methods", methods.iter().map(|method| json!(method.name)).collect());
    }
    if let Some((method, path)) = &callable.route {
        put("http_method", json!(method.as_str()));
        put("http_path", json!(path));
    }
    if callable.is_generator {
        put("is_generator", json!(true));
    }
    Json::Object(entry)
}

/// A literal as it is; a variable of the environment by name, so that no secret is written.
fn variable(value: &Value) -> String {
    match value {
        Value::Environment { name, .. } => format!("${{{name}}}"),
        Value::Template(template) => template.shown(),
        Value::Str(text) => text.clone(),
        other => plain(other).to_string(),
    }
}

fn volume(volume: &Volume) -> Json {
    let mut entry = Map::new();
    if let Some(name) = &volume.name {
        entry.insert("name".to_owned(), json!(name));
    }
    if let Some(id) = &volume.id {
        entry.insert("id".to_owned(), json!(id));
    }
    if let Some(size) = volume.size {
        entry.insert("size".to_owned(), json!(size));
    }
    entry.insert("dataCenterId".to_owned(), json!(volume.data_center));
    Json::Object(entry)
}

fn template(config: &EndpointConfig) -> Json {
    let given = |name: &str| {
        let fields = config.template.as_ref()?;
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| plain(value))
    };
    let mut disk = given("containerDiskInGb").unwrap_or(json!(DEFAULT_DISK));
    if let Hardware::Cpu { instances } = &config.hardware
        && disk == json!(DEFAULT_DISK)
        && let Some(largest) = catalog::cpu_max_disk(instances)
    {
        disk = json!(largest);
    }
    json!({
        "containerDiskInGb": disk,
        "dockerArgs": given("dockerArgs").unwrap_or(json!("")),
        "startScript": given("startScript").unwrap_or(json!("")),
        "advancedStart": given("advancedStart").unwrap_or(json!(false)),
        "containerRegistryAuthId": given("containerRegistryAuthId").unwrap_or(json!("")),
    })
}

fn plain(value: &Value) -> Json {
    match value {
        Value::None | Value::Other { .. } => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Str(value) => json!(value),
        Value::List(items) | Value::Tuple(items) => items.iter().map(plain).collect(),
        Value::Dict(items) => Json::Object(
            items
                .iter()
                .map(|(key, value)| {
                    let key = if let Value::Str(key) = key { key.clone() } else { plain(key).to_string() };
                    (key, plain(value))
                })
                .collect(),
        ),
        Value::Object { fields, .. } => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Value::Member { class, member } => {
            json!(catalog::enum_table(class).and_then(|table| table.value_of(member)).unwrap_or(member))
        }
        Value::Environment { .. } | Value::Template(_) => json!(variable(value)),
    }
}
