//! What can be changed.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::error::QueryError;
use super::query::{no_pods, text};
use super::{input, objects};
use crate::platform::management::caller::Session;
use crate::platform::management::endpoints::EndpointChange;
use crate::platform::management::fields::Fields;
use crate::platform::management::model::{Account, find, insert};
use crate::platform::management::rest_v2_resources::{registry_change, volume_change};
use crate::platform::management::uploads::{ADDRESS_LIFE, Purpose};
use crate::platform::management::{Management, ManagementError, time};

type Managed<'a> = &'a Arc<Management>;

/// Carries a field of a mutation out.
pub(super) async fn mutate(
    management: Managed<'_>,
    session: &Session,
    name: &str,
    arguments: &Map<String, Value>,
) -> Result<Value, QueryError> {
    let account = session.account.as_str();
    let input = arguments.get("input").unwrap_or(&Value::Null);
    match name {
        "saveEndpoint" | "deleteEndpoint" | "updateEndpointTemplate" => {
            endpoint(management, account, name, arguments, input).await
        }
        "saveTemplate" => {
            let change = input::template(input)?;
            let now = management.now();
            let id = input.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let id = management
                .change(|state| {
                    if id.is_empty() {
                        return state.create_template(account, now, change);
                    }
                    state.update_template(account, &id, change)?;
                    Ok(id)
                })
                .await?;
            Ok(objects::template(find(&management.state().templates, account, &id)?))
        }
        "deleteTemplate" => delete_template(management, account, arguments).await,
        "saveRegistryAuth" | "updateRegistryAuth" => {
            let change = registry_change(input)?;
            let id = input.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let now = management.now();
            let id = management
                .change(|state| {
                    if name == "saveRegistryAuth" {
                        return state.create_registry(account, now, change);
                    }
                    state.update_registry(account, &id, change)?;
                    Ok(id)
                })
                .await?;
            Ok(objects::registry(find(&management.state().registries, account, &id)?))
        }
        "deleteRegistryAuth" => {
            let id = text(arguments, "registryAuthId");
            management.change(|state| state.delete_registry(account, id)).await?;
            Ok(Value::Null)
        }
        "updateUserSettings" => {
            let key = Fields::of(input)?.text("pubKey")?;
            let now = management.now();
            management
                .change(|state| {
                    let known = state.accounts.get(account).map(|known| Account::clone(known));
                    let mut settings = known.unwrap_or_else(|| Account {
                        id: account.to_owned(),
                        account: account.to_owned(),
                        created_at: now,
                        token: None,
                        public_key: String::new(),
                    });
                    if let Some(key) = key {
                        settings.public_key = key;
                    }
                    insert(&mut state.accounts, settings);
                    Ok(())
                })
                .await?;
            Ok(json!({}))
        }
        "createNetworkVolume" => {
            let id = management.create_volume(account, volume_change(input)?).await?;
            Ok(objects::volume(find(&management.state().volumes, account, &id)?))
        }
        "updateNetworkVolume" => {
            let id = text_of(input, "id");
            let change = volume_change(input)?;
            management.change(|state| state.update_volume(account, id, change)).await?;
            Ok(objects::volume(find(&management.state().volumes, account, id)?))
        }
        "deleteNetworkVolume" => {
            management.change(|state| state.delete_volume(account, text_of(input, "id"))).await?;
            Ok(Value::Null)
        }
        "createFlashAuthRequest" => Ok(objects::login(&management.logins.create(management.now())?)),
        "podFindAndDeployOnDemand" | "podRentInterruptable" | "podStop" | "podResume" | "podTerminate" => {
            Err(no_pods().into())
        }
        _ => app(management, session, name, arguments, input).await,
    }
}

fn text_of<'a>(input: &'a Value, name: &str) -> &'a str {
    input.get(name).and_then(Value::as_str).unwrap_or_default()
}

