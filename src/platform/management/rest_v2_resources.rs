//! REST version 2: templates, network volumes, registries, and the catalog.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::{any, get};
use serde_json::{Value, json};

use super::caller::Session;
use super::error::ManagementError;
use super::fields::Fields;
use super::model::{Registry, Template, Volume, find, owned};
use super::problem::{Problem, created, method_not_allowed, no_content, no_route, ok};
use super::registries::RegistryChange;
use super::rest_v2::{env_json, list_of, parse, template_fields};
use super::volumes::VolumeChange;
use super::{Management, time};
use crate::catalog::cpu::CPU_INSTANCES;
use crate::catalog::data_center::DATA_CENTERS;
use crate::catalog::gpu::{GPU_GROUPS, types_of_pool};

type Answer = Result<Response, Problem>;
type Managed = Shared<Arc<Management>>;

/// Words under `/v2/` that are the management API's, never an endpoint's ID (`platform.md` 5.3).
const COLLECTIONS: [&str; 4] = ["serverless", "templates", "network-volumes", "registries"];
/// The rest of them, with nothing behind but the catalog.
const OTHERS: [&str; 6] = ["catalog", "pods", "clusters", "global-volumes", "billing", "account"];

/// Builds the router.
pub(super) fn router() -> Router<Arc<Management>> {
    let mut router = Router::new()
        .route("/v2/templates", get(templates).post(create_template).fallback(method_not_allowed))
        .route(
            "/v2/templates/{id}",
            get(template).patch(change_template).delete(delete_template).fallback(method_not_allowed),
        )
        .route("/v2/network-volumes", get(volumes).post(create_volume).fallback(method_not_allowed))
        .route(
            "/v2/network-volumes/{id}",
            get(volume).patch(change_volume).delete(delete_volume).fallback(method_not_allowed),
        )
        .route("/v2/registries", get(registries).post(create_registry).fallback(method_not_allowed))
        .route(
            "/v2/registries/{id}",
            get(registry).patch(change_registry).delete(delete_registry).fallback(method_not_allowed),
        )
        .route("/v2/catalog/gpus", get(gpus).fallback(method_not_allowed))
        .route("/v2/catalog/cpus", get(cpus).fallback(method_not_allowed))
        .route("/v2/catalog/datacenters", get(data_centers).fallback(method_not_allowed))
        .route("/v2/catalog/templates", get(public_templates).fallback(method_not_allowed));
    for word in COLLECTIONS {
        router = router.route(&format!("/v2/{word}/{{id}}/{{*rest}}"), any(no_route));
    }
    for word in OTHERS {
        router = router.route(&format!("/v2/{word}"), any(no_route));
        router = router.route(&format!("/v2/{word}/{{*rest}}"), any(no_route));
    }
    router
}

fn wrapped(name: &str, list: impl IntoIterator<Item = Value>) -> Response {
    let list: Vec<Value> = list.into_iter().collect();
    ok(&json!({ name: list, "pagination": { "hasNextPage": false } }))
}

async fn templates(session: Session, Shared(management): Managed) -> Answer {
    let state = management.state();
    let templates = owned(&state.templates, &session.account);
    Ok(wrapped("templates", templates.into_iter().map(|template| template_json(template))))
}

async fn create_template(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = template_fields(&Fields::of(&parse(body).await?)?)?;
    let now = management.now();
    let id = management.change(|state| state.create_template(&session.account, now, change)).await?;
    Ok(created(&template_json(find(&management.state().templates, &session.account, &id)?)))
}

async fn template(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    Ok(ok(&template_json(find(&management.state().templates, &session.account, &id)?)))
}

async fn change_template(
    session: Session,
    Shared(management): Managed,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let change = template_fields(&Fields::of(&parse(body).await?)?)?;
    management.change(|state| state.update_template(&session.account, &id, change)).await?;
    template(session, Shared(management), Path(id)).await
}

async fn delete_template(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    management.change(|state| state.delete_template(&session.account, &id)).await?;
    Ok(no_content())
}

fn template_json(template: &Template) -> Value {
    json!({
        "id": template.id,
        "name": template.name,
        "image": template.image,
        "args": template.docker_args,
        "disk": template.container_disk_gb,
        "ports": list_of(&template.ports),
        "env": env_json(template),
        "registry": Some(&template.registry_id).filter(|id| !id.is_empty()),
        "readme": template.readme,
        "serverless": template.is_serverless,
        "public": template.is_public,
        "createdAt": time::text(template.created_at),
    })
}

