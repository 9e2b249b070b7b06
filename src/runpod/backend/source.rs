//! What is sent for a call of a project's function: its source, and an adapter for its input.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::route;
use crate::endpoint::EndpointKind;
use crate::project::ship::{self, CalleeRequest, Shipment};
use crate::project::variables::Variables;
use crate::project::{DeclaredEndpoint, Project, ProjectFile};
use crate::runpod::control::{EndpointInput, EnvironmentVariable};
use crate::runpod::credentials;
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::live::input_with;
use crate::wire::backend::HttpRequest;
use crate::wire::function::{Arguments, FunctionRequest, Pickled};

/// Reads a call's pickles, calls, and gives the result (or pickled items) back.
const PACKED_CALL: &str = include_str!("packed_call.py");
const KEY: &str = "RUNPOD_API_KEY";

/// A project's endpoints at one moment, with those that run on Runpod.
#[derive(Debug)]
pub struct Remote {
    root: PathBuf,
    endpoints: HashMap<String, RemoteEndpoint>,
}

/// One declared endpoint.
#[derive(Debug)]
pub(super) struct RemoteEndpoint {
    pub(super) declared: DeclaredEndpoint,
    file: Arc<ProjectFile>,
    /// What Runpod is told of it; `None` where it runs on this machine.
    input: Option<Result<EndpointInput, RunpodError>>,
}

impl Remote {
    /// Takes the endpoints of a project; `is_remote` says which run on Runpod.
    pub fn new(project: &Project, is_remote: impl Fn(&str) -> bool, variables: &Variables) -> Self {
        let mut endpoints = HashMap::new();
        for file in &project.files {
            for declared in &file.endpoints {
                let input = (declared.kind != EndpointKind::Client && is_remote(&declared.name)).then(|| {
                    let lookup = |name: &str| variables.get(name);
                    let mut input =
                        input_with(&declared.config, &declared.name, declared.kind, true, &lookup)?;
                    if declared.makes_remote_calls {
                        add_key(&mut input);
                    }
                    Ok(input)
                });
                let endpoint = RemoteEndpoint { declared: declared.clone(), file: Arc::clone(file), input };
                endpoints.insert(declared.name.clone(), endpoint);
            }
        }
        Self { root: project.root.clone(), endpoints }
    }

