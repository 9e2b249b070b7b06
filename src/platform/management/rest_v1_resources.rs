//! REST version 1: templates, network volumes, registry auths, and what is not on this machine.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::{Value, json};

use super::Management;
use super::caller::Session;
use super::error::ManagementError;
use super::fields::Fields;
use super::graphql::no_pods;
use super::model::{Template, find, owned};
use super::problem::{Problem, method_not_allowed, no_content, no_route, ok};
use super::rest_v2::{env_json, list_of, parse};
use super::rest_v2_resources::{registry_change, registry_json, volume_change, volume_json};
use super::templates::TemplateChange;

type Answer = Result<Response, Problem>;
type Managed = Shared<Arc<Management>>;

/// Builds the router.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new()
        .route("/v1/templates", get(templates).post(create_template).fallback(method_not_allowed))
        .route(
            "/v1/templates/{id}",
            get(template).patch(change_template).delete(delete_template).fallback(method_not_allowed),
        )
        .route("/v1/templates/{id}/update", post(change_template).fallback(method_not_allowed))
        .route("/v1/networkvolumes", get(volumes).post(create_volume).fallback(method_not_allowed))
        .route(
            "/v1/networkvolumes/{id}",
            get(volume).patch(change_volume).delete(delete_volume).fallback(method_not_allowed),
        )
        .route("/v1/networkvolumes/{id}/update", post(change_volume).fallback(method_not_allowed))
        .route(
            "/v1/containerregistryauth",
            get(registries).post(create_registry).fallback(method_not_allowed),
        )
        .route(
            "/v1/containerregistryauth/{id}",
            get(registry).delete(delete_registry).fallback(method_not_allowed),
        )
        .route("/v1/billing/{of}", get(billing).fallback(method_not_allowed))
        .route("/v1/pods", any(pods))
        .route("/v1/pods/{*rest}", any(pods))
        .route("/v1/{*rest}", any(no_route))
}

async fn templates(session: Session, Shared(management): Managed) -> Answer {
    let state = management.state();
    let templates = owned(&state.templates, &session.account).into_iter();
    Ok(ok(&templates.map(|template| template_json(template)).collect()))
}

async fn create_template(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = template_change(&parse(body).await?)?;
    let now = management.now();
    let id = management.change(|state| state.create_template(&session.account, now, change)).await?;
    template(session, Shared(management), Path(id)).await
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
    let change = template_change(&parse(body).await?)?;
    management.change(|state| state.update_template(&session.account, &id, change)).await?;
    template(session, Shared(management), Path(id)).await
}

async fn delete_template(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    management.change(|state| state.delete_template(&session.account, &id)).await?;
    Ok(no_content())
}

pub(super) fn template_json(template: &Template) -> Value {
    json!({
        "id": template.id,
        "name": template.name,
        "imageName": template.image,
        "containerDiskInGb": template.container_disk_gb,
        "containerRegistryAuthId": Some(&template.registry_id).filter(|id| !id.is_empty()),
        "dockerEntrypoint": [],
    "dockerStartCmd": template.docker_args.split_whitespace().collect::<Vec<_>>(),
        "env": env_json(template),
        "ports": list_of(&template.ports),
        "readme": template.readme,
        "volumeInGb": template.volume_gb,
        "volumeMountPath": template.volume_mount_path,
        "isServerless": template.is_serverless,
        "isPublic": template.is_public,
        "isRunpod": false,
        "category": "NVIDIA",
        "earned": 0,
        "runtimeInMin": 0,
    })
}

fn template_change(body: &Value) -> Result<TemplateChange, ManagementError> {
    let fields = Fields::of(body)?;
    Ok(TemplateChange {
        name: fields.text("name")?,
        image: fields.text("imageName")?,
        docker_args: fields.texts("dockerStartCmd")?.map(|arguments| arguments.join(" ")),
        container_disk_gb: fields.count("containerDiskInGb")?,
        volume_gb: fields.count("volumeInGb")?,
        volume_mount_path: fields.text("volumeMountPath")?,
        ports: fields.texts("ports")?.map(|ports| ports.join(",")),
        env: fields.variables("env")?,
        start_script: None,
        readme: fields.text("readme")?,
        registry_id: fields.text_or_null("containerRegistryAuthId")?,
        is_serverless: fields.flag("isServerless")?,
        is_public: fields.flag("isPublic")?,
    })
}

async fn volumes(session: Session, Shared(management): Managed) -> Answer {
    let state = management.state();
    let volumes = owned(&state.volumes, &session.account).into_iter();
    Ok(ok(&volumes.map(|volume| volume_json(volume)).collect()))
}

async fn create_volume(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = volume_change(&parse(body).await?)?;
    let id = management.create_volume(&session.account, change).await?;
    volume(session, Shared(management), Path(id)).await
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

async fn registries(session: Session, Shared(management): Managed) -> Answer {
    let state = management.state();
    let registries = owned(&state.registries, &session.account).into_iter();
    Ok(ok(&registries.map(|registry| registry_json(registry)).collect()))
}

async fn create_registry(session: Session, Shared(management): Managed, body: Body) -> Answer {
    let change = registry_change(&parse(body).await?)?;
    let now = management.now();
    let id = management.change(|state| state.create_registry(&session.account, now, change)).await?;
    registry(session, Shared(management), Path(id)).await
}

async fn registry(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    Ok(ok(&registry_json(find(&management.state().registries, &session.account, &id)?)))
}

async fn delete_registry(session: Session, Shared(management): Managed, Path(id): Path<String>) -> Answer {
    management.change(|state| state.delete_registry(&session.account, &id)).await?;
    Ok(no_content())
}

async fn billing(_session: Session, Path(of): Path<String>) -> Answer {
    match of.as_str() {
        // This machine costs nothing.
        "pods" | "endpoints" | "networkvolumes" => Ok(ok(&json!([]))),
        _ => Err(no_route().await),
    }
}

async fn pods(_session: Session) -> Problem {
    no_pods().into()
}
