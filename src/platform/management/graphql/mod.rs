//! `/graphql` (`platform.md` 5.1): parsed, checked against a schema, then carried out.
//!
//! Answers are 200 with `data` or `errors`; a wrong token is a 401.

mod error;
mod input;
mod mutation;
mod objects;
mod plan;
mod query;
mod schema;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::error::QueryError;
pub(super) use self::objects::{compute_type, scaler_value};
use self::plan::{Plan, PlanField};
pub(super) use self::query::no_pods;
use self::schema::{base_name, schema};
use super::Management;
use super::caller::{Session, Unauthorized, read_body};
use super::problem::{method_not_allowed, ok};

/// What needs no token: who logs in has none yet.
const OPEN: [&str; 3] = ["createFlashAuthRequest", "flashAuthRequestStatus", "__typename"];

/// Builds the router.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new().route("/graphql", post(answer).fallback(method_not_allowed))
}

#[derive(Deserialize)]
struct Question {
    query: String,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(default, rename = "operationName")]
    operation: Option<String>,
}

async fn answer(Shared(management): Shared<Arc<Management>>, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    // Older clients send the token in the address.
    if !parts.headers.contains_key(header::AUTHORIZATION)
        && let Some(token) = query_token(parts.uri.query())
    {
        parts.headers.insert(header::AUTHORIZATION, token);
    }
    let account = management.account_of(&parts);
    let base = management.base(&parts);
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let planned = serde_json::from_slice::<Question>(&body)
        .map_err(|_| QueryError("Must provide query string.".to_owned()))
        .and_then(|question| {
            let variables = question.variables.unwrap_or_default();
            plan::plan(&question.query, question.operation.as_deref(), &variables)
        });
    let account = match (account, &planned) {
        (Some(account), _) => account,
        (None, Ok(plan)) if plan.fields.iter().all(|field| OPEN.contains(&field.name.as_str())) => {
            String::new()
        }
        (None, _) => return Unauthorized.into_response(),
    };
    match planned {
        Ok(plan) => ok(&execute(&management, &Session { account, base }, &plan).await),
        Err(error) => failed(StatusCode::OK, &error.to_string()),
    }
}

fn query_token(query: Option<&str>) -> Option<HeaderValue> {
    let token = query?.split('&').find_map(|pair| pair.strip_prefix("api_key="))?;
    HeaderValue::from_str(&urlencoding::decode(token).ok()?).ok()
}

fn failed(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "errors": [{ "message": message }] }))).into_response()
}

/// Carries an operation out, field after field.
async fn execute(management: &Arc<Management>, session: &Session, plan: &Plan) -> Value {
    let mut data = Map::new();
    let mut errors = Vec::new();
    for field in &plan.fields {
        let value = if field.name == "__typename" {
            Ok(Value::String(field.parent.clone()))
        } else if plan.is_mutation {
            mutation::mutate(management, session, &field.name, &field.arguments).await
        } else {
            query::root(management, session, &field.name, &field.arguments)
        };
        let value = value.and_then(|value| give(management, session, field, value));
        match value {
            Ok(value) => {
                data.insert(field.key.clone(), value);
            }
            Err(error) => {
                errors.push(json!({ "message": error.to_string(), "path": [field.key] }));
                data.insert(field.key.clone(), Value::Null);
            }
        }
    }
    if errors.is_empty() { json!({ "data": data }) } else { json!({ "errors": errors, "data": data }) }
}

/// Cuts a value down to what was selected of it.
fn give(
    management: &Arc<Management>,
    session: &Session,
    field: &PlanField,
    value: Value,
) -> Result<Value, QueryError> {
    if field.selection.is_empty() {
        return Ok(value);
    }
    match value {
        Value::Array(items) => items.into_iter().map(|item| give(management, session, field, item)).collect(),
        Value::Object(mut object) => {
            let mut given = Map::new();
            for child in &field.selection {
                let value = if child.name == "__typename" {
                    Value::String(type_of(field).to_owned())
                } else if child.parent == "User" {
                    query::of_user(management, session, &child.name, &child.arguments)?
                } else if object_is_used_again(&field.selection, child) {
                    object.get(&child.name).cloned().unwrap_or_default()
                } else {
                    object.remove(&child.name).unwrap_or_default()
                };
                given.insert(child.key.clone(), give(management, session, child, value)?);
            }
            Ok(Value::Object(given))
        }
        other => Ok(other),
    }
}

/// Whether another alias gives the same field.
fn object_is_used_again(selection: &[PlanField], child: &PlanField) -> bool {
    selection.iter().filter(|other| other.name == child.name).count() > 1
}

fn type_of(field: &PlanField) -> &str {
    schema().field(&field.parent, &field.name).map_or("", |known| base_name(&known.ty))
}
