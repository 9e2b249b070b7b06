//! REST version 2: `/v2/serverless` (`platform.md` 5.3).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::caller::{Session, read_body};
use super::endpoints::EndpointChange;
use super::error::ManagementError;
use super::fields::Fields;
use super::model::{Endpoint, EndpointType, FlashBoot, ScalerType, State, Template, find, owned};
use super::problem::{Problem, created, method_not_allowed, no_content, ok};
use super::templates::TemplateChange;
use super::{Management, time};

type Answer = Result<Response, Problem>;

/// Builds the router.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new()
        .route("/v2/serverless", get(list).post(create).fallback(method_not_allowed))
        .route("/v2/serverless/{id}", get(show).patch(change).delete(delete).fallback(method_not_allowed))
}

async fn list(session: Session, Shared(management): Shared<Arc<Management>>) -> Answer {
    let state = management.state();
    let endpoints: Vec<Value> = owned(&state.endpoints, &session.account)
        .into_iter()
        .map(|endpoint| endpoint_json(&state, endpoint, &session.base))
        .collect();
    Ok(ok(&json!({ "endpoints": endpoints, "pagination": { "hasNextPage": false } })))
}

async fn create(session: Session, Shared(management): Shared<Arc<Management>>, body: Body) -> Answer {
    let body = parse(body).await?;
    let change = endpoint_change(&body)?;
    let now = management.now();
    let id = management.change(|state| state.create_endpoint(&session.account, now, change)).await?;
    let state = management.state();
    Ok(created(&endpoint_json(&state, find(&state.endpoints, &session.account, &id)?, &session.base)))
}

async fn show(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
) -> Answer {
    let state = management.state();
    Ok(ok(&endpoint_json(&state, find(&state.endpoints, &session.account, &id)?, &session.base)))
}

async fn change(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let body = parse(body).await?;
    let change = endpoint_change(&body)?;
    let now = management.now();
    management.change(|state| state.update_endpoint(&session.account, &id, now, change)).await?;
    let state = management.state();
    Ok(ok(&endpoint_json(&state, find(&state.endpoints, &session.account, &id)?, &session.base)))
}

async fn delete(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path(id): Path<String>,
) -> Answer {
    management.change(|state| state.delete_endpoint(&session.account, &id)).await?;
    Ok(no_content())
}

pub(super) async fn parse(body: Body) -> Result<Value, Problem> {
    let body = read_body(body).await?;
    serde_json::from_slice(&body)
        .map_err(|error| ManagementError::Invalid(format!("the body is not JSON: {error}")).into())
}

/// An endpoint as this version shows it.
pub(super) fn endpoint_json(state: &State, endpoint: &Endpoint, base: &str) -> Value {
    let template = state.templates.get(&endpoint.template_id).map(|template| &**template);
    let mut workers = json!({ "min": endpoint.workers_min, "max": endpoint.workers_max });
    if !(endpoint.kind == EndpointType::Queue && endpoint.scaler_type == ScalerType::RequestCount) {
        workers["idleTimeout"] = endpoint.idle_timeout.into();
    }
    let mut value = json!({
        "id": endpoint.id,
        "name": endpoint.name,
        "type": type_name(endpoint.kind),
        "templateId": endpoint.template_id,
        "image": template.map(|template| &template.image),
        "args": template.map(|template| &template.docker_args),
        "disk": template.map(|template| template.container_disk_gb),
        "ports": template.map(|template| list_of(&template.ports)),
        "env": template.map(env_json),
        "registry": template.map(|template| &template.registry_id).filter(|id| !id.is_empty()),
        "gpu": gpu_json(endpoint),
        "cpu": endpoint.instance_ids,
        "workers": workers,
        "scaling": scaling_json(endpoint),
        "dataCenterIds": list_of(&endpoint.locations),
        "networkVolumes": volumes_json(state, endpoint),
        "timeout": if endpoint.execution_timeout_ms == 0 { 600_000 } else { endpoint.execution_timeout_ms },
        "flashboot": endpoint.flash_boot.as_str(),
        "requestUrls": request_urls(endpoint, base),
        "createdAt": time::text(endpoint.created_at),
    });
    if !endpoint.command.is_empty() {
        value["command"] = endpoint.command.clone().into();
        value["directory"] = endpoint.directory.as_ref().map(|path| path.to_string_lossy()).into();
    }
    value
}

