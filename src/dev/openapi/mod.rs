//! `/openapi.json`: the project's routes as an OpenAPI 3.1 document.
//!
//! Until a worker has loaded an endpoint, its part comes from the static scan; afterwards from the
//! worker's own description, in which pydantic models and every annotation are resolved.

mod example;
mod jobs;
mod schemas;

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::describe::Describe;
use super::table::{ProjectRoute, QueueTarget, Table, Target, hardware_text, method_name};
use crate::endpoint::EndpointConfig;
use crate::project::{Callable, DeclaredEndpoint};
use crate::wire::message::{CallableDescription, ReadyHead};
use schemas::Schemas;

/// Builds the document. `problems` are the located errors of what is not served.
pub(super) fn document(table: &Table, describe: &dyn Describe, problems: &[String]) -> Value {
    let mut builder = Builder { schemas: Schemas::new(), operations: HashSet::new(), paths: Map::new() };
    let mut tags = Vec::new();
    for route in &table.routes {
        let Some((_, endpoint, callable)) = table.declaration(route) else { continue };
        if !tags.iter().any(|tag: &Value| tag["name"] == endpoint.name.as_str()) {
            tags.push(json!({ "name": endpoint.name, "description": summary_of(&endpoint.config) }));
        }
        let ready = describe.get(&endpoint.name);
        let mut operation = match &route.target {
            Target::Queue(target) => builder.queue(route, target, callable, ready.as_deref()),
            Target::Balanced(_) => builder.balanced(route, endpoint, callable, ready.as_deref()),
        };
        builder.label(&mut operation, route, endpoint, callable);
        builder.add(&route.path, method_name(route.method), operation);
    }
    let queues: Vec<&str> = table.queue_endpoints();
    if !queues.is_empty() {
        for (path, method, operation) in jobs::operations(&queues) {
            builder.add(path, method, operation);
        }
        tags.push(json!({ "name": jobs::TAG, "description": "Runpod's own API, for clients of it" }));
    }
    builder.add("/ping", "GET", own_operation("ping", "Whether the server is up"));
    tags.push(json!({ "name": "server", "description": "The dev server itself" }));
    let mut description =
        format!("Served by `flash run` on this machine. Version {}.", env!("CARGO_PKG_VERSION"));
    for problem in problems {
        let _ = write!(description, "\n\n```text\n{problem}\n```");
    }
    let Builder { schemas, paths, .. } = builder;
    json!({
        "openapi": "3.1.0",
        "info": { "title": table.project.app, "version": "0.1.0", "description": description },
        "tags": tags,
        "paths": paths,
        "components": { "schemas": schemas.into_components() },
    })
}

fn own_operation(name: &str, summary: &str) -> Value {
    json!({
        "tags": ["server"],
        "summary": summary,
        "operationId": name,
        "responses": { "200": { "description": "Successful Response", "content": { "application/json": { "schema": {} } } } },
    })
}

/// Hardware and limits in one line.
fn summary_of(config: &EndpointConfig) -> String {
    let mut text = format!(
        "{} · workers {}–{}",
        hardware_text(&config.hardware),
        config.workers.min,
        config.workers.max
    );
    if config.max_concurrency > 1 {
        let _ = write!(text, " · {} at a time", config.max_concurrency);
    }
    if !config.dependencies.is_empty() {
        let _ = write!(text, " · needs {}", config.dependencies.join(", "));
    }
    text
}

struct Builder {
    schemas: Schemas,
    operations: HashSet<String>,
    paths: Map<String, Value>,
}

