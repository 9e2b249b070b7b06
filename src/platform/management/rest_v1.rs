//! REST version 1: endpoints (`platform.md` 5.2). Lists are bare arrays.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::caller::Session;
use super::endpoints::EndpointChange;
use super::error::ManagementError;
use super::fields::Fields;
use super::graphql::{compute_type, scaler_value};
use super::model::{Endpoint, EndpointType, FlashBoot, State, find, owned};
use super::problem::{Problem, method_not_allowed, no_content, ok};
use super::rest_v1_resources::template_json;
use super::rest_v2::{env_json, list_of, parse, scaler_type};
use super::templates::TemplateChange;
use super::{Management, time};
use crate::catalog::cpu::{CPU_INSTANCES, instance_by_value};
use crate::catalog::gpu::{
    GpuChoice, gpu_ids, group_by_member, parse_gpu_ids, type_by_member, type_by_value, types_of_pool,
};

type Answer = Result<Response, Problem>;
type Managed = Shared<Arc<Management>>;
type Parameters = Query<Vec<(String, String)>>;

/// Builds the router.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new()
        .route("/v1/endpoints", get(list).post(create).fallback(method_not_allowed))
        .route("/v1/endpoints/{id}", get(show).patch(change).delete(delete).fallback(method_not_allowed))
        .route("/v1/endpoints/{id}/update", post(change).fallback(method_not_allowed))
}

/// What an answer has beside the endpoint itself.
struct Extras {
    has_template: bool,
    has_workers: bool,
}

impl Extras {
    fn of(parameters: &Parameters) -> Self {
        let has = |name: &str| parameters.iter().any(|(key, value)| key == name && value != "false");
        Self { has_template: has("includeTemplate"), has_workers: has("includeWorkers") }
    }
}

async fn list(session: Session, Shared(management): Managed, parameters: Parameters) -> Answer {
    let state = management.state();
    let extras = Extras::of(&parameters);
    let endpoints: Vec<Value> = owned(&state.endpoints, &session.account)
        .into_iter()
        .map(|endpoint| endpoint_json(&management, &state, endpoint, &extras))
        .collect();
    Ok(ok(&Value::Array(endpoints)))
}

async fn create(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = endpoint_change(&parse(body).await?)?;
    let now = management.now();
    let id = management.change(|state| state.create_endpoint(&session.account, now, change)).await?;
    answer(&management, &session, &id, &Extras { has_template: false, has_workers: false })
}

async fn show(
    session: Session,
    Shared(management): Managed,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer {
    answer(&management, &session, &id, &Extras::of(&parameters))
}

async fn change(session: Session, Shared(management): Managed, Path(id): Path<String>, body: Body) -> Answer {
    let change = endpoint_change(&parse(body).await?)?;
    let now = management.now();
    management.change(|state| state.update_endpoint(&session.account, &id, now, change)).await?;
    answer(&management, &session, &id, &Extras { has_template: false, has_workers: false })
}

async fn delete(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    management.change(|state| state.delete_endpoint(&session.account, &id)).await?;
    Ok(no_content())
}

fn answer(management: &Management, session: &Session, id: &str, extras: &Extras) -> Answer {
    let state = management.state();
    let endpoint = find(&state.endpoints, &session.account, id)?;
    Ok(ok(&endpoint_json(management, &state, endpoint, extras)))
}

fn endpoint_json(management: &Management, state: &State, endpoint: &Endpoint, extras: &Extras) -> Value {
    let template = state.templates.get(&endpoint.template_id);
    let instances = endpoint.instance_ids.iter().filter_map(|id| instance_by_value(id));
    let mut flavors: Vec<&str> = instances.clone().filter_map(|cpu| cpu.value.split('-').next()).collect();
    flavors.dedup();
    let mut value = json!({
        "id": endpoint.id,
        "name": endpoint.name,
        "computeType": compute_type(endpoint),
        "gpuTypeIds": gpu_type_ids(endpoint),
        "gpuCount": endpoint.gpu_count,
        "instanceIds": endpoint.instance_ids,
        "cpuFlavorIds": flavors,
        "vcpuCount": instances.map(|cpu| cpu.vcpu).next(),
        "dataCenterIds": list_of(&endpoint.locations),
        "networkVolumeId": endpoint.volume_ids.first(),
        "networkVolumeIds": endpoint.volume_ids,
        "allowedCudaVersions": list_of(&endpoint.allowed_cuda_versions),
        "minCudaVersion": Some(&endpoint.min_cuda_version).filter(|version| !version.is_empty()),
        "idleTimeout": endpoint.idle_timeout,
        "scalerType": endpoint.scaler_type.as_str(),
        "scalerValue": scaler_value(endpoint),
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "executionTimeoutMs": endpoint.execution_timeout_ms,
        "flashboot": endpoint.flash_boot != FlashBoot::Off,
        "templateId": endpoint.template_id,
        "env": template.map(|template| env_json(template)),
        "userId": endpoint.account,
        "version": endpoint.version,
        "createdAt": time::text(endpoint.created_at),
    });
    if extras.has_template {
        value["template"] = template.map_or(Value::Null, |template| template_json(template));
    }
    if extras.has_workers {
        let workers = management.platform.workers(&endpoint.id).unwrap_or_default();
        let workers = workers.into_iter().filter(|worker| worker.started.is_some());
        value["workers"] = workers
            .map(|worker| {
                json!({
                    "id": worker.id,
                    "endpointId": endpoint.id,
                    "desiredStatus": "RUNNING",
                    "image": template.map(|template| &template.image),
                })
            })
            .collect();
    }
    value
}

/// The GPU types that `gpuIds` (pools, without some types) means.
fn gpu_type_ids(endpoint: &Endpoint) -> Vec<&'static str> {
    let mut types = Vec::new();
    for choice in parse_gpu_ids(&endpoint.gpu_ids) {
        match choice {
            GpuChoice::Group(member) => {
                let pool = group_by_member(&member).map_or("", |group| group.value);
                types.extend(types_of_pool(pool).map(|gpu| gpu.value));
            }
            GpuChoice::Type(member) => types.extend(type_by_member(&member).map(|gpu| gpu.value)),
        }
    }
    types
}

