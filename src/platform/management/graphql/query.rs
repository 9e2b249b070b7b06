//! What can be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::error::QueryError;
use super::objects;
use crate::catalog::cpu::CPU_INSTANCES;
use crate::catalog::data_center::DATA_CENTERS;
use crate::catalog::gpu::GPU_TYPES;
use crate::platform::management::caller::Session;
use crate::platform::management::model::{find, owned};
use crate::platform::management::{Management, ManagementError};

type Arguments = Map<String, Value>;

/// A text among the arguments; the schema has checked that required ones are there.
pub(super) fn text<'a>(arguments: &'a Arguments, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Answers a field of the query itself.
pub(super) fn root(
    management: &Arc<Management>,
    session: &Session,
    name: &str,
    arguments: &Arguments,
) -> Result<Value, QueryError> {
    let state = management.state();
    let account = session.account.as_str();
    let now = management.now();
    let input = arguments.get("input").unwrap_or(&Value::Null);
    Ok(match name {
        // Its fields are asked for one by one.
        "myself" => json!({}),
        "podTemplate" => {
            let template = find(&state.templates, account, text(arguments, "id"));
            template.map_or(Value::Null, |template| objects::template(template))
        }
        "gpuTypes" => gpu_types(input),
        "cpuFlavors" => cpu_flavors(input),
        "cpuTypes" => json!([]),
        "dataCenters" => DATA_CENTERS.iter().map(|center| objects::data_center(center.value)).collect(),
        "flashApp" => {
            let app = find(&state.apps, account, text(arguments, "flashAppId"))?;
            objects::app(&state, app, &session.base, now)
        }
        "flashAppByName" => {
            let app = state.app_by_name(account, text(arguments, "flashAppName"))?;
            objects::app(&state, app, &session.base, now)
        }
        "flashEnvironment" => {
            let environment = find(&state.environments, account, text(arguments, "flashEnvironmentId"))?;
            objects::environment(&state, environment, &session.base, now)
        }
        "flashEnvironmentByName" => {
            let app = input.get("flashAppId").and_then(Value::as_str).unwrap_or_default();
            let name = input.get("name").and_then(Value::as_str).unwrap_or_default();
            find(&state.apps, account, app)?;
            let all = state.environments_of(account, app);
            let found = all.into_iter().find(|environment| environment.name == name);
            let found = found.ok_or_else(|| ManagementError::not_found("environment", name))?;
            objects::environment(&state, found, &session.base, now)
        }
        "flashBuild" => objects::build(state.build(account, text(arguments, "flashBuildId"))?),
        "flashAuthRequestStatus" => {
            let id = text(arguments, "flashAuthRequestId");
            match management.logins.status(id, now) {
                Some(login) => objects::login(&login),
                None => json!({ "id": id, "status": "EXPIRED" }),
            }
        }
        "pod" => return Err(no_pods().into()),
        _ => return Err(QueryError(format!("`{name}` is not served here."))),
    })
}

/// Answers a field of `myself`.
pub(super) fn of_user(
    management: &Arc<Management>,
    session: &Session,
    name: &str,
    arguments: &Arguments,
) -> Result<Value, QueryError> {
    let state = management.state();
    let account = session.account.as_str();
    let now = management.now();
    Ok(match name {
        "id" => account.into(),
        "email" => format!("{account}@localhost").into(),
        "pubKey" => state.accounts.get(account).map_or("", |account| account.public_key.as_str()).into(),
        "endpoints" => owned(&state.endpoints, account)
            .into_iter()
            .map(|endpoint| objects::endpoint(&state, endpoint))
            .collect(),
        "endpoint" => {
            let endpoint = find(&state.endpoints, account, text(arguments, "id"));
            endpoint.map_or(Value::Null, |endpoint| objects::endpoint(&state, endpoint))
        }
        "networkVolumes" => {
            owned(&state.volumes, account).into_iter().map(|volume| objects::volume(volume)).collect()
        }
        "podTemplates" => {
            owned(&state.templates, account).into_iter().map(|template| objects::template(template)).collect()
        }
        "containerRegistryCreds" => owned(&state.registries, account)
            .into_iter()
            .map(|registry| objects::registry(registry))
            .collect(),
        "flashApps" => owned(&state.apps, account)
            .into_iter()
            .map(|app| objects::app(&state, app, &session.base, now))
            .collect(),
        "pods" => json!([]),
        _ => return Err(QueryError(format!("`{name}` is not served here."))),
    })
}

/// Pods are machines of their own, which this machine is not.
pub(in crate::platform::management) fn no_pods() -> ManagementError {
    ManagementError::Unsupported("pods cannot run on this machine: it serves endpoints only".to_owned())
}

fn gpu_types(input: &Value) -> Value {
    let id = input.get("id").and_then(Value::as_str);
    let ids = input.get("ids").and_then(Value::as_array);
    let is_asked_for = |value: &str, pool: &str| {
        let is = |wanted: &str| wanted == value || wanted == pool;
        id.is_none_or(is) && ids.is_none_or(|ids| ids.iter().filter_map(Value::as_str).any(is))
    };
    // The first of the table means any.
    let types = GPU_TYPES.iter().skip(1).filter(|gpu| is_asked_for(gpu.value, gpu.pool));
    types.map(objects::gpu_type).collect()
}

fn cpu_flavors(input: &Value) -> Value {
    let wanted = input.get("id").and_then(Value::as_str);
    let mut flavors: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for instance in CPU_INSTANCES {
        let flavor = instance.value.split('-').next().unwrap_or(instance.value);
        if wanted.is_none_or(|wanted| wanted == flavor) {
            flavors.entry(flavor).or_default().push(instance.vcpu);
        }
    }
    flavors.into_iter().map(|(flavor, vcpus)| objects::cpu_flavor(flavor, &vcpus)).collect()
}