async fn volumes(session: Session, Shared(management): Managed) -> Answer {
    let state = management.state();
    let volumes = owned(&state.volumes, &session.account);
    Ok(wrapped("networkVolumes", volumes.into_iter().map(|volume| volume_json(volume))))
}

async fn create_volume(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = volume_change(&parse(body).await?)?;
    let id = management.create_volume(&session.account, change).await?;
    Ok(created(&volume_json(find(&management.state().volumes, &session.account, &id)?)))
}

async fn volume(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    Ok(ok(&volume_json(find(&management.state().volumes, &session.account, &id)?)))
}

async fn change_volume(
    session: Session,
    Shared(management): Managed,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let change = volume_change(&parse(body).await?)?;
    management.change(|state| state.update_volume(&session.account, &id, change)).await?;
    volume(session, Shared(management), Path(id)).await
}

async fn delete_volume(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    management.change(|state| state.delete_volume(&session.account, &id)).await?;
    Ok(no_content())
}

/// What a body says about a volume, in all versions.
pub(super) fn volume_change(body: &Value) -> Result<VolumeChange, ManagementError> {
    let fields = Fields::of(body)?;
    Ok(VolumeChange {
        name: fields.text("name")?,
        size: fields.count("size")?,
        data_center_id: fields.text("dataCenterId")?,
    })
}

/// A volume, in all versions: the official Flash refuses further fields (`wire.md` 5.5).
pub(super) fn volume_json(volume: &Volume) -> Value {
    json!({
        "id": volume.id,
        "name": volume.name,
        "size": volume.size,
        "dataCenterId": volume.data_center_id,
    })
}

async fn registries(session: Session, Shared(management): Managed) -> Answer {
    let state = management.state();
    let registries = owned(&state.registries, &session.account);
    Ok(wrapped("registries", registries.into_iter().map(|registry| registry_json(registry))))
}

async fn create_registry(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = registry_change(&parse(body).await?)?;
    let now = management.now();
    let id = management.change(|state| state.create_registry(&session.account, now, change)).await?;
    Ok(created(&registry_json(find(&management.state().registries, &session.account, &id)?)))
}

async fn registry(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    Ok(ok(&registry_json(find(&management.state().registries, &session.account, &id)?)))
}

async fn change_registry(
    session: Session,
    Shared(management): Managed,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let change = registry_change(&parse(body).await?)?;
    management.change(|state| state.update_registry(&session.account, &id, change)).await?;
    registry(session, Shared(management), Path(id)).await
}

async fn delete_registry(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    management.change(|state| state.delete_registry(&session.account, &id)).await?;
    Ok(no_content())
}

pub(super) fn registry_change(body: &Value) -> Result<RegistryChange, ManagementError> {
    let fields = Fields::of(body)?;
    Ok(RegistryChange {
        name: fields.text("name")?,
        username: fields.text("username")?,
        password: fields.text("password")?,
    })
}

/// A registry auth without what it is for: the credentials.
pub(super) fn registry_json(registry: &Registry) -> Value {
    json!({ "id": registry.id, "name": registry.name })
}

async fn gpus(_session: Session) -> Answer {
    let pools = GPU_GROUPS.iter().skip(1);
    let types = pools.flat_map(|pool| types_of_pool(pool.value).map(move |gpu| (pool, gpu)));
    let gpus = types.map(|(pool, gpu)| {
        json!({
            "id": gpu.value,
            "name": gpu.value,
            "pool": pool.value,
            "memoryInGb": gpu.vram_gb,
            "architecture": gpu.architecture,
        })
    });
    Ok(wrapped("gpus", gpus))
}

async fn cpus(_session: Session) -> Answer {
    let cpus = CPU_INSTANCES.iter().map(|cpu| {
        json!({ "id": cpu.value, "vcpu": cpu.vcpu, "memoryInGb": cpu.ram_gb, "maxDiskInGb": cpu.max_disk_gb })
    });
    Ok(wrapped("cpus", cpus))
}

async fn data_centers(_session: Session) -> Answer {
    let centers = DATA_CENTERS.iter().map(|center| json!({ "id": center.value, "hasCpu": center.has_cpu }));
    Ok(wrapped("datacenters", centers))
}

async fn public_templates(_session: Session) -> Answer {
    // This machine has no other people's templates.
    Ok(wrapped("templates", []))
}