fn endpoint_change(body: &Value) -> Result<EndpointChange, ManagementError> {
    let fields = Fields::of(body)?;
    let several = fields.texts("networkVolumeIds")?;
    let single = fields.text_or_null("networkVolumeId")?.map(|id| vec![id]);
    let env = fields.variables("env")?;
    let instances = match fields.texts("instanceIds")? {
        Some(instances) => Some(instances),
        None => fields.texts("cpuFlavorIds")?.map(|flavors| instances(&flavors, fields.count("vcpuCount"))),
    };
    Ok(EndpointChange {
        name: fields.text("name")?,
        kind: fields.read("type", "QB or LB", |value| match value.as_str()? {
            "QB" | "QUEUE" => Some(EndpointType::Queue),
            "LB" | "LOAD_BALANCER" => Some(EndpointType::LoadBalanced),
            _ => None,
        })?,
        template_id: fields.text("templateId")?,
        template: env.map(|env| TemplateChange { env: Some(env), ..TemplateChange::default() }),
        gpu_ids: fields.texts("gpuTypeIds")?.map(|ids| gpu_ids_of(&ids)).transpose()?,
        gpu_count: fields.count("gpuCount")?,
        instance_ids: instances,
        volume_ids: several.or(single),
        locations: fields.texts("dataCenterIds")?.map(|centers| centers.join(",")),
        idle_timeout: fields.count("idleTimeout")?,
        scaler_type: fields.read("scalerType", "QUEUE_DELAY or REQUEST_COUNT", scaler_type)?,
        scaler_value: fields.number("scalerValue")?,
        workers_min: fields.count("workersMin")?,
        workers_max: fields.count("workersMax")?,
        execution_timeout_ms: fields.milliseconds("executionTimeoutMs")?,
        allowed_cuda_versions: fields.texts("allowedCudaVersions")?.map(|versions| versions.join(",")),
        min_cuda_version: fields.text("minCudaVersion")?,
        flash_boot: fields
            .flag("flashboot")?
            .map(|is_on| if is_on { FlashBoot::Flashboot } else { FlashBoot::Off }),
        ..EndpointChange::default()
    })
}

fn gpu_ids_of(types: &[String]) -> Result<String, ManagementError> {
    let choice = |id: &String| {
        let known = type_by_value(id).map(|gpu| GpuChoice::Type(gpu.member.to_owned()));
        known.ok_or_else(|| ManagementError::Invalid(format!("there is no GPU type `{id}`")))
    };
    let choices: Result<Vec<GpuChoice>, ManagementError> = types.iter().map(choice).collect();
    Ok(gpu_ids(&choices?))
}

/// The instances of CPU flavors that have so many virtual CPUs.
fn instances(flavors: &[String], vcpus: Result<Option<u32>, ManagementError>) -> Vec<String> {
    let vcpus = vcpus.ok().flatten().unwrap_or(2);
    let of_flavor = |flavor: &String| {
        CPU_INSTANCES.iter().find(|cpu| cpu.vcpu == vcpus && cpu.value.starts_with(&format!("{flavor}-")))
    };
    flavors.iter().filter_map(of_flavor).map(|cpu| cpu.value.to_owned()).collect()
}
