//! JSON Schema from annotations, as far as the source says it.
//!
//! A worker's own description replaces it as soon as there is one; until then this is what
//! `/docs` shows. What cannot be read becomes `{}`: anything is accepted.

use serde_json::{Map, Value as Json, json};

use super::evaluate::{Binding, ClassInfo, Scope};
use super::syntax;
use super::tree::{BinaryOperator, Expr, ExprKind, Parameter, StmtKind};
use crate::endpoint::Value;

/// Makes schemas for one file; models are collected in `$defs`.
pub(super) struct Schemas<'s> {
    scope: &'s Scope<'s>,
    definitions: Map<String, Json>,
}

impl<'s> Schemas<'s> {
    /// The schema of the object that a call's parameters form.
    pub(super) fn input(scope: &'s Scope<'s>, parameters: &[Parameter], takes_kwargs: bool) -> Json {
        let mut schemas = Self { scope, definitions: Map::new() };
        let fields: Vec<_> = parameters
            .iter()
            .map(|parameter| {
                (parameter.name.as_str(), parameter.annotation.as_ref(), parameter.default.as_ref())
            })
            .collect();
        let mut schema = schemas.object(&fields);
        if takes_kwargs && let Some(object) = schema.as_object_mut() {
            object.insert("additionalProperties".to_owned(), Json::Bool(true));
        }
        if !schemas.definitions.is_empty()
            && let Some(object) = schema.as_object_mut()
        {
            object.insert("$defs".to_owned(), Json::Object(schemas.definitions));
        }
        schema
    }