    /// Whether an endpoint runs on Runpod.
    pub fn has(&self, endpoint: &str) -> bool {
        self.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.input.is_some())
    }

    /// Names of the endpoints that run on Runpod.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.endpoints.keys().map(String::as_str).filter(|name| self.has(name))
    }

    pub(super) fn get(&self, endpoint: &str) -> Result<&RemoteEndpoint, RunpodError> {
        self.endpoints.get(endpoint).filter(|endpoint| endpoint.input.is_some()).ok_or_else(|| {
            RunpodError::new(ErrorKind::NotFound, format!("there is no endpoint `{endpoint}` on Runpod"))
        })
    }

    /// Returns what Runpod is to be told of an endpoint.
    pub(super) fn input(&self, endpoint: &str) -> Result<EndpointInput, RunpodError> {
        match &self.get(endpoint)?.input {
            Some(Ok(input)) => Ok(input.clone()),
            Some(Err(error)) => Err(error.clone()),
            None => Err(RunpodError::new(ErrorKind::NotFound, format!("`{endpoint}` runs on this machine"))),
        }
    }

    /// Returns the endpoints that a call of this one may reach, itself first; those on this machine
    /// are refused: Runpod's workers cannot reach it.
    pub(super) fn reached(&self, endpoint: &str, callable: &str) -> Result<Vec<String>, RunpodError> {
        let found = self.get(endpoint)?;
        let mut reached = vec![endpoint.to_owned()];
        let mut pending = vec![self.shipment(found, first_part(callable))?];
        while let Some(shipment) = pending.pop() {
            for callee in &shipment.callees {
                let other = self.meant(endpoint, callee)?;
                if !reached.contains(&other.declared.name) {
                    reached.push(other.declared.name.clone());
                    pending.push(self.shipment(other, &callee.name)?);
                }
            }
        }
        Ok(reached)
    }

    /// Whether a function or method yields items, as far as its source says so.
    pub(super) fn is_generator(&self, endpoint: &str, callable: &str) -> bool {
        let (name, method) = split(callable);
        let Ok(found) = self.get(endpoint) else { return false };
        let callables = &found.declared.callables;
        let Some(found) = callables.iter().find(|found| found.name == name || name.is_empty()) else {
            return false;
        };
        match (&found.methods, method) {
            (Some(methods), Some(method)) => {
                methods.iter().any(|found| found.name == method && found.is_generator)
            }
            (Some(methods), None) => methods.iter().any(|method| method.is_generator),
            (None, _) => found.is_generator,
        }
    }

    /// Makes the request for a job's JSON input.
    pub(super) fn json_call(
        &self,
        endpoint: &str,
        callable: &str,
        input: &[u8],
        ids: &HashMap<String, String>,
    ) -> Result<FunctionRequest, RunpodError> {
        let (name, method) = split(callable);
        let adapter = |shipment: &Shipment| ship::json_adapter(&shipment.name, method, &shipment.version());
        let mut head = self.head(endpoint, name, "_flash_json_call", &adapter, ids)?;
        if self.is_generator(endpoint, callable) {
            head.insert("stream".to_owned(), json!("_flash_json_stream"));
            // The job's output is the list of them, as everywhere else.
            head.insert("keep_items".to_owned(), json!(true));
        }
        let arguments = Arguments { positional: vec![pickled_text(input)], named: Vec::new() };
        Ok(FunctionRequest { head, arguments, constructor: None })
    }

    /// Makes the request for a route's HTTP request.
    pub(super) fn http_call(
        &self,
        endpoint: &str,
        route: &route::Found,
        request: &HttpRequest,
        ids: &HashMap<String, String>,
    ) -> Result<FunctionRequest, RunpodError> {
        let adapter = |shipment: &Shipment| route::adapter(&shipment.name, route.method, &route.path);
        let mut head = self.head(endpoint, &route.callable, "_flash_http_call", &adapter, ids)?;
        if let Some(Value::Object(modules)) = head.get_mut("modules") {
            modules.extend(route::MODULES.map(|(path, text)| (path.to_owned(), text.into())));
        }
        let told = pickled_text(route::head_text(&request.head).as_bytes());
        let arguments = Arguments { positional: vec![told, pickled_bytes(&request.body)], named: Vec::new() };
        Ok(FunctionRequest { head, arguments, constructor: None })
    }

    /// Makes the request for a call from Python, whose pickles go on as they are.
    pub(super) fn packed_call(
        &self,
        endpoint: &str,
        callable: &str,
        packed: &Packed,
        ids: &HashMap<String, String>,
    ) -> Result<FunctionRequest, RunpodError> {
        let (name, method) = split(callable);
        let target = |name: &str| match method {
            Some(method) => format!("lambda *args, **kwargs: {name}(*args, **kwargs).{method}"),
            None => format!("lambda: {name}"),
        };
        let adapter = |shipment: &Shipment| {
            format!("{PACKED_CALL}\n_flash_packed_target = {}\n", target(&shipment.name))
        };
        let function = if packed.is_stream { "_flash_packed_stream" } else { "_flash_packed_call" };
        let mut head = self.head(endpoint, name, function, &adapter, ids)?;
        if packed.is_stream {
            head.insert("stream".to_owned(), json!("_flash_packed_items"));
        }
        let mut positional = vec![pickled_number(packed.constructor_start)];
        positional.extend(packed.buffers.iter().map(pickled_bytes));
        Ok(FunctionRequest {
            head,
            arguments: Arguments { positional, named: Vec::new() },
            constructor: None,
        })
    }

    fn head(
        &self,
        endpoint: &str,
        name: &str,
        function: &str,
        adapter: &dyn Fn(&Shipment) -> String,
        ids: &HashMap<String, String>,
    ) -> Result<Map<String, Value>, RunpodError> {
        let found = self.get(endpoint)?;
        let shipment = self.shipment(found, name)?;
        let table = self.table(endpoint, &shipment, ids)?;
        let body = format!("{}\n{}", shipment.code, adapter(&shipment));
        let mut head = common(found, &shipment);
        let mut code = body;
        if !table.is_empty() {
            let (with_callees, modules) = ship::with_callees(&table, &code, &shipment.modules);
            code = with_callees;
            head.insert("modules".to_owned(), json!(modules));
        }
        head.insert("execution_type".to_owned(), json!("function"));
        head.insert("function_name".to_owned(), json!(function));
        head.insert("function_code".to_owned(), json!(whole(&shipment.future, &code)));
        Ok(head)
    }

    /// How shipped code reaches the endpoints that it calls, further ones included.
    fn table(
        &self,
        endpoint: &str,
        shipment: &Shipment,
        ids: &HashMap<String, String>,
    ) -> Result<BTreeMap<String, CalleeRequest>, RunpodError> {
        let mut table = BTreeMap::new();
        let mut pending = shipment.callees.clone();
        while let Some(callee) = pending.pop() {
            if table.contains_key(&callee.key) {
                continue;
            }
            let other = self.meant(endpoint, &callee)?;
            let inner = self.shipment(other, &callee.name)?;
            let id = ids.get(&other.declared.name).cloned().unwrap_or_default();
            let mut head = common(other, &inner);
            let mut code = whole(&inner.future, &inner.code);
            if inner.is_class {
                for (method, is_async) in &inner.generators {
                    code.push('\n');
                    code.push_str(&ship::list_adapter(&inner.name, *is_async, Some(method)).0);
                }
                head.insert("execution_type".to_owned(), json!("class"));
                head.insert("class_name".to_owned(), json!(inner.name));
                head.insert("class_code".to_owned(), json!(code));
            } else {
                let mut name = inner.name.clone();
                if inner.is_generator {
                    let (text, adapter) = ship::list_adapter(&name, inner.is_async, None);
                    code.push('\n');
                    code.push_str(&text);
                    name = adapter;
                }
                head.insert("execution_type".to_owned(), json!("function"));
                head.insert("function_name".to_owned(), json!(name));
                head.insert("function_code".to_owned(), json!(code));
            }
            let request = CalleeRequest {
                endpoint: id,
                request: Value::Object(head),
                calls: !inner.callees.is_empty(),
                generators: inner.generators.keys().cloned().collect(),
            };
            table.insert(callee.key.clone(), request);
            pending.extend(inner.callees);
        }
        Ok(table)
    }

    fn meant(&self, origin: &str, callee: &ship::Callee) -> Result<&RemoteEndpoint, RunpodError> {
        let file = callee.file.strip_prefix(&self.root).unwrap_or(&callee.file);
        let is_it = |endpoint: &&RemoteEndpoint| {
            endpoint.file.path == file
                && endpoint.declared.callables.iter().any(|callable| callable.name == callee.name)
        };
        let found = self.endpoints.values().find(is_it).ok_or_else(|| {
            let message = format!("`{origin}` calls `{}`, which is no endpoint of this project", callee.name);
            RunpodError::new(ErrorKind::Shipment, message)
        })?;
        if found.input.is_none() {
            let name = &found.declared.name;
            let message = format!("`{origin}` runs on Runpod and calls `{name}`, which runs on this machine");
            return Err(RunpodError::new(ErrorKind::Shipment, message).with_hint(format!(
                "Runpod's workers cannot reach this machine: run both there, `flash run --remote {origin} {name}`"
            )));
        }
        Ok(found)
    }

    fn shipment(&self, endpoint: &RemoteEndpoint, name: &str) -> Result<Shipment, RunpodError> {
        let name = match (name, endpoint.declared.callables.first()) {
            ("", Some(only)) => only.name.as_str(),
            _ => name,
        };
        let (known, roots) = (BTreeSet::new(), [self.root.clone()]);
        let path = self.root.join(&endpoint.file.path);
        let request = ship::Request {
            text: &endpoint.file.text,
            file: &path,
            roots: &roots,
            name,
            line: None,
            known: &known,
            endpoints: &known,
            also: &known,
        };
        let shipment = ship::ship(&request).map_err(|error| {
            RunpodError::new(ErrorKind::Shipment, error.to_string()).with_hint(error.hint())
        })?;
        if let Some(value) = shipment.values.iter().find(|value| value.is_required) {
            let message = format!(
                "{}:{}: `{name}` needs `{}`, whose value has no source to ship",
                endpoint.file.path.display(),
                value.line,
                value.name
            );
            return Err(RunpodError::new(ErrorKind::Shipment, message)
                .with_hint("make it inside the function, or pass it as an argument"));
        }
        Ok(shipment)
    }
}

