//! The control plane over REST v2 (`platform.md` 5.3).

use reqwest::Method;
use serde_json::Value;

use super::graphql::{Graph, gone, malformed};
use super::input::{EndpointInput, RemoteEndpoint};
use super::rest_v2_fields::{body_of, env_of, read};
use super::send::{Question, Repeat, Sender};
use super::volumes::Volumes;
use super::{Plane, merge, prices};
use crate::runpod::client::Client;
use crate::runpod::error::{ErrorKind, RunpodError};

/// Most pages of a list: a server that never ends one must not hold anybody.
const PAGES: usize = 1000;

/// Sends REST requests.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    pub(super) sender: Sender,
}

impl Rest {
    /// Sends a request and returns the JSON of its answer; null where it has no body.
    pub(super) async fn ask(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        repeat: Repeat,
    ) -> Result<Value, RunpodError> {
        let question = Question { operation, method, path, body, repeat, has_key: true };
        let sender = &self.sender;
        sender
            .send(&question, |answer, secrets| {
                if answer.body.is_empty() {
                    return Ok(Value::Null);
                }
                serde_json::from_slice(&answer.body).map_err(|_| {
                    let reason = "something that is not JSON";
                    sender.refusal(&question, ErrorKind::Unavailable, reason, answer, secrets)
                })
            })
            .await
    }

    /// Returns what is at a path, `None` where Runpod's API itself says that there is nothing.
    pub(super) async fn find(&self, operation: &str, path: &str) -> Result<Option<Value>, RunpodError> {
        match self.ask(operation, Method::GET, path, None, Repeat::Safe).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all entries of a list, page after page.
    pub(super) async fn all(
        &self,
        operation: &str,
        path: &str,
        name: &str,
    ) -> Result<Vec<Value>, RunpodError> {
        let mut all = Vec::new();
        let mut cursor = None::<String>;
        for _ in 0..PAGES {
            let page = match &cursor {
                Some(cursor) => format!("{path}?cursor={}", urlencoding::encode(cursor)),
                None => path.to_owned(),
            };
            let mut answer = self.ask(operation, Method::GET, &page, None, Repeat::Safe).await?;
            match answer[name].take() {
                Value::Array(entries) => all.extend(entries),
                _ => return Err(malformed(operation, &format!("the answer has no list `{name}`"))),
            }
            let pagination = &answer["pagination"];
            let next = pagination["nextCursor"].as_str().filter(|next| cursor.as_deref() != Some(*next));
            match next {
                Some(next) if pagination["hasNextPage"] == true => cursor = Some(next.to_owned()),
                _ => return Ok(all),
            }
        }
        Err(malformed(operation, "the list does not end"))
    }
}

/// Whether it is the API that says "not found", not something on the way to it: a proxy's page
/// must never have an endpoint taken for deleted.
fn is_missing(error: &RunpodError) -> bool {
    let is_problem = || {
        let body = error.exchange.body.as_deref().unwrap_or_default();
        serde_json::from_str::<Value>(body).is_ok_and(|body| body.is_object())
    };
    error.kind == ErrorKind::NotFound && is_problem()
}

/// Runpod's management API as REST, version 2.
#[derive(Debug, Clone)]
pub struct RestV2 {
    rest: Rest,
    volumes: Volumes,
}

impl RestV2 {
    /// Speaks with a client's key.
    pub fn new(client: Client) -> Self {
        Self::with(Sender::new(client))
    }

    pub(super) fn with(sender: Sender) -> Self {
        Self { rest: Rest { sender: sender.clone() }, volumes: Volumes::new(sender) }
    }
}

impl Plane for RestV2 {
    const NAME: &'static str = "REST v2";

    fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    async fn create(&self, input: &EndpointInput) -> Result<RemoteEndpoint, RunpodError> {
        let what = format!("create endpoint `{}`", input.name);
        let (input, mut warnings) = self.volumes.resolve(input).await?;
        let mut input = input;
        input.template = input.template_to_wire(self.rest.sender.client.key.as_ref());
        let body = body_of(&input, &mut warnings);
        let made = self
            .rest
            .ask(&what, Method::POST, "/v2/serverless", Some(&body), Repeat::Refused)
            .await
            .map_err(|error| error.at_endpoint(&input.name))?;
        let made = read(&made).ok_or_else(|| malformed(&what, "the endpoint that was made has no ID"))?;
        Ok(RemoteEndpoint { warnings, ..made })
    }

    async fn update(
        &self,
        existing: &RemoteEndpoint,
        input: &EndpointInput,
        before: Option<&EndpointInput>,
    ) -> Result<RemoteEndpoint, RunpodError> {
        let what = format!("update endpoint `{}`", input.name);
        let (mut input, mut warnings) = self.volumes.resolve(input).await?;
        input.template = input.template_to_wire(self.rest.sender.client.key.as_ref());
        let path = path_of(&existing.id);
        if let Some(template) = &mut input.template {
            let live = self.rest.find(&what, &path).await.map_err(|error| error.at_endpoint(&existing.id))?;
            let live = live.ok_or_else(|| gone(&what, &existing.id))?;
            template.env = merge::variables(&env_of(&live), &template.env, before, input.needs_key);
        }
        let mut body = body_of(&input, &mut warnings);
        // What is not there any more has to be said; what was never there need not.
        let has_volumes = input.network_volume_id.is_some() || input.network_volume_ids.is_some();
        if !has_volumes {
            body["networkVolumes"] = Value::Array(Vec::new());
        }
        if let Value::Object(fields) = &mut body {
            // The type of an endpoint cannot be changed, and is not sent to be.
            fields.shift_remove("type");
        }
        // The same each time, so it may be sent again.
        let saved = self
            .rest
            .ask(&what, Method::PATCH, &path, Some(&body), Repeat::Safe)
            .await
            .map_err(|error| error.at_endpoint(&existing.id))?;
        let saved =
            read(&saved).ok_or_else(|| malformed(&what, "the endpoint that was changed has no ID"))?;
        let key = saved.key.or_else(|| existing.key.clone());
        Ok(RemoteEndpoint { key, warnings, ..saved })
    }

    async fn delete(&self, id: &str) -> Result<bool, RunpodError> {
        let what = format!("delete endpoint `{id}`");
        match self.rest.ask(&what, Method::DELETE, &path_of(id), None, Repeat::Safe).await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error.at_endpoint(id)),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<RemoteEndpoint>, RunpodError> {
        let what = format!("look endpoint `{id}` up");
        let found = self.rest.find(&what, &path_of(id)).await.map_err(|error| error.at_endpoint(id))?;
        Ok(found.as_ref().and_then(read))
    }

    async fn list(&self) -> Result<Vec<RemoteEndpoint>, RunpodError> {
        let all = self.rest.all("list endpoints", "/v2/serverless", "endpoints").await?;
        Ok(all.iter().filter_map(read).collect())
    }

    /// The catalog has no prices; GraphQL has them for as long as there is GraphQL.
    async fn price(&self, input: &EndpointInput) -> Result<Option<f64>, RunpodError> {
        let graph = Graph { sender: self.rest.sender.clone() };
        Ok(prices::by_graphql(&graph, input).await.unwrap_or_default())
    }
}

fn path_of(id: &str) -> String {
    format!("/v2/serverless/{}", urlencoding::encode(id))
}
