//! The control plane as 1.21 speaks to it: GraphQL (`wire.md` 5.3 to 5.6).

use serde_json::{Value, json};

use super::input::{EndpointInput, RemoteEndpoint, TemplateInput};
use super::merge::{self, LiveTemplate};
use super::send::{Answer, Question, Repeat, Sender, graphql_messages};
use super::volumes::Volumes;
use super::{Plane, prices};
use crate::runpod::client::Client;
use crate::runpod::credentials::ApiKey;
use crate::runpod::error::{ErrorKind, RunpodError};
use reqwest::Method;

/// What is asked of an endpoint. Unknown values of enums are texts here, and cannot fail a call.
const ENDPOINT: &str = "id name templateId type aiKey workersMin workersMax";

const TEMPLATE: &str = "id containerDiskInGb dockerArgs env { key value } imageName name readme";

/// Sends GraphQL operations.
#[derive(Debug, Clone)]
pub(in crate::runpod) struct Graph {
    pub(in crate::runpod) sender: Sender,
}

/// One operation.
pub(in crate::runpod) struct Operation<'a> {
    /// What is done, for errors.
    pub(in crate::runpod) what: &'a str,
    pub(in crate::runpod) query: &'a str,
    pub(in crate::runpod) variables: Value,
    pub(in crate::runpod) repeat: Repeat,
    /// Login is asked for without a key.
    pub(in crate::runpod) has_key: bool,
}

impl<'a> Operation<'a> {
    /// An operation that changes nothing.
    pub(in crate::runpod) fn query(what: &'a str, query: &'a str, variables: Value) -> Self {
        Self { what, query, variables, repeat: Repeat::Safe, has_key: true }
    }

    /// An operation that must not be done twice.
    pub(in crate::runpod) fn mutation(what: &'a str, query: &'a str, variables: Value) -> Self {
        Self { what, query, variables, repeat: Repeat::Refused, has_key: true }
    }

    /// The same, where a second time does no harm.
    pub(in crate::runpod) fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Safe;
        self
    }

    /// The same without a key.
    pub(in crate::runpod) fn without_key(mut self) -> Self {
        self.has_key = false;
        self
    }
}

impl Graph {
    /// Sends an operation and returns its `data`.
    ///
    /// # Errors
    /// By [`ErrorKind`]; an `errors` key counts as failure, whatever `data` there is beside it.
    pub(in crate::runpod) async fn ask(&self, operation: Operation<'_>) -> Result<Value, RunpodError> {
        let body = json!({ "query": operation.query, "variables": operation.variables });
        let question = Question {
            operation: operation.what,
            method: Method::POST,
            path: "/graphql",
            body: Some(&body),
            repeat: operation.repeat,
            has_key: operation.has_key,
        };
        self.sender.send(&question, |answer, secrets| self.judge(&question, answer, secrets)).await
    }

    fn judge(
        &self,
        question: &Question<'_>,
        answer: &Answer,
        secrets: &[String],
    ) -> Result<Value, RunpodError> {
        let refuse = |kind, reason: &str| self.sender.refusal(question, kind, reason, answer, secrets);
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
            // A page of a proxy or of a load balancer.
            return Err(refuse(ErrorKind::Unavailable, "something that is not JSON"));
        };
        if let Some(messages) = graphql_messages(&body) {
            return Err(refuse(kind_of(&messages), &messages));
        }
        match body.get_mut("data").map(Value::take) {
            // Without a key that counts, nobody is "myself".
            Some(Value::Object(data)) if data.get("myself").is_some_and(Value::is_null) => {
                Err(refuse(ErrorKind::Authentication, "the API key opens no account"))
            }
            Some(data @ Value::Object(_)) => Ok(data),
            _ => Err(refuse(ErrorKind::Malformed, "no data, and no error either")),
        }
    }
}

/// GraphQL has no status for each error: the words tell.
fn kind_of(messages: &str) -> ErrorKind {
    let words = messages.to_ascii_lowercase();
    let has = |any: &[&str]| any.iter().any(|text| words.contains(text));
    if has(&["unauthorized", "unauthenticated", "not authenticated", "invalid api key", "forbidden"]) {
        ErrorKind::Authentication
    } else if has(&["too many requests", "rate limit"]) {
        ErrorKind::RateLimited
    } else if has(&[
        "try again later",
        "internal server error",
        "service unavailable",
        "temporarily unavailable",
    ]) {
        ErrorKind::Unavailable
    } else if has(&["not found", "does not exist", "no such"]) {
        ErrorKind::NotFound
    } else {
        ErrorKind::InvalidRequest
    }
}