impl Builder {
    fn add(&mut self, path: &str, method: &str, operation: Value) {
        let item = self.paths.entry(without_kinds(path)).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            // The first route that fits a request answers it, so the first one is described.
            item.entry(method.to_lowercase()).or_insert(operation);
        }
    }

    /// Gives an operation its tag, its unique ID, and words from the docstring.
    fn label(
        &mut self,
        operation: &mut Value,
        route: &ProjectRoute,
        endpoint: &DeclaredEndpoint,
        callable: &Callable,
    ) {
        let member = route.member.and_then(|place| callable.methods.as_ref()?.get(place));
        let doc = member.map_or(callable.doc.as_deref(), |method| method.doc.as_deref()).unwrap_or_default();
        let (first, rest) = doc.split_once('\n').unwrap_or((doc, ""));
        let summary = if first.trim().is_empty() { route.function.as_str() } else { first.trim() };
        let mut description = rest.trim().to_owned();
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        let _ = write!(description, "Endpoint `{}`: {}", endpoint.name, summary_of(&endpoint.config));
        let id = self.unique(&format!("{}_{}", endpoint.name, route.function));
        operation["tags"] = json!([endpoint.name]);
        operation["summary"] = summary.into();
        operation["description"] = description.into();
        operation["operationId"] = id.into();
    }

    fn unique(&mut self, wanted: &str) -> String {
        let wanted = identifier(wanted);
        let mut name = wanted.clone();
        let mut number = 2;
        while !self.operations.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }

    /// `POST …/runsync`: `{"input": {…}}` in, the job out.
    fn queue(
        &mut self,
        route: &ProjectRoute,
        target: &QueueTarget,
        callable: &Callable,
        ready: Option<&ReadyHead>,
    ) -> Value {
        let described = ready.and_then(|ready| find_callable(ready, &target.callable));
        let prefix = identifier(&format!("{}_{}", target.endpoint, route.function));
        let input = match (described, route.member) {
            (Some(described), _) => &described.input_schema,
            (None, Some(place)) => match callable.methods.as_ref().and_then(|methods| methods.get(place)) {
                Some(method) => &method.input_schema,
                None => &Value::Null,
            },
            (None, None) => &callable.input_schema,
        };
        let output = described.and_then(|described| described.output_schema.as_ref());
        let output =
            output.map_or_else(|| json!({ "title": "Output" }), |schema| self.schemas.adopt(schema, &prefix));
        let mut operation = json!({
            "responses": {
                "200": {
                    "description": "The finished job: `COMPLETED` with `output`, or `FAILED` with `error`",
                    "content": { "application/json": { "schema": job_schema(&output) } },
                },
            },
        });
        if target.takes_input {
            let input = if input.is_object() { input.clone() } else { json!({ "type": "object" }) };
            let name = self.schemas.insert(&format!("{prefix}_Input"), &input, &prefix);
            let sample = self.sample(&name, &input, target.all_optional);
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": {
                    "schema": {
                        "type": "object",
                        "title": "Job",
                        "properties": { "input": { "$ref": format!("#/components/schemas/{name}") } },
                        "required": ["input"],
                    },
                    "example": { "input": sample },
                } },
            });
            operation["responses"]["422"] = self.validation_error();
        }
        operation
    }

    /// An input that can be sent as it is: Runpod drops empty ones, so there is always a field.
    fn sample(&self, name: &str, input: &Value, all_optional: bool) -> Value {
        let defined = self.schemas.get(name).unwrap_or(input);
        let sample = example::of(defined, &self.schemas);
        match &sample {
            Value::Object(fields) if fields.is_empty() && all_optional => json!({ "__empty": true }),
            _ => sample,
        }
    }

    /// A route: the worker's own operation where there is one.
    fn balanced(
        &mut self,
        route: &ProjectRoute,
        endpoint: &DeclaredEndpoint,
        callable: &Callable,
        ready: Option<&ReadyHead>,
    ) -> Value {
        let prefix = identifier(&format!("{}_{}", endpoint.name, route.function));
        let declared_path = callable.route.as_ref().map_or("", |(_, path)| path.as_str());
        let document = ready.and_then(|ready| ready.openapi.as_ref());
        let known = document.and_then(|document| {
            let method = method_name(route.method).to_lowercase();
            document.get("paths")?.get(without_kinds(declared_path))?.get(method)
        });
        let Some(operation) = known else {
            return self.static_balanced(route, callable, &prefix);
        };
        let components = document.and_then(|document| document.pointer("/components/schemas")).cloned();
        let mut operation =
            self.schemas.adopt_with(operation, components.unwrap_or_default(), &identifier(&endpoint.name));
        self.add_example(&mut operation);
        operation
    }

    /// Puts an example beside a JSON body that has none.
    fn add_example(&self, operation: &mut Value) {
        let Some(body) = operation.pointer_mut("/requestBody/content/application~1json") else { return };
        if body.get("example").is_none() && body.get("examples").is_none() {
            let sample = example::of(&body["schema"], &self.schemas);
            if !sample.is_null() {
                body["example"] = sample;
            }
        }
    }

    fn static_balanced(&mut self, route: &ProjectRoute, callable: &Callable, prefix: &str) -> Value {
        let in_path = path_parameters(&route.path);
        let mut schema = callable.input_schema.clone();
        let is_get = route.method == crate::endpoint::Method::Get;
        let required: Vec<String> = schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        let mut parameters: Vec<Value> = in_path
            .iter()
            .map(|name| {
                let declared = schema.pointer(&format!("/properties/{name}")).cloned();
                let declared = declared.unwrap_or_else(|| json!({ "type": "string" }));
                json!({ "name": name, "in": "path", "required": true, "schema": declared })
            })
            .collect();
        let mut fields = schema
            .get_mut("properties")
            .and_then(Value::as_object_mut)
            .map(std::mem::take)
            .unwrap_or_default();
        for name in &in_path {
            fields.remove(name);
        }
        let mut operation = json!({
            "responses": { "200": {
                "description": "Successful Response",
                "content": { "application/json": { "schema": {} } },
            } },
        });
        if is_get {
            parameters.extend(fields.iter().map(|(name, schema)| {
                json!({ "name": name, "in": "query", "required": required.contains(name), "schema": schema })
            }));
        } else if !fields.is_empty() {
            let (body, media) = self.static_body(&schema, fields, &required, &mut parameters, prefix);
            operation["requestBody"] = json!({ "required": true, "content": { media: { "schema": body } } });
            self.add_example(&mut operation);
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if operation.get("requestBody").is_some() || operation.get("parameters").is_some() {
            operation["responses"]["422"] = self.validation_error();
        }
        operation
    }

    /// The body as the worker's rules will have it: where there is a model, FastAPI's (models in the
    /// body, the rest in the query); where there are bytes, a form; else one object of all fields.
    fn static_body(
        &mut self,
        schema: &Value,
        mut fields: Map<String, Value>,
        required: &[String],
        parameters: &mut Vec<Value>,
        prefix: &str,
    ) -> (Value, &'static str) {
        let is_model = |field: &Value| field.get("$ref").is_some_and(Value::is_string);
        let mut media = "application/json";
        if fields.values().any(is_model) {
            let (models, others): (Map<_, _>, Map<_, _>) =
                fields.into_iter().partition(|(_, field)| is_model(field));
            parameters.extend(others.into_iter().map(|(name, field)| {
                let is_required = required.contains(&name);
                json!({ "name": name, "in": "query", "required": is_required, "schema": field })
            }));
            fields = models;
        } else if fields.values().any(|field| field["format"] == "binary") {
            media = "multipart/form-data";
        }
        let with_definitions = |mut body: Value| {
            if let Some(definitions) = schema.get("$defs") {
                body["$defs"] = definitions.clone();
            }
            body
        };
        if fields.len() == 1
            && let Some(model) = fields.values().find(|field| is_model(field))
        {
            return (self.schemas.adopt(&with_definitions(model.clone()), prefix), media);
        }
        let required: Vec<&String> = required.iter().filter(|name| fields.contains_key(*name)).collect();
        let body = json!({ "type": "object", "properties": fields, "required": required });
        let name = self.schemas.insert(&format!("{prefix}_Body"), &with_definitions(body), prefix);
        (json!({ "$ref": format!("#/components/schemas/{name}") }), media)
    }

    fn validation_error(&mut self) -> Value {
        self.schemas.define_validation_error();
        json!({
            "description": "Validation Error",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/HTTPValidationError" } } },
        })
    }
}

fn find_callable<'a>(ready: &'a ReadyHead, name: &str) -> Option<&'a CallableDescription> {
    ready.callables.iter().find(|callable| callable.name == name)
}

fn job_schema(output: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "status": { "type": "string", "enum": ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"] },
            "output": output,
            "error": { "type": "string", "description": "Exception type and message, where it failed" },
        },
        "required": ["id", "status"],
    })
}

/// FastAPI's form of a path: `{name:path}` is written `{name}`.
fn without_kinds(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        plain.push_str(before);
        plain.push('{');
        let Some((inner, behind)) = after.split_once('}') else {
            plain.push_str(after);
            return plain;
        };
        plain.push_str(inner.split(':').next().unwrap_or(inner));
        plain.push('}');
        rest = behind;
    }
    plain.push_str(rest);
    plain
}

fn path_parameters(path: &str) -> Vec<String> {
    let plain = without_kinds(path);
    plain
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}').map(|(name, _)| name.to_owned()))
        .collect()
}

/// Text as an identifier: letters, digits and underscores.
fn identifier(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}