    fn object(&mut self, fields: &[(&str, Option<&Expr>, Option<&Expr>)]) -> Json {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (name, annotation, default) in fields {
            let mut schema = annotation.map_or_else(|| json!({}), |annotation| self.annotation(annotation));
            if let Some(object) = schema.as_object_mut() {
                if !object.contains_key("$ref") {
                    object.insert("title".to_owned(), Json::String(title(name)));
                }
                match default {
                    None => required.push(Json::String((*name).to_owned())),
                    Some(default) => self.field_default(default, object, &mut required, name),
                }
            }
            properties.insert((*name).to_owned(), schema);
        }
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Json::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), Json::Array(required));
        }
        Json::Object(schema)
    }

    /// A default as written, or what `Field(...)` says.
    fn field_default(
        &self,
        default: &Expr,
        object: &mut Map<String, Json>,
        required: &mut Vec<Json>,
        name: &str,
    ) {
        if let ExprKind::Call(call) = &default.kind
            && matches!(self.scope.resolve(&call.function), Binding::External(dotted) if dotted == "pydantic.Field" || dotted.starts_with("fastapi."))
        {
            let written = call.positional.first().or_else(|| {
                call.keywords
                    .iter()
                    .find(|(key, _, _)| key.as_deref() == Some("default"))
                    .map(|(_, _, value)| value)
            });
            let has_factory =
                call.keywords.iter().any(|(key, _, _)| key.as_deref() == Some("default_factory"));
            match written.map(|value| self.scope.value(value)) {
                Some(Ok(Value::Other { type_name })) if type_name == "ellipsis" => {
                    required.push(Json::String(name.to_owned()));
                }
                Some(Ok(value)) => {
                    if let Some(value) = to_json(&value) {
                        object.insert("default".to_owned(), value);
                    }
                }
                Some(Err(_)) => {}
                None if has_factory => {}
                None => required.push(Json::String(name.to_owned())),
            }
            for (key, keyword) in [
                ("description", "description"),
                ("ge", "minimum"),
                ("le", "maximum"),
                ("gt", "exclusiveMinimum"),
                ("lt", "exclusiveMaximum"),
                ("min_length", "minLength"),
                ("max_length", "maxLength"),
                ("pattern", "pattern"),
            ] {
                let given = call.keywords.iter().find(|(name, _, _)| name.as_deref() == Some(key));
                if let Some(value) =
                    given.and_then(|(_, _, value)| self.scope.value(value).ok()).as_ref().and_then(to_json)
                {
                    object.insert(keyword.to_owned(), value);
                }
            }
        } else if let Some(value) = self.scope.value(default).ok().as_ref().and_then(to_json) {
            object.insert("default".to_owned(), value);
        }
    }

    fn annotation(&mut self, expr: &Expr) -> Json {
        match &expr.kind {
            ExprKind::None => json!({"type": "null"}),
            ExprKind::Str(text) => {
                syntax::parse_expression(text).map_or_else(|| json!({}), |inner| self.annotation(&inner))
            }
            ExprKind::Binary(left, BinaryOperator::Or, right) => {
                let mut options = vec![];
                for side in [left, right] {
                    match self.annotation(side) {
                        Json::Object(mut schema) if schema.len() == 1 && schema.contains_key("anyOf") => {
                            if let Some(Json::Array(inner)) = schema.remove("anyOf") {
                                options.extend(inner);
                            }
                        }
                        schema => options.push(schema),
                    }
                }
                json!({ "anyOf": options })
            }
            ExprKind::Subscript(generic, argument) => self.generic(generic, argument),
            ExprKind::Name(_) | ExprKind::Attribute(..) => self.named(expr),
            _ => json!({}),
        }
    }

    fn named(&mut self, expr: &Expr) -> Json {
        match self.scope.resolve(expr) {
            Binding::External(dotted) => plain(dotted.rsplit('.').next().unwrap_or_default()),
            Binding::Class(class) => self.class(&class),
            _ => json!({}),
        }
    }

    fn generic(&mut self, generic: &Expr, argument: &Expr) -> Json {
        let name = match (self.scope.resolve(generic), &generic.kind) {
            (Binding::External(dotted), _) => dotted.rsplit('.').next().unwrap_or_default().to_owned(),
            (_, ExprKind::Name(name) | ExprKind::Attribute(_, name)) => name.clone(),
            _ => return json!({}),
        };
        let arguments: Vec<&Expr> = match &argument.kind {
            ExprKind::Tuple(items) => items.iter().collect(),
            _ => vec![argument],
        };
        match name.as_str() {
            "Optional" => match self.annotation(argument) {
                Json::Object(schema) if schema.is_empty() => json!({}),
                schema => json!({"anyOf": [schema, {"type": "null"}]}),
            },
            "Union" => {
                let options: Vec<_> = arguments.iter().map(|option| self.annotation(option)).collect();
                json!({ "anyOf": options })
            }
            "Annotated" => arguments.first().map_or_else(|| json!({}), |inner| self.annotation(inner)),
            "Literal" => {
                let values: Vec<_> = arguments
                    .iter()
                    .filter_map(|value| self.scope.value(value).ok().as_ref().and_then(to_json))
                    .collect();
                if values.iter().all(Json::is_string) {
                    json!({"enum": values, "type": "string"})
                } else {
                    json!({ "enum": values })
                }
            }
            "list" | "List" | "Sequence" | "Iterable" | "deque" => {
                let items = self.annotation(argument);
                json!({"type": "array", "items": items})
            }
            "set" | "Set" | "frozenset" | "FrozenSet" => {
                let items = self.annotation(argument);
                json!({"type": "array", "items": items, "uniqueItems": true})
            }
            "tuple" | "Tuple" => match arguments.as_slice() {
                [item, rest] if matches!(rest.kind, ExprKind::Other { type_name: "ellipsis", .. }) => {
                    let items = self.annotation(item);
                    json!({"type": "array", "items": items})
                }
                _ => {
                    let items: Vec<_> = arguments.iter().map(|item| self.annotation(item)).collect();
                    let count = items.len();
                    json!({"type": "array", "prefixItems": items, "minItems": count, "maxItems": count})
                }
            },
            "dict" | "Dict" | "Mapping" => match arguments.as_slice() {
                [_, value] => match self.annotation(value) {
                    Json::Object(schema) if schema.is_empty() => {
                        json!({"type": "object", "additionalProperties": true})
                    }
                    schema => json!({"type": "object", "additionalProperties": schema}),
                },
                _ => json!({"type": "object", "additionalProperties": true}),
            },
            _ => json!({}),
        }
    }

    /// A pydantic model or an enum of the project.
    fn class(&mut self, class: &ClassInfo) -> Json {
        let name = &class.class.name;
        if is_enum(class) {
            let mut values = Vec::new();
            for stmt in &class.class.body {
                if let StmtKind::Assign { targets, .. } = &stmt.kind
                    && let Some(ExprKind::Name(member)) = targets.first().map(|target| &target.kind)
                    && let Some(Binding::Value(value)) = class.members.get(member)
                {
                    values.extend(to_json(value));
                }
            }
            self.definitions.insert(name.clone(), json!({"title": name, "enum": values}));
            return json!({"$ref": format!("#/$defs/{name}")});
        }
        if !is_model(class) {
            return json!({});
        }
        if !self.definitions.contains_key(name) {
            // Its own name stands there already while it is made: models may be recursive.
            self.definitions.insert(name.clone(), json!({}));
            let schema = self.model(class);
            self.definitions.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }

    fn model(&mut self, class: &ClassInfo) -> Json {
        let Some(facts) = self.scope.evaluator.facts(&class.file) else { return json!({}) };
        let scope = Scope { evaluator: self.scope.evaluator, file: &class.file, names: &facts.names };
        let mut inner = Schemas { scope: &scope, definitions: std::mem::take(&mut self.definitions) };
        let mut fields: Vec<(&str, Option<&Expr>, Option<&Expr>)> = Vec::new();
        for stmt in &class.class.body {
            if let StmtKind::Assign { targets, annotation: Some(annotation), value } = &stmt.kind
                && let Some(ExprKind::Name(field)) = targets.first().map(|target| &target.kind)
                && field != "model_config"
                && !is_class_variable(annotation)
            {
                fields.push((field, Some(annotation), value.as_ref()));
            }
        }
        let mut schema = inner.object(&fields);
        let mut inherited = Vec::new();
        for base in &class.bases {
            if let Binding::Class(base) = base
                && is_model(base)
            {
                inherited.push(inner.model(base));
            }
        }
        self.definitions = std::mem::take(&mut inner.definitions);
        for base in inherited {
            extend_with_base(&mut schema, &base);
        }
        if let Some(object) = schema.as_object_mut() {
            object.insert("title".to_owned(), Json::String(class.class.name.clone()));
            if let Some(doc) = &class.class.doc {
                object.insert("description".to_owned(), Json::String(doc.clone()));
            }
        }
        schema
    }
}

