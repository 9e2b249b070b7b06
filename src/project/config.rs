//! From evaluated arguments to a checked configuration, with every problem at its place.

use std::collections::HashMap;
use std::path::Path;

use super::diagnostic::{Diagnostic, Label, Severity, Span};
use super::facts::{Argument, EndpointCall};
use super::tree::Range;
use crate::catalog;
use crate::endpoint::{ConfigError, EndpointConfig, Value, parameters};

/// The value of a member of a public enum.
pub(super) fn member_value(class: &str, member: &str) -> Option<String> {
    catalog::enum_table(class)?.value_of(member).map(str::to_owned)
}

/// A range of a file as a span.
pub(super) fn span(file: &Path, range: Range) -> Span {
    Span { file: file.to_owned(), start: range.start, end: range.end }
}

/// An error at one place.
pub(super) fn error(
    rule: &'static str,
    message: impl Into<String>,
    place: Span,
    label: &str,
    hint: Option<String>,
) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule,
        message: message.into(),
        primary: Some(Label { span: place, text: label.to_owned() }),
        secondary: Vec::new(),
        hint,
    }
}

/// Checks the arguments of one `Endpoint(...)`; all of them must be known.
pub(super) fn check(
    file: &Path,
    call: &EndpointCall,
    environment: &HashMap<String, String>,
) -> Result<EndpointConfig, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in &call.arguments {
        let Ok(value) = &argument.value else { continue };
        // Variables stay names only in `env`, where the manifest writes them as `${NAME}`.
        let value = if argument.name == "env" {
            value.clone()
        } else {
            match settle(value, environment) {
                Ok(value) => value,
                Err(name) => {
                    problems.push(error(
                        "environment-variable",
                        format!("environment variable `{name}` is not set"),
                        span(file, argument.range),
                        "needed here",
                        Some(format!(
                            "set it in `.env`, or give a default: `os.getenv(\"{name}\", \"...\")`"
                        )),
                    ));
                    continue;
                }
            }
        };
        arguments.push((argument.name.clone(), value));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    EndpointConfig::from_arguments(&arguments)
        .map_err(|errors| errors.into_iter().map(|problem| locate(file, call, problem)).collect())
}

/// Puts a configuration error where the argument stands.
fn locate(file: &Path, call: &EndpointCall, problem: ConfigError) -> Diagnostic {
    let argument = call.arguments.iter().find(|argument| argument.name == problem.parameter);
    let is_known = parameters::find(&problem.parameter).is_some();
    let range = match argument {
        Some(argument) if is_known => place(argument, problem.index),
        Some(argument) => argument.keyword,
        None => call.range,
    };
    error("endpoint-arguments", problem.message, span(file, range), "", problem.hint)
}

fn place(argument: &Argument, index: Option<usize>) -> Range {
    index.and_then(|index| argument.elements.get(index)).copied().unwrap_or(argument.range)
}

/// Looks up variables of the environment; the error is the name of one that is not set.
fn settle(value: &Value, environment: &HashMap<String, String>) -> Result<Value, String> {
    let all = |items: &[Value]| -> Result<Vec<Value>, String> {
        items.iter().map(|item| settle(item, environment)).collect()
    };
    if let Some(text) = value.filled(&|name| environment.get(name).cloned()) {
        return text.map(Value::Str);
    }
    Ok(match value {
        Value::List(items) => Value::List(all(items)?),
        Value::Tuple(items) => Value::Tuple(all(items)?),
        Value::Dict(items) => Value::Dict(
            items
                .iter()
                .map(|(key, value)| Ok((settle(key, environment)?, settle(value, environment)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Object { class, fields } => Value::Object {
            class: class.clone(),
            fields: fields
                .iter()
                .map(|(name, value)| {
                    // A pod template's `env` stays names as well.
                    let value = if name == "env" { value.clone() } else { settle(value, environment)? };
                    Ok((name.clone(), value))
                })
                .collect::<Result<_, String>>()?,
        },
        other => other.clone(),
    })
}
