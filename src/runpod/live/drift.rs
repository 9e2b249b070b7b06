//! What changed about an endpoint since Runpod was told of it.
//!
//! Every field counts, for CPUs as for GPUs, the template's too.

use serde_json::{Map, Value};

use super::state::Tracked;
use crate::runpod::control::{EndpointInput, VolumeInput};

/// Longest value that is shown.
const SHOWN: usize = 40;

/// Returns what changed, in words; empty where nothing did. `wanted` is as
/// [`super::state::State::kept`] has it.
pub(super) fn drift(tracked: &Tracked, wanted: &EndpointInput, volumes: &[VolumeInput]) -> Vec<String> {
    let Some(before) = &tracked.config else {
        return vec!["what Runpod has is not known here".to_owned()];
    };
    let mut changes = Vec::new();
    compare("", &object(before), &object(wanted), &mut changes);
    if tracked.volumes != volumes {
        changes.push("volume".to_owned());
    }
    changes
}

fn object(input: &EndpointInput) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(input) else { return Map::new() };
    if let Some(Value::Object(template)) = fields.remove("template") {
        for (name, value) in template {
            match value {
                Value::Array(variables) if name == "env" => {
                    let named = |variable: &Value| {
                        let name = variable.get("key")?.as_str()?;
                        Some((format!("env {name}"), variable.get("value")?.clone()))
                    };
                    fields.extend(variables.iter().filter_map(named));
                }
                value => drop(fields.insert(name, value)),
            }
        }
    }
    fields
}

fn compare(prefix: &str, before: &Map<String, Value>, after: &Map<String, Value>, changes: &mut Vec<String>) {
    for (name, value) in after {
        let name_text = format!("{prefix}{name}");
        let is_variable = name.starts_with("env ");
        match before.get(name) {
            Some(old) if old == value => {}
            Some(_) if is_variable => changes.push(name_text),
            None if is_variable => changes.push(format!("{name_text} is new")),
            old => changes.push(format!("{name_text} {} → {}", shown(old), shown(Some(value)))),
        }
    }
    for (name, old) in before {
        if !after.contains_key(name) {
            let is_variable = name.starts_with("env ");
            changes.push(if is_variable {
                format!("{prefix}{name} is gone")
            } else {
                format!("{prefix}{name} {} → default", shown(Some(old)))
            });
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => "default".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    if text.chars().count() > SHOWN {
        return text.chars().take(SHOWN - 1).chain(['…']).collect();
    }
    text
}