/// Puts a base model's fields before those of the class itself, which win.
fn extend_with_base(schema: &mut Json, base: &Json) {
    let own = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut required: Vec<Json> = base["required"].as_array().cloned().unwrap_or_default();
    required.retain(|name| name.as_str().is_some_and(|name| !own.contains_key(name)));
    required.extend(schema["required"].as_array().cloned().unwrap_or_default());
    let mut properties = base["properties"].as_object().cloned().unwrap_or_default();
    properties.extend(own);
    if let Some(object) = schema.as_object_mut() {
        object.insert("properties".to_owned(), Json::Object(properties));
        if !required.is_empty() {
            object.insert("required".to_owned(), Json::Array(required));
        }
    }
}

fn is_class_variable(annotation: &Expr) -> bool {
    matches!(&annotation.kind, ExprKind::Subscript(generic, _)
        if matches!(&generic.kind, ExprKind::Name(name) | ExprKind::Attribute(_, name) if name == "ClassVar"))
}

fn has_base(class: &ClassInfo, wanted: &dyn Fn(&str) -> bool) -> bool {
    class.bases.iter().any(|base| match base {
        Binding::External(dotted) => wanted(dotted),
        Binding::Class(base) => has_base(base, wanted),
        _ => false,
    })
}

fn is_model(class: &ClassInfo) -> bool {
    has_base(class, &|dotted| dotted == "pydantic.BaseModel" || dotted == "pydantic.main.BaseModel")
}

fn is_enum(class: &ClassInfo) -> bool {
    has_base(class, &|dotted| matches!(dotted, "enum.Enum" | "enum.StrEnum" | "enum.IntEnum"))
}

fn plain(name: &str) -> Json {
    match name {
        "int" => json!({"type": "integer"}),
        "float" => json!({"type": "number"}),
        "str" => json!({"type": "string"}),
        "bool" => json!({"type": "boolean"}),
        "bytes" => json!({"type": "string", "format": "binary"}),
        "list" | "List" | "tuple" | "Tuple" => json!({"type": "array", "items": {}}),
        "set" | "Set" | "frozenset" => json!({"type": "array", "items": {}, "uniqueItems": true}),
        "dict" | "Dict" => json!({"type": "object", "additionalProperties": true}),
        "datetime" => json!({"type": "string", "format": "date-time"}),
        "date" => json!({"type": "string", "format": "date"}),
        "UUID" => json!({"type": "string", "format": "uuid"}),
        "Path" => json!({"type": "string", "format": "path"}),
        _ => json!({}),
    }
}

/// `max_tokens` as `Max Tokens`, as pydantic titles fields.
fn title(name: &str) -> String {
    name.split('_')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let mut letters = part.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A known value as JSON, where it has a JSON form.
fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::None => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Str(value) => json!(value),
        Value::List(items) | Value::Tuple(items) => {
            Json::Array(items.iter().map(to_json).collect::<Option<_>>()?)
        }
        Value::Dict(items) => {
            let mut object = Map::new();
            for (key, value) in items {
                let Value::Str(key) = key else { return None };
                object.insert(key.clone(), to_json(value)?);
            }
            Json::Object(object)
        }
        Value::Member { class, member } => Json::String(super::config::member_value(class, member)?),
        Value::Object { .. } | Value::Environment { .. } | Value::Template(_) | Value::Other { .. } => {
            return None;
        }
    })
}