async fn endpoint(
    management: Managed<'_>,
    account: &str,
    name: &str,
    arguments: &Map<String, Value>,
    input: &Value,
) -> Result<Value, QueryError> {
    let now = management.now();
    let id = match name {
        "deleteEndpoint" => {
            let id = text(arguments, "id");
            management.change(|state| state.delete_endpoint(account, id)).await?;
            return Ok(Value::Null);
        }
        "updateEndpointTemplate" => {
            let id = text_of(input, "endpointId").to_owned();
            let template_id = Some(text_of(input, "templateId").to_owned());
            let change = EndpointChange { template_id, ..EndpointChange::default() };
            management.change(|state| state.update_endpoint(account, &id, now, change)).await?;
            id
        }
        _ => {
            let change = input::endpoint(input)?;
            let id = text_of(input, "id").to_owned();
            management
                .change(|state| {
                    if id.is_empty() {
                        return state.create_endpoint(account, now, change);
                    }
                    state.replace_endpoint(account, &id, now, change)?;
                    Ok(id)
                })
                .await?
        }
    };
    let state = management.state();
    Ok(objects::endpoint(&state, find(&state.endpoints, account, &id)?))
}

async fn delete_template(
    management: Managed<'_>,
    account: &str,
    arguments: &Map<String, Value>,
) -> Result<Value, QueryError> {
    let (id, name) = (text(arguments, "templateId"), text(arguments, "templateName"));
    management
        .change(|state| {
            let found = state.templates.values().find(|template| {
                template.account == account && (template.id == id || (id.is_empty() && template.name == name))
            });
            let found = found.ok_or_else(|| ManagementError::not_found("template", name))?.id.clone();
            state.delete_template(account, &found)
        })
        .await?;
    Ok(Value::Null)
}

/// The life cycle of Flash apps.
async fn app(
    management: Managed<'_>,
    session: &Session,
    name: &str,
    arguments: &Map<String, Value>,
    input: &Value,
) -> Result<Value, QueryError> {
    let account = session.account.as_str();
    let now = management.now();
    match name {
        "createFlashApp" => {
            let id =
                management.change(|state| state.create_app(account, now, text_of(input, "name"))).await?;
            let state = management.state();
            Ok(objects::app(&state, find(&state.apps, account, &id)?, &session.base, now))
        }
        "deleteFlashApp" => {
            management.change(|state| state.delete_app(account, text(arguments, "flashAppId"))).await?;
            Ok(Value::Null)
        }
        "createFlashEnvironment" => {
            let (app, name) = (text_of(input, "flashAppId"), text_of(input, "name"));
            let id = management.change(|state| state.create_environment(account, now, app, name)).await?;
            environment(management, session, &id)
        }
        "deleteFlashEnvironment" => {
            let id = text(arguments, "flashEnvironmentId");
            management.change(|state| state.delete_environment(account, id)).await?;
            Ok(Value::Null)
        }
        "prepareFlashArtifactUpload" => {
            let app = text_of(input, "flashAppId");
            let size = input.get("tarballSize").and_then(Value::as_u64).unwrap_or(0);
            let old = now.saturating_sub(ADDRESS_LIFE);
            let build = management.change(|state| state.prepare_build(account, now, old, app, size)).await?;
            let expires = now + ADDRESS_LIFE;
            Ok(json!({
                "uploadUrl": build.address(&session.base, Purpose::Upload, expires),
                "objectKey": build.object_key,
                "expiresAt": time::text(expires),
            }))
        }
        "finalizeFlashArtifactUpload" => {
            let (app, key) = (text_of(input, "flashAppId"), text_of(input, "objectKey"));
            let manifest = input.get("manifest").cloned().unwrap_or_default();
            let id = management.change(|state| state.finalize_build(account, app, key, manifest)).await?;
            Ok(objects::build(management.state().build(account, &id)?))
        }
        "updateFlashBuildManifest" => {
            let id = text_of(input, "flashBuildId");
            let manifest = input.get("manifest").cloned().unwrap_or_default();
            management.change(|state| state.update_manifest(account, id, manifest)).await?;
            Ok(objects::build(management.state().build(account, id)?))
        }
        "deployBuildToEnvironment" => {
            let (id, build) = (text_of(input, "flashEnvironmentId"), text_of(input, "flashBuildId"));
            management.change(|state| state.deploy(account, id, build)).await?;
            environment(management, session, id)
        }
        _ => Err(QueryError(format!("`{name}` is not served here."))),
    }
}

fn environment(management: Managed<'_>, session: &Session, id: &str) -> Result<Value, QueryError> {
    let state = management.state();
    let environment = find(&state.environments, &session.account, id)?;
    Ok(objects::environment(&state, environment, &session.base, management.now()))
}
