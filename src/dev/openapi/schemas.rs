//! `components/schemas`: definitions of many endpoints under unique names.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Definitions gathered so far.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    components: Map<String, Value>,
}

impl Schemas {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Returns a definition.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.components.get(name)
    }

    /// Follows a `$ref` into the components.
    pub(super) fn resolve(&self, reference: &str) -> Option<&Value> {
        self.get(reference.strip_prefix("#/components/schemas/")?)
    }

    /// The `components/schemas` object.
    pub(super) fn into_components(self) -> Value {
        Value::Object(self.components)
    }

    /// Adds a schema under `name` (or one like it, if that name means something else); its `$defs`
    /// become definitions of their own. Returns the name.
    pub(super) fn insert(&mut self, name: &str, schema: &Value, owner: &str) -> String {
        let schema = self.adopt(schema, owner);
        self.define(name, schema, owner)
    }

    /// Moves a schema's `$defs` here and returns the rest, its references following them.
    pub(super) fn adopt(&mut self, schema: &Value, owner: &str) -> Value {
        let mut schema = schema.clone();
        let definitions = schema.as_object_mut().and_then(|object| object.remove("$defs"));
        self.adopt_with(&schema, definitions.unwrap_or_default(), owner)
    }

    /// Takes over `definitions` and returns `value` with its references following them.
    pub(super) fn adopt_with(&mut self, value: &Value, definitions: Value, owner: &str) -> Value {
        let Value::Object(definitions) = definitions else { return value.clone() };
        // Names first: definitions refer to each other.
        let names: HashMap<String, String> = definitions
            .iter()
            .map(|(name, schema)| (name.clone(), self.name_for(name, schema, owner)))
            .collect();
        for (name, schema) in &definitions {
            let Some(new_name) = names.get(name) else { continue };
            let schema = rename(schema, &names);
            self.components.entry(new_name.clone()).or_insert(schema);
        }
        rename(value, &names)
    }

    /// Adds FastAPI's two definitions for a 422.
    pub(super) fn define_validation_error(&mut self) {
        self.components.entry("ValidationError").or_insert_with(|| {
            json!({
                "title": "ValidationError",
                "type": "object",
                "properties": {
                    "loc": { "title": "Location", "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] } },
                    "msg": { "title": "Message", "type": "string" },
                    "type": { "title": "Error Type", "type": "string" },
                },
                "required": ["loc", "msg", "type"],
            })
        });
        self.components.entry("HTTPValidationError").or_insert_with(|| {
            json!({
                "title": "HTTPValidationError",
                "type": "object",
                "properties": { "detail": {
                    "title": "Detail",
                    "type": "array",
                    "items": { "$ref": "#/components/schemas/ValidationError" },
                } },
            })
        });
    }

    fn define(&mut self, name: &str, schema: Value, owner: &str) -> String {
        let name = self.name_for(name, &schema, owner);
        self.components.entry(name.clone()).or_insert(schema);
        name
    }

    /// A name that is free or already means this very schema.
    fn name_for(&self, name: &str, schema: &Value, owner: &str) -> String {
        let is_ours = |name: &str| match self.components.get(name) {
            None => true,
            // A schema with references is compared as it stands after renaming; where names did
            // not change this is the same text.
            Some(known) => known == &rename(schema, &HashMap::new()),
        };
        if is_ours(name) {
            return name.to_owned();
        }
        let mut candidate = format!("{owner}_{name}");
        let mut number = 2;
        while !is_ours(&candidate) {
            candidate = format!("{owner}_{name}_{number}");
            number += 1;
        }
        candidate
    }
}

/// Points `$ref`s (of pydantic's or FastAPI's form) at the components, under their new names.
fn rename(value: &Value, names: &HashMap<String, String>) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let text = value.as_str().filter(|_| key == "$ref");
                let name = text.and_then(|text| {
                    text.strip_prefix("#/$defs/").or_else(|| text.strip_prefix("#/components/schemas/"))
                });
                let value = match name {
                    Some(name) => {
                        let name = names.get(name).map_or(name, String::as_str);
                        Value::from(format!("#/components/schemas/{name}"))
                    }
                    None => rename(value, names),
                };
                (key.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| rename(item, names)).collect(),
        other => other.clone(),
    }
}