/// Runpod's management API in GraphQL.
#[derive(Debug, Clone)]
pub struct GraphQl {
    graph: Graph,
    volumes: Volumes,
}

impl GraphQl {
    /// Speaks with a client's key.
    pub fn new(client: Client) -> Self {
        Self::with(Sender::new(client))
    }

    pub(super) fn with(sender: Sender) -> Self {
        Self { graph: Graph { sender: sender.clone() }, volumes: Volumes::new(sender) }
    }

    async fn save(&self, what: &str, input: Value) -> Result<RemoteEndpoint, RunpodError> {
        let query = format!(
            "mutation saveEndpoint($input: EndpointInput!) {{ saveEndpoint(input: $input) {{ {ENDPOINT} }} }}"
        );
        let operation = Operation::mutation(what, &query, json!({ "input": input }));
        let mut data = self.graph.ask(operation).await?;
        read(&data["saveEndpoint"].take())
            .ok_or_else(|| malformed(what, "the endpoint that was saved has no ID"))
    }

    async fn template(&self, what: &str, id: &str) -> Result<LiveTemplate, RunpodError> {
        let query =
            format!("query getTemplate($id: String!) {{ podTemplate(id: $id) {{ {TEMPLATE} ports }} }}");
        let mut data = self.graph.ask(Operation::query(what, &query, json!({ "id": id }))).await?;
        let missing = || malformed(what, &format!("its template `{id}` cannot be read"));
        serde_json::from_value(data["podTemplate"].take()).map_err(|_| missing())
    }

    async fn save_template(
        &self,
        what: &str,
        id: &str,
        template: &TemplateInput,
        readme: &str,
    ) -> Result<(), RunpodError> {
        let mut input = json!({
            "name": template.name,
            "imageName": template.image_name,
            "containerDiskInGb": template.container_disk_in_gb,
            "dockerArgs": template.docker_args,
            "env": template.env,
            "volumeInGb": 0,
            "id": id,
        });
        // What 1.21 does not send is only sent where it says something.
        for (name, value) in [
            ("readme", readme),
            ("ports", template.ports.as_str()),
            ("startScript", &template.start_script),
            ("containerRegistryAuthId", &template.container_registry_auth_id),
        ] {
            if !value.is_empty() {
                input[name] = value.into();
            }
        }
        let query = format!(
            "mutation saveTemplate($input: SaveTemplateInput) {{ saveTemplate(input: $input) {{ {TEMPLATE} }} }}"
        );
        // With an ID it is the same template each time.
        let operation = Operation::mutation(what, &query, json!({ "input": input })).repeatable();
        self.graph.ask(operation).await.map(drop)
    }
}

impl Plane for GraphQl {
    const NAME: &'static str = "GraphQL";

    fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    async fn create(&self, input: &EndpointInput) -> Result<RemoteEndpoint, RunpodError> {
        let what = format!("create endpoint `{}`", input.name);
        let (input, warnings) = self.volumes.resolve(input).await?;
        let wire = wire(&what, &input, self.graph.sender.client.key.as_ref())?;
        let made = self.save(&what, wire).await.map_err(|error| error.at_endpoint(&input.name))?;
        Ok(RemoteEndpoint { warnings, ..made })
    }