/// A call's pickles as they came from a worker.
pub(super) struct Packed {
    /// The arguments' pickle with its buffers, then the constructor's.
    pub(super) buffers: Vec<Bytes>,
    /// Where the constructor's begin; 0 where there is none.
    pub(super) constructor_start: u16,
    /// Whether items are wanted.
    pub(super) is_stream: bool,
}

/// `Class.method` or `function`.
fn split(callable: &str) -> (&str, Option<&str>) {
    callable.split_once('.').map_or((callable, None), |(class, method)| (class, Some(method)))
}

fn first_part(callable: &str) -> &str {
    split(callable).0
}

/// Source in the order that Python wants it in.
fn whole(future: &str, code: &str) -> String {
    format!("{future}\n{code}")
}

fn common(endpoint: &RemoteEndpoint, shipment: &Shipment) -> Map<String, Value> {
    let config = &endpoint.declared.config;
    let Value::Object(head) = json!({
        "modules": shipment.modules,
        "method_name": "__call__",
        "create_new_instance": true,
        "accelerate_downloads": config.accelerate_downloads,
        "serialization_format": "cloudpickle",
        "dependencies": config.dependencies,
        "system_dependencies": config.system_dependencies,
    }) else {
        return Map::new();
    };
    head
}

/// Gives the endpoint the account's key: its code calls other endpoints.
fn add_key(input: &mut EndpointInput) {
    if let Some(template) = &mut input.template
        && template.env.iter().all(|variable| variable.key != KEY)
        && let Some(key) = credentials::find_key()
    {
        template.env.push(EnvironmentVariable { key: KEY.to_owned(), value: key.reveal().to_owned() });
    }
}

/// The pickle of a string.
fn pickled_text(text: &[u8]) -> Pickled {
    framed(0x8d, Bytes::copy_from_slice(String::from_utf8_lossy(text).as_bytes()))
}

/// The pickle of `bytes`, which are not copied.
fn pickled_bytes(bytes: &Bytes) -> Pickled {
    framed(0x8e, bytes.clone())
}

/// Protocol, one opcode with a length of eight bytes, the content, the end.
fn framed(code: u8, content: Bytes) -> Pickled {
    let mut start = vec![0x80, 4, code];
    start.extend_from_slice(&(content.len() as u64).to_le_bytes());
    vec![Bytes::from(start).into(), content.into(), Bytes::from_static(b".").into()]
}

fn pickled_number(number: u16) -> Pickled {
    let [low, high] = number.to_le_bytes();
    vec![Bytes::from(vec![0x80, 4, b'M', low, high, b'.']).into()]
}
