//! Takes over the endpoints that 1.21 tracked in `.flash/resources.pkl`.
//!
//! A pickle is a program. This one is read as data: no global is looked up and nothing is called,
//! whatever stands in it; classes come out as `None`. The file stays as it is.

use std::fs;
use std::path::Path;

use serde_pickle::{DeOptions, HashableValue, Value};

use super::state::Tracked;
use crate::runpod::error::{ErrorKind, RunpodError};

/// Largest file that is read.
const LARGEST: u64 = 16 << 20;

/// Returns the endpoints in `.flash/resources.pkl`, or in `.runpod/resources.pkl` of older
/// versions; none where there is no such file.
pub(super) fn import(folder: &Path) -> Result<Vec<Tracked>, RunpodError> {
    let older = folder.parent().map(|root| root.join(".runpod").join("resources.pkl"));
    let Some(path) =
        [Some(folder.join("resources.pkl")), older].into_iter().flatten().find(|path| path.exists())
    else {
        return Ok(Vec::new());
    };
    let wrong = |reason: String| {
        let message = format!("cannot read `{}`, which runpod-flash 1.21 wrote: {reason}", path.display());
        RunpodError::new(ErrorKind::Configuration, message)
            .with_hint("move it away; the endpoints it tracks are listed in Runpod's console")
    };
    let length = fs::metadata(&path).map_err(|error| wrong(error.to_string()))?.len();
    if length > LARGEST {
        return Err(wrong(format!("it has {length} bytes")));
    }
    let bytes = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let options = DeOptions::new().replace_unresolved_globals().replace_recursive_structures();
    let content =
        serde_pickle::value_from_slice(&bytes, options).map_err(|error| wrong(error.to_string()))?;
    let api = crate::runpod::urls::Urls::from_environment()?.api;
    Ok(endpoints(&content, &api))
}

/// `(resources, hashes)`, or the resources alone in older files.
fn endpoints(content: &Value, api: &str) -> Vec<Tracked> {
    let resources = match content {
        Value::Tuple(parts) => parts.first(),
        other => Some(other),
    };
    let Some(Value::Dict(resources)) = resources else { return Vec::new() };
    let entry = |(key, object): (&HashableValue, &Value)| {
        let HashableValue::String(key) = key else { return None };
        let text = |name: &str| match field(object, name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let class = key.split([':', '_']).next().unwrap_or_default();
        // Volumes are found by their name again.
        if class == "NetworkVolume" {
            return None;
        }
        Some(Tracked {
            class: class.to_owned(),
            name: text("name")?,
            api: api.to_owned(),
            id: Some(text("id")?),
            template_id: text("templateId"),
            made: text("createdAt").unwrap_or_default(),
            is_temporary: false,
            runs: Vec::new(),
            known_before: Vec::new(),
            price_per_hour: None,
            config: None,
            volumes: Vec::new(),
        })
    };
    resources.iter().filter_map(entry).collect()
}

/// A field of a pydantic object, whose state has the fields in `__dict__`.
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let get = |value: &'a Value, name: &str| match value {
        Value::Dict(fields) => fields.get(&HashableValue::String(name.to_owned())),
        _ => None,
    };
    get(object, "__dict__").and_then(|fields| get(fields, name)).or_else(|| get(object, name))
}
