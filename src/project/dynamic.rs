//! Imports one file in a process of its own, where its endpoints cannot be read statically.
//!
//! The process is short-lived, has a time limit and a process group of its own that is killed
//! afterwards, and answers with one line of JSON (`runpod_flash/_inspect.py`).

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;

use super::evaluate::EndpointRef;
use super::facts::{Argument, Decorated, EndpointCall, Facts, Item, Made, RouteUse};
use super::model::{Callable, Parameter};
use super::secrets::Secrets;
use super::tree::{Node, Range, StmtKind, Tree, walk};
use crate::endpoint::Value;

/// Longest answer that is read.
const LARGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// What a process answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// The file was imported.
    Found {
        /// Its endpoints.
        endpoints: Vec<FoundEndpoint>,
    },
    /// Importing failed; `line` is 0 where the file itself has no line in it.
    Failed {
        /// Type and message.
        error: String,
        /// Line of the file, from 1.
        line: usize,
    },
}

/// An endpoint that an imported file has.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FoundEndpoint {
    arguments: Vec<(String, Json)>,
    variable: Option<String>,
    items: Vec<FoundItem>,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "what Python says of a function")]
struct FoundItem {
    /// The module's name for it.
    name: String,
    /// The name in its `def`.
    defined: String,
    line: usize,
    is_class: bool,
    method: Option<String>,
    path: Option<String>,
    #[serde(default)]
    is_async: bool,
    #[serde(default)]
    is_generator: bool,
    #[serde(default)]
    parameters: Vec<FoundParameter>,
    #[serde(default)]
    takes_kwargs: bool,
    doc: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct FoundParameter {
    name: String,
    annotation: Option<String>,
    default: Option<String>,
}

/// Why a process gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum InspectError {
    /// It could not be started.
    #[error("cannot start `{python}`: {reason}")]
    Start {
        /// Interpreter.
        python: String,
        /// The system's reason.
        reason: String,
    },
    /// It ran too long.
    #[error("import took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It died.
    #[error("the process that imported it ended with {0}")]
    Died(String),
}

/// Imports a file and returns what it declares.
pub(super) fn inspect(
    python: &Path,
    root: &Path,
    file: &Path,
    module: &str,
    limit: Duration,
) -> Result<Answer, InspectError> {
    let mut child = Command::new(python)
        .args(["-m", "runpod_flash._inspect"])
        .arg(root)
        .arg(file)
        .arg(module)
        .current_dir(root)
        .env("FLASH_TARGET", "local")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| InspectError::Start {
            python: python.display().to_string(),
            reason: error.to_string(),
        })?;
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut line = Vec::new();
            // An answer that cannot be read is no answer.
            let _ = BufReader::new(output.take(LARGEST_ANSWER)).read_until(b'\n', &mut line);
            // Nobody waits any more after the time limit.
            let _ = sender.send(line);
        });
    }
    let line = receiver.recv_timeout(limit);
    let ended = end(&mut child, line.is_ok());
    match line {
        Ok(line) => serde_json::from_slice(&line).map_err(|_| InspectError::Died(ended)),
        Err(_) => Err(InspectError::TimedOut(limit)),
    }
}

/// Ends a process with all that it started, and says how it ended.
fn end(child: &mut Child, answered: bool) -> String {
    // An answer comes last; without one, the process may be ending by itself just now.
    let by_itself = if answered { child.wait().ok() } else { None };
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // The group is gone already where the process left nothing behind.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    match by_itself.or_else(|| child.wait().ok()) {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            _ => "an unknown status".to_owned(),
        },
        None => "an unknown status".to_owned(),
    }
}