    async fn update(
        &self,
        existing: &RemoteEndpoint,
        input: &EndpointInput,
        before: Option<&EndpointInput>,
    ) -> Result<RemoteEndpoint, RunpodError> {
        let what = format!("update endpoint `{}`", input.name);
        let (input, warnings) = self.volumes.resolve(input).await?;
        let key = self.graph.sender.client.key.as_ref();
        let template_id = match (&input.template_id, &existing.template_id) {
            (Some(id), _) | (None, Some(id)) => id.clone(),
            (None, None) => {
                let found = self.find(&existing.id).await?;
                let found = found.ok_or_else(|| gone(&what, &existing.id))?;
                found.template_id.ok_or_else(|| malformed(&what, "the endpoint has no template"))?
            }
        };
        // Read first, so that a failure here has changed nothing.
        let wanted = input.template_to_wire(key);
        let template = match (&wanted, &input.template_id) {
            (Some(wanted), None) => {
                let live = self.template(&what, &template_id).await?;
                merge::changed(&live, wanted, before, input.needs_key)
                    .map(|template| (template, live.readme.unwrap_or_default()))
            }
            _ => None,
        };
        let mut wire = wire(&what, &input, key)?;
        if let Value::Object(fields) = &mut wire {
            fields.shift_remove("template");
            fields.insert("id".to_owned(), existing.id.as_str().into());
            fields.insert("templateId".to_owned(), template_id.as_str().into());
        }
        let saved = self.save(&what, wire).await.map_err(|error| error.at_endpoint(&existing.id))?;
        if let Some((template, readme)) = template {
            self.save_template(&what, &template_id, &template, &readme).await.map_err(|error| {
                let note = "its workers, scaling and hardware are changed, its image and variables are not";
                RunpodError { message: format!("{} ({note})", error.message), ..error }
                    .at_endpoint(&existing.id)
            })?;
        }
        Ok(RemoteEndpoint { template_id: Some(template_id), warnings, ..saved })
    }

    async fn delete(&self, id: &str) -> Result<bool, RunpodError> {
        let what = format!("delete endpoint `{id}`");
        let query = "mutation deleteEndpoint($id: String!) { deleteEndpoint(id: $id) }";
        let operation = Operation::mutation(&what, query, json!({ "id": id })).repeatable();
        let error = match self.graph.ask(operation).await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind == ErrorKind::Authentication => return Err(error.at_endpoint(id)),
            Err(error) => error,
        };
        // The words of an error are no proof: only an answer without the endpoint is.
        match self.find(id).await {
            Ok(None) => Ok(error.kind != ErrorKind::NotFound),
            Ok(Some(_)) | Err(_) => Err(error.at_endpoint(id)),
        }
    }

    async fn find(&self, id: &str) -> Result<Option<RemoteEndpoint>, RunpodError> {
        let what = format!("look endpoint `{id}` up");
        let query =
            format!("query getEndpoint($id: String!) {{ myself {{ endpoint(id: $id) {{ {ENDPOINT} }} }} }}");
        match self.graph.ask(Operation::query(&what, &query, json!({ "id": id }))).await {
            Ok(mut data) => Ok(read(&data["myself"]["endpoint"].take())),
            // An error that says so is as good as null.
            Err(error) if error.kind == ErrorKind::NotFound && error.exchange.status == Some(200) => Ok(None),
            Err(error) => Err(error.at_endpoint(id)),
        }
    }

    async fn list(&self) -> Result<Vec<RemoteEndpoint>, RunpodError> {
        let query = format!("query getEndpoints {{ myself {{ endpoints {{ {ENDPOINT} }} }} }}");
        let data = self.graph.ask(Operation::query("list endpoints", &query, json!({}))).await?;
        let list = data["myself"]["endpoints"].as_array();
        Ok(list.into_iter().flatten().filter_map(read).collect())
    }

    async fn price(&self, input: &EndpointInput) -> Result<Option<f64>, RunpodError> {
        prices::by_graphql(&self.graph, input).await
    }
}

fn wire(what: &str, input: &EndpointInput, key: Option<&ApiKey>) -> Result<Value, RunpodError> {
    input.to_wire(key).map_err(|error| malformed(what, &error.to_string()))
}

/// Reads an endpoint; only the ID has to be there.
fn read(value: &Value) -> Option<RemoteEndpoint> {
    let text = |name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(RemoteEndpoint {
        id: text("id")?,
        name: text("name").unwrap_or_default(),
        template_id: text("templateId"),
        key: text("aiKey"),
        kind: text("type"),
        workers_min: value["workersMin"].as_i64(),
        workers_max: value["workersMax"].as_i64(),
        warnings: Vec::new(),
    })
}

pub(super) fn malformed(what: &str, reason: &str) -> RunpodError {
    RunpodError::new(ErrorKind::Malformed, format!("cannot {what}: {reason}"))
}

pub(super) fn gone(what: &str, id: &str) -> RunpodError {
    RunpodError::new(ErrorKind::NotFound, format!("cannot {what}: there is no endpoint `{id}`"))
        .at_endpoint(id)
}
