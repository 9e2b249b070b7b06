//! Values of arguments and variables, checked against their types.

use async_graphql_parser::types::{BaseType, Type};
use async_graphql_value::{ConstValue, Value as Literal};
use serde_json::{Map, Value};

use super::error::QueryError;
use super::schema::{Kind, schema};

/// Reads an argument: literals and variables become JSON of the type that is asked for.
pub(super) fn argument(
    name: &str,
    ty: &Type,
    literal: &Literal,
    variables: &Map<String, Value>,
) -> Result<Value, QueryError> {
    let literal = literal.clone().into_const_with(|variable| {
        let value = variables.get(variable.as_str());
        let value = value.ok_or_else(|| {
            QueryError(format!("Variable \"${variable}\" is not defined by the operation."))
        })?;
        ConstValue::from_json(value.clone()).map_err(|error| QueryError(error.to_string()))
    })?;
    coerce(name, ty, literal)
}

/// Turns a value into JSON of a type; `path` names it in errors.
pub(super) fn coerce(path: &str, ty: &Type, value: ConstValue) -> Result<Value, QueryError> {
    if value == ConstValue::Null {
        if ty.nullable {
            return Ok(Value::Null);
        }
        return Err(QueryError(format!("`{path}` of type `{ty}` must not be null.")));
    }
    let name = match (&ty.base, value) {
        (BaseType::List(inner), ConstValue::List(items)) => {
            let items = items.into_iter().enumerate();
            let items = items.map(|(index, item)| coerce(&format!("{path}[{index}]"), inner, item));
            return items.collect();
        }
        // A single value stands for a list of one.
        (BaseType::List(inner), value) => return Ok(Value::Array(vec![coerce(path, inner, value)?])),
        (BaseType::Named(name), value) => (name.as_str(), value),
    };
    named(path, name.0, name.1)
}

fn named(path: &str, name: &str, value: ConstValue) -> Result<Value, QueryError> {
    let wrong = |value: &ConstValue| {
        QueryError(format!("`{path}` must be of type `{name}`, not {}.", kind_of(value)))
    };
    match (name, &value) {
        ("String" | "ID", ConstValue::String(text)) => Ok(Value::String(text.clone())),
        ("ID", ConstValue::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(Value::String(number.to_string()))
        }
        ("Int", ConstValue::Number(number)) if number.is_i64() || number.is_u64() => {
            Ok(Value::Number(number.clone()))
        }
        ("Float", ConstValue::Number(number)) => Ok(Value::Number(number.clone())),
        ("Boolean", ConstValue::Boolean(flag)) => Ok(Value::Bool(*flag)),
        _ => match (schema().kind(name), value) {
            (Some(Kind::Json), value) => value.into_json().map_err(|error| QueryError(error.to_string())),
            (Some(Kind::Enum(values)), ConstValue::Enum(text)) => one_of(path, name, values, text.as_str()),
            // Variables have no enum values: they come as strings.
            (Some(Kind::Enum(values)), ConstValue::String(text)) => one_of(path, name, values, &text),
            (Some(Kind::Input(fields)), ConstValue::Object(mut given)) => {
                let mut object = Map::new();
                for (field, ty) in fields {
                    match given.swap_remove(field.as_str()) {
                        Some(value) => {
                            object.insert(field.clone(), coerce(&format!("{path}.{field}"), ty, value)?);
                        }
                        None if ty.nullable => {}
                        None => {
                            let text = format!(
                                "Field \"{name}.{field}\" of required type \"{ty}\" was not provided."
                            );
                            return Err(QueryError(text));
                        }
                    }
                }
                match given.keys().next() {
                    None => Ok(Value::Object(object)),
                    Some(field) => {
                        Err(QueryError(format!("Field \"{field}\" is not defined by type \"{name}\".")))
                    }
                }
            }
            (_, value) => Err(wrong(&value)),
        },
    }
}

fn one_of(path: &str, name: &str, values: &[String], text: &str) -> Result<Value, QueryError> {
    if values.iter().any(|value| value == text) {
        return Ok(Value::String(text.to_owned()));
    }
    Err(QueryError(format!("`{path}`: \"{text}\" is not a value of \"{name}\": {}.", values.join(", "))))
}

/// Never the value itself: it may be secret.
fn kind_of(value: &ConstValue) -> &'static str {
    match value {
        ConstValue::Null => "null",
        ConstValue::Number(_) => "a number",
        ConstValue::String(_) => "a string",
        ConstValue::Boolean(_) => "a boolean",
        ConstValue::Binary(_) => "bytes",
        ConstValue::Enum(_) => "an enum value",
        ConstValue::List(_) => "a list",
        ConstValue::Object(_) => "an object",
    }
}