/// Brings an answer into the form of a file that was read statically; `fallback` is where an
/// endpoint is shown whose place is not known.
pub(super) fn to_facts(
    file: &Path,
    tree: &Tree,
    text: &str,
    found: &[FoundEndpoint],
    fallback: Range,
    secrets: &Secrets,
) -> Facts {
    let mut facts = Facts { was_run: true, ..Facts::default() };
    for (index, endpoint) in found.iter().enumerate() {
        let items: Vec<Item> =
            endpoint.items.iter().map(|item| locate(file, tree, text, item, fallback)).collect();
        let range = items.first().map_or(fallback, super::callable::head);
        let arguments: Vec<Argument> = endpoint
            .arguments
            .iter()
            .map(|(name, value)| Argument {
                name: name.clone(),
                keyword: range,
                range,
                elements: Vec::new(),
                value: Ok(if matches!(name.as_str(), "env" | "template") {
                    secrets.hidden(decode(value))
                } else {
                    decode(value)
                }),
            })
            .collect();
        let is_client = arguments.iter().any(|argument| {
            matches!(argument.name.as_str(), "id" | "image") && !matches!(argument.value, Ok(Value::None))
        });
        let reference = EndpointRef { file: file.to_owned(), index, is_client };
        for (item, found) in items.into_iter().zip(&endpoint.items) {
            let route = found.method.as_ref().zip(found.path.as_ref()).map(|(method, path)| RouteUse {
                method: method.clone(),
                path: path.clone(),
                range: super::callable::head(&item),
            });
            let range = super::callable::head(&item);
            let attribute = (found.name != found.defined).then(|| found.name.clone());
            facts.decorated.push(Decorated { item, endpoint: reference.clone(), range, route, attribute });
        }
        facts.endpoints.push(EndpointCall {
            range,
            arguments,
            variables: endpoint.variable.iter().cloned().collect(),
            is_client,
        });
    }
    facts
}

/// Finds the `def` or `class` of an item in the file, else takes what the process said of it.
fn locate(file: &Path, tree: &Tree, text: &str, item: &FoundItem, fallback: Range) -> Item {
    let mut best: Option<(usize, Item)> = None;
    walk(&tree.body, &mut |node| {
        let Node::Stmt(stmt) = node else { return false };
        let candidate = match &stmt.kind {
            StmtKind::Function(function) if !item.is_class && function.name == item.defined => {
                Item::Function(Arc::clone(function))
            }
            StmtKind::Class(class) if item.is_class && class.name == item.defined => {
                Item::Class(Arc::clone(class))
            }
            _ => return true,
        };
        let first = 1 + text[..stmt.range.start].matches('\n').count();
        let distance = first.abs_diff(item.line);
        if best.as_ref().is_none_or(|(known, _)| distance < *known) {
            best = Some((distance, candidate));
        }
        true
    });
    best.map_or_else(
        || {
            Item::Made(Arc::new(Made {
                head: fallback,
                callable: Callable {
                    name: item.name.clone(),
                    span: super::config::span(file, fallback),
                    is_async: item.is_async,
                    is_generator: item.is_generator,
                    methods: item.is_class.then(Vec::new),
                    parameters: item
                        .parameters
                        .iter()
                        .map(|parameter| Parameter {
                            name: parameter.name.clone(),
                            annotation: parameter.annotation.clone(),
                            default: parameter.default.clone(),
                        })
                        .collect(),
                    takes_kwargs: item.takes_kwargs,
                    doc: item.doc.clone(),
                    route: None,
                    input_schema: made_schema(item),
                },
            }))
        },
        |(_, item)| item,
    )
}

fn made_schema(item: &FoundItem) -> Json {
    let properties: serde_json::Map<_, _> =
        item.parameters.iter().map(|parameter| (parameter.name.clone(), serde_json::json!({}))).collect();
    let required: Vec<_> = item
        .parameters
        .iter()
        .filter(|parameter| parameter.default.is_none())
        .map(|parameter| parameter.name.clone())
        .collect();
    serde_json::json!({"type": "object", "properties": properties, "required": required})
}

fn decode(value: &Json) -> Value {
    let content = &value["v"];
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let items = || content.as_array().into_iter().flatten();
    match value["t"].as_str().unwrap_or_default() {
        "none" => Value::None,
        "bool" => Value::Bool(content.as_bool().unwrap_or_default()),
        "int" => Value::Int(content.as_i64().unwrap_or_default()),
        "float" => Value::Float(content.as_f64().unwrap_or_default()),
        "str" => Value::Str(text(content)),
        "list" => Value::List(items().map(decode).collect()),
        "tuple" => Value::Tuple(items().map(decode).collect()),
        "dict" => Value::Dict(items().map(|pair| (decode(&pair[0]), decode(&pair[1]))).collect()),
        "member" => Value::Member { class: text(&value["class"]), member: text(content) },
        "object" => Value::Object {
            class: text(&value["class"]),
            fields: items().map(|pair| (text(&pair[0]), decode(&pair[1]))).collect(),
        },
        _ => Value::Other { type_name: text(content) },
    }
}
