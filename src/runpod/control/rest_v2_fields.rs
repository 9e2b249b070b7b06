//! An endpoint in the words of REST v2, made from those of GraphQL, and read back.

use serde_json::{Map, Value, json};

use super::input::{EndpointInput, EnvironmentVariable, RemoteEndpoint};

/// Returns the body that makes or changes an endpoint; `warnings` get what cannot be said in it.
pub(super) fn body_of(input: &EndpointInput, warnings: &mut Vec<String>) -> Value {
    let mut body = json!({ "name": input.name });
    let is_balanced = input.kind.as_deref() == Some("LB");
    if input.kind.is_some() {
        body["type"] = if is_balanced { "LOAD_BALANCER" } else { "QUEUE" }.into();
    }
    template_into(&mut body, input);
    hardware_into(&mut body, input);
    let mut workers = Map::new();
    for (name, value) in
        [("min", input.workers_min), ("max", input.workers_max), ("idleTimeout", input.idle_timeout)]
    {
        workers.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    }
    if !workers.is_empty() {
        body["workers"] = workers.into();
    }
    if let Some(scaler) = &input.scaler_type {
        let name = if scaler == "REQUEST_COUNT" { "requestCount" } else { "queueDelay" };
        body["scaling"] = json!({ "type": scaler });
        if let Some(value) = input.scaler_value {
            body["scaling"][name] = value.into();
        }
    }
    if let Some(locations) = &input.locations {
        body["dataCenterIds"] = list_of(locations).into();
    }
    volumes_into(&mut body, input);
    // 0 is GraphQL's word for the default, which here is said by saying nothing.
    if let Some(timeout) = input.execution_timeout_ms.filter(|timeout| *timeout > 0) {
        body["timeout"] = timeout.into();
    }
    body["flashboot"] = input.flash_boot_type.as_deref().unwrap_or("OFF").into();
    if let Some(environment) = &input.flash_environment_id {
        body["flashEnvironmentId"] = environment.as_str().into();
    }
    let cuda = [&input.min_cuda_version, &input.allowed_cuda_versions];
    if input.instance_ids.is_none()
        && cuda.iter().any(|text| text.as_deref().is_some_and(|text| !text.is_empty()))
    {
        warnings.push(format!(
            "REST v2 cannot ask for CUDA versions: endpoint `{}` may get hosts with older drivers; \
             FLASH_CONTROL_PLANE=graphql asks for them",
            input.name
        ));
    }
    body
}

fn template_into(body: &mut Value, input: &EndpointInput) {
    if let Some(id) = &input.template_id {
        body["templateId"] = id.as_str().into();
    }
    let Some(template) = &input.template else { return };
    body["image"] = template.image_name.as_str().into();
    body["disk"] = template.container_disk_in_gb.into();
    body["args"] = template.docker_args.as_str().into();
    body["env"] = template
        .env
        .iter()
        .map(|variable| (variable.key.clone(), Value::from(variable.value.as_str())))
        .collect::<Map<_, _>>()
        .into();
    if !template.ports.is_empty() {
        body["ports"] = list_of(&template.ports).into();
    }
    if !template.container_registry_auth_id.is_empty() {
        body["registry"] = template.container_registry_auth_id.as_str().into();
    }
}

fn hardware_into(body: &mut Value, input: &EndpointInput) {
    if let Some(instances) = input.instance_ids.as_ref().filter(|instances| !instances.is_empty()) {
        body["cpu"] = instances.clone().into();
        return;
    }
    let Some(ids) = &input.gpu_ids else { return };
    let (excluded, pools): (Vec<String>, Vec<String>) =
        list_of(ids).into_iter().partition(|id| id.starts_with('-'));
    let excluded: Vec<String> = excluded.into_iter().map(|id| id[1..].to_owned()).collect();
    body["gpu"] = json!({ "pools": pools, "count": input.gpu_count.unwrap_or(1) });
    if !excluded.is_empty() {
        body["gpu"]["excludedTypes"] = excluded.into();
    }
}

fn volumes_into(body: &mut Value, input: &EndpointInput) {
    let several = input.network_volume_ids.iter().flatten().map(|volume| &volume.network_volume_id);
    let ids: Vec<&String> = input.network_volume_id.iter().chain(several).collect();
    if !ids.is_empty() {
        body["networkVolumes"] = ids.into_iter().map(|id| json!({ "id": id })).collect();
    }
}

fn list_of(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Reads an endpoint; only the ID has to be there.
pub(super) fn read(value: &Value) -> Option<RemoteEndpoint> {
    let text = |name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(RemoteEndpoint {
        id: text("id")?,
        name: text("name").unwrap_or_default(),
        template_id: text("templateId"),
        key: text("aiKey"),
        kind: text("type").map(|kind| match kind.as_str() {
            "QUEUE" => "QB".to_owned(),
            "LOAD_BALANCER" => "LB".to_owned(),
            _ => kind,
        }),
        workers_min: value["workers"]["min"].as_i64(),
        workers_max: value["workers"]["max"].as_i64(),
        warnings: Vec::new(),
    })
}

/// The variables of an endpoint as it is.
pub(super) fn env_of(endpoint: &Value) -> Vec<EnvironmentVariable> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match &endpoint["env"] {
        Value::Object(variables) => variables
            .iter()
            .filter_map(|(key, value)| Some(EnvironmentVariable { key: key.clone(), value: text(value)? }))
            .collect(),
        Value::Array(list) => list
            .iter()
            .filter_map(|item| {
                Some(EnvironmentVariable { key: text(&item["key"])?, value: text(&item["value"])? })
            })
            .collect(),
        _ => Vec::new(),
    }
}