fn type_name(kind: EndpointType) -> &'static str {
    match kind {
        EndpointType::Queue => "QUEUE",
        EndpointType::LoadBalanced => "LOAD_BALANCER",
    }
}

pub(super) fn env_json(template: &Template) -> Value {
    template.env.iter().map(|variable| (variable.key.clone(), Value::from(variable.value.as_str()))).collect()
}

fn gpu_json(endpoint: &Endpoint) -> Value {
    if !endpoint.instance_ids.is_empty() {
        return Value::Null;
    }
    let (excluded, pools): (Vec<String>, Vec<String>) =
        list_of(&endpoint.gpu_ids).into_iter().partition(|id| id.starts_with('-'));
    let excluded: Vec<&str> = excluded.iter().map(|id| id.trim_start_matches('-')).collect();
    json!({ "pools": pools, "excludedTypes": excluded, "count": endpoint.gpu_count })
}

fn scaling_json(endpoint: &Endpoint) -> Value {
    let (name, value) = match endpoint.scaler_type {
        ScalerType::QueueDelay => ("queueDelay", number(endpoint.scaler_value)),
        ScalerType::RequestCount => ("requestCount", number(endpoint.scaler_value)),
    };
    json!({ "type": endpoint.scaler_type.as_str(), name: value })
}

/// A number as people write it: without `.0`.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

fn volumes_json(state: &State, endpoint: &Endpoint) -> Value {
    let volume = |id: &String| {
        let center = state.volumes.get(id).map(|volume| volume.data_center_id.as_str());
        json!({ "id": id, "dataCenterId": center })
    };
    endpoint.volume_ids.iter().map(volume).collect()
}

fn request_urls(endpoint: &Endpoint, base: &str) -> Value {
    let id = &endpoint.id;
    match endpoint.kind {
        EndpointType::LoadBalanced => {
            let base = format!("{base}/lb/{id}");
            json!({ "base": base, "health": format!("{base}/ping") })
        }
        EndpointType::Queue => {
            let url = |path: &str| format!("{base}/v2/{id}/{path}");
            json!({
                "run": url("run"),
                "runSync": url("runsync"),
                "status": url("status/:id"),
                "stream": url("stream/:id"),
                "cancel": url("cancel/:id"),
                "retry": url("retry/:id"),
                "purgeQueue": url("purge-queue"),
                "health": url("health"),
            })
        }
    }
}

