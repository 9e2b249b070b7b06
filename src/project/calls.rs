//! What calls return, where the source alone says it.

use super::evaluate::{Binding, Scope, Unknown, sdk_name};
use super::operators::{convert, insert};
use super::tree::{Call, Expr, ExprKind};
use crate::endpoint::{Template, Value};

/// Classes whose instances are read with their fields.
const OBJECTS: [&str; 3] = ["NetworkVolume", "PodTemplate", "KeyValuePair"];

impl Scope<'_> {
    /// Keyword arguments with `**dict` spread; a position is an [`Unknown`].
    fn keywords(&self, call: &Call) -> Result<Vec<(String, Value)>, Unknown> {
        let mut fields = Vec::new();
        for (name, range, value) in &call.keywords {
            match (name, self.value(value)?) {
                (Some(name), value) => fields.push((name.clone(), value)),
                (None, Value::Dict(items)) => {
                    for (key, value) in items {
                        match key {
                            Value::Str(key) => fields.push((key, value)),
                            _ => {
                                return Err(Unknown {
                                    range: *range,
                                    reason: "keys are not text".to_owned(),
                                });
                            }
                        }
                    }
                }
                (None, _) => return Err(Unknown { range: *range, reason: "not a dict".to_owned() }),
            }
        }
        Ok(fields)
    }

    pub(super) fn call(&self, expr: &Expr, call: &Call) -> Result<Value, Unknown> {
        let unknown = |reason: String| Unknown { range: expr.range, reason };
        if let ExprKind::Attribute(object, method) = &call.function.kind
            && let Ok(object) = self.value(object)
            && let Some(value) = self.method(expr, object, method, call)?
        {
            return Ok(value);
        }
        let dotted = match self.resolve(&call.function) {
            Binding::External(dotted) => dotted,
            Binding::Unknown(reason) => return Err(Unknown { range: call.function.range, reason }),
            Binding::Class(class) => {
                return Err(unknown(format!(
                    "an instance of `{}` is only known when the file runs",
                    class.class.name
                )));
            }
            _ => return Err(unknown("the result of a call is only known when the file runs".to_owned())),
        };
        if let Some(class) = sdk_name(&dotted) {
            if OBJECTS.contains(&class) && call.positional.is_empty() {
                return Ok(Value::Object { class: class.to_owned(), fields: self.keywords(call)? });
            }
            if class == "Endpoint" {
                return Ok(Value::Other { type_name: "Endpoint".to_owned() });
            }
        }
        match (dotted.as_str(), call.positional.as_slice()) {
            ("os.getenv" | "os.environ.get", [name]) if call.keywords.is_empty() => match self.plain(name)? {
                Value::Str(name) => Ok(Value::Environment { name, default: None }),
                _ => Err(unknown("the variable's name is not known".to_owned())),
            },
            ("os.getenv" | "os.environ.get", [name, default]) => {
                match (self.plain(name)?, self.plain(default)?) {
                    (Value::Str(name), Value::Str(default)) => {
                        Ok(Value::Environment { name, default: Some(default) })
                    }
                    (Value::Str(name), other) => {
                        Ok(if self.evaluator.variable(&name).is_some() || other == Value::None {
                            Value::Environment { name, default: None }
                        } else {
                            other
                        })
                    }
                    _ => Err(unknown("the variable's name is not known".to_owned())),
                }
            }
            ("builtins.dict", positional) => {
                let mut items = match positional {
                    [] => Vec::new(),
                    [first] => match self.value(first)? {
                        Value::Dict(items) => items,
                        _ => return Err(unknown("not a dict".to_owned())),
                    },
                    _ => return Err(unknown("not a dict".to_owned())),
                };
                for (name, value) in self.keywords(call)? {
                    insert(&mut items, Value::Str(name), value);
                }
                Ok(Value::Dict(items))
            }
            ("copy.copy" | "copy.deepcopy", [value]) => self.value(value),
            ("builtins.list", []) => Ok(Value::List(Vec::new())),
            (name, [value]) if name.starts_with("builtins.") => {
                let mut known = self.value(value)?;
                if name != "builtins.str" || known.variables().is_empty() {
                    known = self.settle(value, known, false)?;
                } else {
                    return Ok(known);
                }
                convert(&name["builtins.".len()..], known)
                    .ok_or_else(|| unknown("this conversion is not evaluated".to_owned()))
            }
            _ => Err(unknown(format!("the result of `{}` is only known when the file runs", short(&dotted)))),
        }
    }

    /// What a method returns; text that it makes of variables' values stays known as such.
    fn method(
        &self,
        expr: &Expr,
        object: Value,
        method: &str,
        call: &Call,
    ) -> Result<Option<Value>, Unknown> {
        if !call.keywords.is_empty() {
            return Ok(None);
        }
        let mut names = object.variables();
        let Ok(object) = self.settle(expr, object, false) else { return Ok(None) };
        let mut arguments = Vec::new();
        for argument in &call.positional {
            let argument = self.value(argument)?;
            names.extend(argument.variables());
            arguments.push(self.settle(expr, argument, false)?);
        }
        let made = apply(&object, method, &arguments, &names);
        Ok(match made {
            Some(made) if !names.is_empty() => Some(derived(made, &names)),
            made => made,
        })
    }
}

/// Marks texts as made of variables' values.
fn derived(value: Value, names: &[String]) -> Value {
    match value {
        Value::Str(text) => Template::derived(names.to_vec(), text).into_value(),
        Value::List(items) => Value::List(items.into_iter().map(|item| derived(item, names)).collect()),
        other => other,
    }
}

/// `object.method(*arguments)` of plain values; `names` are the variables that they come from.
fn apply(object: &Value, method: &str, arguments: &[Value], names: &[String]) -> Option<Value> {
    match (object, method, arguments) {
        (Value::Str(text), "lower", []) => Some(Value::Str(text.to_lowercase())),
        (Value::Str(text), "upper", []) => Some(Value::Str(text.to_uppercase())),
        (Value::Str(text), "strip", []) => Some(Value::Str(text.trim().to_owned())),
        (Value::Str(text), "replace", [Value::Str(from), Value::Str(to)]) => {
            Some(Value::Str(text.replace(from.as_str(), to)))
        }
        (Value::Str(text), "split", []) => {
            Some(Value::List(text.split_whitespace().map(|part| Value::Str(part.to_owned())).collect()))
        }
        (Value::Str(text), "split", [Value::Str(by)]) if !by.is_empty() => {
            Some(Value::List(text.split(by.as_str()).map(|part| Value::Str(part.to_owned())).collect()))
        }
        (Value::Str(text), "join", [Value::List(parts) | Value::Tuple(parts)]) => {
            let mut made = Template::default();
            if !names.is_empty() {
                return None;
            }
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    made.push_text(text);
                }
                if !made.push(part) {
                    return None;
                }
            }
            Some(made.into_value())
        }
        (Value::Dict(items), "get", [key, rest @ ..]) => Some(
            items
                .iter()
                .find(|(known, _)| known == key)
                .map_or_else(|| rest.first().cloned().unwrap_or(Value::None), |(_, value)| value.clone()),
        ),
        (Value::Dict(_) | Value::List(_), "copy", []) => Some(object.clone()),
        _ => None,
    }
}

fn short(dotted: &str) -> &str {
    dotted.strip_prefix("builtins.").unwrap_or(dotted)
}