/// The parts of a comma list.
pub(super) fn list_of(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn endpoint_change(body: &Value) -> Result<EndpointChange, ManagementError> {
    let fields = Fields::of(body)?;
    let mut change = EndpointChange {
        name: fields.text("name")?,
        kind: fields.read("type", "QUEUE or LOAD_BALANCER", |value| match value.as_str()? {
            "QUEUE" | "QB" => Some(EndpointType::Queue),
            "LOAD_BALANCER" | "LB" => Some(EndpointType::LoadBalanced),
            _ => None,
        })?,
        template_id: fields.text("templateId")?,
        instance_ids: fields.read("cpu", "a list of CPU instances", |value| {
            let id = |item: &Value| item.as_str().or_else(|| item.get("id")?.as_str()).map(str::to_owned);
            value.as_array()?.iter().map(id).collect()
        })?,
        locations: fields.texts("dataCenterIds")?.map(|centers| centers.join(",")),
        volume_ids: fields.read("networkVolumes", "a list of network volumes", |value| {
            let id = |item: &Value| {
                let id = item.as_str().or_else(|| item.get("id")?.as_str());
                id.or_else(|| item.get("networkVolumeId")?.as_str()).map(str::to_owned)
            };
            value.as_array()?.iter().map(id).collect()
        })?,
        execution_timeout_ms: fields.milliseconds("timeout")?,
        flash_boot: fields.read("flashboot", "OFF, FLASHBOOT or PRIORITY_FLASHBOOT", flash_boot)?,
        environment_id: fields.text_or_null("flashEnvironmentId")?,
        command: fields.texts("command")?,
        directory: fields.text("directory")?.map(Into::into),
        template: template_part(&fields)?,
        ..EndpointChange::default()
    };
    if let Some(gpu) = fields.object("gpu", "gpu.")? {
        let mut ids = gpu.texts("pools")?;
        if let Some(excluded) = gpu.texts("excludedTypes")? {
            ids.get_or_insert_default().extend(excluded.into_iter().map(|id| format!("-{id}")));
        }
        change.gpu_ids = ids.map(|ids| ids.join(","));
        change.gpu_count = gpu.count("count")?;
    }
    if let Some(workers) = fields.object("workers", "workers.")? {
        change.workers_min = workers.count("min")?;
        change.workers_max = workers.count("max")?;
        change.idle_timeout = workers.count("idleTimeout")?;
    }
    if let Some(scaling) = fields.object("scaling", "scaling.")? {
        change.scaler_type = scaling.read("type", "QUEUE_DELAY or REQUEST_COUNT", scaler_type)?;
        let delay = scaling.number("queueDelay")?;
        change.scaler_value = delay.or(scaling.count("requestCount")?.map(f64::from));
    }
    Ok(change)
}

pub(super) fn flash_boot(value: &Value) -> Option<FlashBoot> {
    match value.as_str()? {
        "OFF" | "" => Some(FlashBoot::Off),
        "FLASHBOOT" => Some(FlashBoot::Flashboot),
        "PRIORITY_FLASHBOOT" => Some(FlashBoot::PriorityFlashboot),
        _ => None,
    }
}

pub(super) fn scaler_type(value: &Value) -> Option<ScalerType> {
    match value.as_str()? {
        "QUEUE_DELAY" => Some(ScalerType::QueueDelay),
        "REQUEST_COUNT" => Some(ScalerType::RequestCount),
        _ => None,
    }
}

/// What an endpoint's body says about its template.
fn template_part(fields: &Fields<'_>) -> Result<Option<TemplateChange>, ManagementError> {
    const NAMES: [&str; 6] = ["image", "args", "disk", "ports", "env", "registry"];
    if !NAMES.iter().any(|name| fields.get(name).is_some()) {
        return Ok(None);
    }
    let change = template_fields(fields)?;
    Ok(Some(TemplateChange { name: None, ..change }))
}

/// Fields of a template, which an endpoint's body may have as its own.
pub(super) fn template_fields(fields: &Fields<'_>) -> Result<TemplateChange, ManagementError> {
    let ports = fields.read("ports", "a list of ports such as `8000/http`", |value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(ports) => {
            let texts: Option<Vec<&str>> = ports.iter().map(Value::as_str).collect();
            Some(texts?.join(","))
        }
        _ => None,
    })?;
    let registry = fields.read("registry", "the ID of a registry auth", |value| {
        value.as_str().or_else(|| value.get("id")?.as_str()).map(str::to_owned)
    })?;
    Ok(TemplateChange {
        name: fields.text("name")?,
        image: fields.text("image")?,
        docker_args: fields.text("args")?,
        container_disk_gb: fields.count("disk")?,
        ports,
        env: fields.variables("env")?,
        readme: fields.text("readme")?,
        registry_id: registry,
        is_serverless: fields.flag("serverless")?,
        is_public: fields.flag("public")?,
        ..TemplateChange::default()
    })
}
