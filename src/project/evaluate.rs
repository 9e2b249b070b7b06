//! Static evaluation of expressions: what Python would compute, where the source alone says it.
//!
//! Anything else is [`Unknown`], never a guess.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::facts::{Evaluator, Facts};
use super::imports;
use super::tree::{BinaryOperator, Call, Class, Expr, ExprKind, FormatPart, Range};
use crate::endpoint::Value;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Binding {
    /// A known value.
    Value(Value),
    /// Something outside the project, by dotted name, such as `os.environ` or `runpod_flash.Endpoint`.
    External(String),
    /// A module or package of the project, by dotted name.
    Project(String),
    /// An `Endpoint(...)` held in a variable.
    Endpoint(EndpointRef),
    /// A function of the project.
    Function {
        /// Whether calling it makes or changes endpoints.
        makes_endpoints: bool,
    },
    /// A class of the project.
    Class(Arc<ClassInfo>),
    /// Not known; says what it is.
    Unknown(String),
}

/// Which `Endpoint(...)` call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EndpointRef {
    pub(super) file: PathBuf,
    pub(super) index: usize,
    /// Whether it has `id=` or `image=`.
    pub(super) is_client: bool,
}

/// A class of the project with what its body binds.
#[derive(Debug)]
pub(super) struct ClassInfo {
    pub(super) file: PathBuf,
    pub(super) class: Arc<Class>,
    pub(super) members: HashMap<String, Binding>,
    pub(super) bases: Vec<Binding>,
}

/// Why a value cannot be known without running the code.
#[derive(Debug, Clone)]
pub(super) struct Unknown {
    pub(super) range: Range,
    pub(super) reason: String,
}

const ENUMS: [&str; 7] = [
    "GpuType",
    "GpuGroup",
    "CpuInstanceType",
    "CudaVersion",
    "DataCenter",
    "ServerlessScalerType",
    "ServerlessType",
];
const OBJECTS: [&str; 3] = ["NetworkVolume", "PodTemplate", "KeyValuePair"];

/// The name in `runpod_flash` that a dotted name stands for; deep module paths count as well.
pub(super) fn sdk_name(dotted: &str) -> Option<&str> {
    let rest = dotted.strip_prefix("runpod_flash.")?;
    Some(rest.rsplit('.').next().unwrap_or(rest))
}

/// Whether two bindings surely are the same; unknown ones never are.
pub(super) fn same(left: &Binding, right: &Binding) -> bool {
    match (left, right) {
        (Binding::Value(left), Binding::Value(right)) => left == right,
        (Binding::External(left), Binding::External(right))
        | (Binding::Project(left), Binding::Project(right)) => left == right,
        (Binding::Endpoint(left), Binding::Endpoint(right)) => left == right,
        (Binding::Class(left), Binding::Class(right)) => Arc::ptr_eq(left, right),
        _ => false,
    }
}

/// Evaluates expressions of one file, with the names bound so far.
pub(super) struct Scope<'s> {
    pub(super) evaluator: &'s Evaluator<'s>,
    pub(super) file: &'s PathBuf,
    pub(super) names: &'s HashMap<String, Binding>,
}

impl Scope<'_> {
    /// What an expression stands for.
    pub(super) fn resolve(&self, expr: &Expr) -> Binding {
        match &expr.kind {
            ExprKind::Name(name) => self.name(name),
            ExprKind::Attribute(object, attribute) => self.attribute(&self.resolve(object), attribute),
            _ => match self.value(expr) {
                Ok(value) => Binding::Value(value),
                Err(unknown) => Binding::Unknown(unknown.reason),
            },
        }
    }

    fn name(&self, name: &str) -> Binding {
        if let Some(binding) = self.names.get(name) {
            return binding.clone();
        }
        match name {
            "__name__" => Binding::Value(Value::Str(imports::module_name(self.file))),
            "__debug__" => Binding::Value(Value::Bool(true)),
            "int" | "float" | "str" | "bool" | "list" | "tuple" | "dict" | "set" | "bytes" | "len"
            | "object" | "frozenset" | "isinstance" | "print" | "globals" | "setattr" | "property"
            | "staticmethod" | "classmethod" | "bytearray" | "complex" => {
                Binding::External(format!("builtins.{name}"))
            }
            _ => Binding::Unknown(format!("`{name}` is not known here")),
        }
    }

    fn attribute(&self, object: &Binding, attribute: &str) -> Binding {
        match object {
            Binding::External(dotted) => {
                if let Some(class) = sdk_name(dotted).filter(|name| ENUMS.contains(name)) {
                    return Binding::Value(Value::Member {
                        class: class.to_owned(),
                        member: attribute.to_owned(),
                    });
                }
                match (dotted.as_str(), attribute) {
                    ("typing", "TYPE_CHECKING") => Binding::Value(Value::Bool(false)),
                    ("sys", "platform") => Binding::Value(Value::Str(
                        if cfg!(target_os = "macos") { "darwin" } else { "linux" }.to_owned(),
                    )),
                    _ => Binding::External(format!("{dotted}.{attribute}")),
                }
            }
            Binding::Project(module) => self.evaluator.member(module, attribute),
            Binding::Class(class) => class.members.get(attribute).cloned().unwrap_or_else(|| {
                Binding::Unknown(format!("`{}.{attribute}` is not known", class.class.name))
            }),
            // A member of an enum in the project was bound to its value already.
            Binding::Value(value @ (Value::Str(_) | Value::Int(_) | Value::Float(_)))
                if attribute == "value" =>
            {
                Binding::Value(value.clone())
            }
            Binding::Value(Value::Member { class, member }) if attribute == "value" => {
                match super::config::member_value(class, member) {
                    Some(value) => Binding::Value(Value::Str(value)),
                    None => Binding::Unknown(format!("`{class}.{member}` is not known")),
                }
            }
            Binding::Value(Value::Member { member, .. }) if attribute == "name" => {
                Binding::Value(Value::Str(member.clone()))
            }
            Binding::Value(Value::Object { fields, .. }) => {
                fields.iter().find(|(name, _)| name == attribute).map_or_else(
                    || Binding::Unknown(format!("`.{attribute}` is not known")),
                    |(_, value)| Binding::Value(value.clone()),
                )
            }
            Binding::Value(_) | Binding::Endpoint(_) | Binding::Function { .. } => {
                Binding::Unknown(format!("`.{attribute}` is only known when the file runs"))
            }
            Binding::Unknown(reason) => Binding::Unknown(reason.clone()),
        }
    }

    /// The value of an expression.
    pub(super) fn value(&self, expr: &Expr) -> Result<Value, Unknown> {
        let unknown = |reason: &str| Unknown { range: expr.range, reason: reason.to_owned() };
        match &expr.kind {
            ExprKind::None => Ok(Value::None),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Int(value) => Ok(Value::Int(*value)),
            ExprKind::Float(value) => Ok(Value::Float(*value)),
            ExprKind::Str(value) => Ok(Value::Str(value.clone())),
            ExprKind::Format(parts) => self.format(parts),
            ExprKind::Name(_) | ExprKind::Attribute(..) => match self.resolve(expr) {
                Binding::Value(value) => Ok(value),
                Binding::External(dotted) if dotted == "typing.TYPE_CHECKING" => Ok(Value::Bool(false)),
                Binding::External(dotted)
                    if sdk_name(&dotted).is_some() || dotted.starts_with("builtins.") =>
                {
                    Ok(Value::Other { type_name: "type".to_owned() })
                }
                Binding::External(dotted) => {
                    Err(unknown(&format!("`{dotted}` is only known when the file runs")))
                }
                Binding::Project(_) => Ok(Value::Other { type_name: "module".to_owned() }),
                Binding::Endpoint(_) => Ok(Value::Other { type_name: "Endpoint".to_owned() }),
                Binding::Function { .. } => Ok(Value::Other { type_name: "function".to_owned() }),
                Binding::Class(_) => Ok(Value::Other { type_name: "type".to_owned() }),
                Binding::Unknown(reason) => Err(unknown(&reason)),
            },
            ExprKind::Subscript(object, index) => self.subscript(expr, object, index),
            ExprKind::Call(call) => self.call(expr, call),
            ExprKind::List(items) => self.items(items).map(Value::List),
            ExprKind::Tuple(items) => self.items(items).map(Value::Tuple),
            ExprKind::Dict(items) => {
                let mut pairs = Vec::new();
                for (key, value) in items {
                    if let Some(key) = key {
                        insert(&mut pairs, self.value(key)?, self.value(value)?);
                    } else {
                        match self.value(value)? {
                            Value::Dict(more) => {
                                for (key, value) in more {
                                    insert(&mut pairs, key, value);
                                }
                            }
                            _ => return Err(Unknown { range: value.range, reason: "not a dict".to_owned() }),
                        }
                    }
                }
                Ok(Value::Dict(pairs))
            }
            ExprKind::Binary(left, operator, right) => {
                let (left, right) = (self.plain(left)?, self.plain(right)?);
                binary(left, *operator, right).ok_or_else(|| unknown("this operation is not evaluated"))
            }
            ExprKind::Negative(value) => match self.value(value)? {
                Value::Int(value) => {
                    value.checked_neg().map(Value::Int).ok_or_else(|| unknown("number out of range"))
                }
                Value::Float(value) => Ok(Value::Float(-value)),
                _ => Err(unknown("not a number")),
            },
            ExprKind::Not(value) => Ok(Value::Bool(!self.truth(value)?)),
            ExprKind::Or(values) => {
                let mut last = Value::None;
                for (index, part) in values.iter().enumerate() {
                    last = self.value(part)?;
                    // `os.getenv("X") or "y"` keeps the variable's name.
                    if let Value::Environment { name, default: None } = &last
                        && let [_, second] = values.as_slice()
                        && let Value::Str(default) = self.value(second)?
                        && index == 0
                        && self.evaluator.variable(name).is_none_or(|value| !value.is_empty())
                    {
                        return Ok(Value::Environment { name: name.clone(), default: Some(default) });
                    }
                    if truth(&self.settle(part, last.clone(), true)?) {
                        break;
                    }
                }
                Ok(last)
            }
            ExprKind::Equal(left, right) => Ok(Value::Bool(self.plain(left)? == self.plain(right)?)),
            ExprKind::Conditional { test, then, otherwise } => {
                if self.truth(test)? {
                    self.value(then)
                } else {
                    self.value(otherwise)
                }
            }
            ExprKind::Lambda(_) => Ok(Value::Other { type_name: "function".to_owned() }),
            ExprKind::Other { type_name, .. } if *type_name != "object" && *type_name != "bool" => {
                Ok(Value::Other { type_name: (*type_name).to_owned() })
            }
            ExprKind::Starred(_) | ExprKind::Other { .. } => {
                Err(unknown("this is only known when the file runs"))
            }
        }
    }

    /// Whether an expression is true.
    pub(super) fn truth(&self, expr: &Expr) -> Result<bool, Unknown> {
        Ok(truth(&self.settle(expr, self.value(expr)?, true)?))
    }

    /// A value with variables of the environment looked up.
    fn plain(&self, expr: &Expr) -> Result<Value, Unknown> {
        self.settle(expr, self.value(expr)?, false)
    }

    fn settle(&self, expr: &Expr, value: Value, may_miss: bool) -> Result<Value, Unknown> {
        let Value::Environment { name, default } = value else { return Ok(value) };
        match self.evaluator.variable(&name).map(str::to_owned).or(default) {
            Some(text) => Ok(Value::Str(text)),
            None if may_miss => Ok(Value::None),
            None => Err(Unknown {
                range: expr.range,
                reason: format!("environment variable `{name}` is not set"),
            }),
        }
    }

    fn items(&self, items: &[Expr]) -> Result<Vec<Value>, Unknown> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if let ExprKind::Starred(inner) = &item.kind {
                match self.value(inner)? {
                    Value::List(more) | Value::Tuple(more) => values.extend(more),
                    _ => return Err(Unknown { range: inner.range, reason: "not a list".to_owned() }),
                }
            } else {
                values.push(self.value(item)?);
            }
        }
        Ok(values)
    }

    fn format(&self, parts: &[FormatPart]) -> Result<Value, Unknown> {
        let mut text = String::new();
        for part in parts {
            match part {
                FormatPart::Text(part) => text.push_str(part),
                FormatPart::Value { value, plain } => {
                    let known = self.plain(value)?;
                    match display(&known).filter(|_| *plain) {
                        Some(shown) => text.push_str(&shown),
                        None => {
                            return Err(Unknown {
                                range: value.range,
                                reason: "this part of the text is only known when the file runs".to_owned(),
                            });
                        }
                    }
                }
            }
        }
        Ok(Value::Str(text))
    }

    fn subscript(&self, expr: &Expr, object: &Expr, index: &Expr) -> Result<Value, Unknown> {
        let unknown = || Unknown { range: expr.range, reason: "this element is not known".to_owned() };
        match self.resolve(object) {
            Binding::External(dotted) if dotted == "os.environ" => match self.plain(index)? {
                Value::Str(name) => Ok(Value::Environment { name, default: None }),
                _ => Err(unknown()),
            },
            Binding::External(dotted) => {
                let class = sdk_name(&dotted).filter(|name| ENUMS.contains(name)).ok_or_else(unknown)?;
                match self.plain(index)? {
                    Value::Str(member) => Ok(Value::Member { class: class.to_owned(), member }),
                    _ => Err(unknown()),
                }
            }
            Binding::Class(class) => match self.plain(index)? {
                Value::Str(member) => match class.members.get(&member) {
                    Some(Binding::Value(value)) => Ok(value.clone()),
                    _ => Err(unknown()),
                },
                _ => Err(unknown()),
            },
            Binding::Value(Value::Dict(items)) => {
                let key = self.plain(index)?;
                items.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value).ok_or_else(unknown)
            }
            Binding::Value(Value::List(items) | Value::Tuple(items)) => match self.plain(index)? {
                Value::Int(at) => {
                    let length = i64::try_from(items.len()).map_err(|_| unknown())?;
                    let at = if at < 0 { at + length } else { at };
                    usize::try_from(at).ok().and_then(|at| items.get(at).cloned()).ok_or_else(unknown)
                }
                _ => Err(unknown()),
            },
            Binding::Unknown(reason) => Err(Unknown { range: object.range, reason }),
            _ => Err(unknown()),
        }
    }

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

    fn call(&self, expr: &Expr, call: &Call) -> Result<Value, Unknown> {
        let unknown = |reason: String| Unknown { range: expr.range, reason };
        if let ExprKind::Attribute(object, method) = &call.function.kind
            && let Ok(object) = self.plain(object)
            && let Some(value) = self.method(&object, method, call)?
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
                let known = self.plain(value)?;
                convert(&name["builtins.".len()..], known)
                    .ok_or_else(|| unknown("this conversion is not evaluated".to_owned()))
            }
            _ => Err(unknown(format!("the result of `{}` is only known when the file runs", short(&dotted)))),
        }
    }

    fn method(&self, object: &Value, method: &str, call: &Call) -> Result<Option<Value>, Unknown> {
        if !call.keywords.is_empty() {
            return Ok(None);
        }
        let mut arguments = Vec::new();
        for argument in &call.positional {
            arguments.push(self.plain(argument)?);
        }
        Ok(match (object, method, arguments.as_slice()) {
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
                let parts: Option<Vec<&str>> = parts
                    .iter()
                    .map(|part| if let Value::Str(part) = part { Some(part.as_str()) } else { None })
                    .collect();
                parts.map(|parts| Value::Str(parts.join(text)))
            }
            (Value::Dict(items), "get", [key, rest @ ..]) => Some(
                items
                    .iter()
                    .find(|(known, _)| known == key)
                    .map_or_else(|| rest.first().cloned().unwrap_or(Value::None), |(_, value)| value.clone()),
            ),
            (Value::Dict(_) | Value::List(_), "copy", []) => Some(object.clone()),
            _ => None,
        })
    }
}

/// Names that a module binds, for others that import it.
pub(super) fn member_of(facts: &Facts, name: &str) -> Option<Binding> {
    facts.names.get(name).cloned()
}

fn short(dotted: &str) -> &str {
    dotted.strip_prefix("builtins.").unwrap_or(dotted)
}

/// Sets a key of a dict in place, as Python keeps the first position.
pub(super) fn insert(items: &mut Vec<(Value, Value)>, key: Value, value: Value) {
    match items.iter_mut().find(|(known, _)| *known == key) {
        Some(slot) => slot.1 = value,
        None => items.push((key, value)),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(value) => !value.is_empty(),
        Value::List(items) | Value::Tuple(items) => !items.is_empty(),
        Value::Dict(items) => !items.is_empty(),
        _ => true,
    }
}

fn display(value: &Value) -> Option<String> {
    match value {
        Value::None => Some("None".to_owned()),
        Value::Bool(value) => Some(if *value { "True" } else { "False" }.to_owned()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e16 => Some(format!("{value:.1}")),
        Value::Str(value) => Some(value.clone()),
        _ => None,
    }
}

fn convert(function: &str, value: Value) -> Option<Value> {
    match (function, value) {
        ("int", Value::Str(text)) => text.trim().replace('_', "").parse().ok().map(Value::Int),
        ("int", Value::Int(value)) => Some(Value::Int(value)),
        ("int", Value::Bool(value)) => Some(Value::Int(i64::from(value))),
        ("float", Value::Str(text)) => text.trim().parse().ok().map(Value::Float),
        ("float", Value::Float(value)) => Some(Value::Float(value)),
        ("str", value) => display(&value).map(Value::Str),
        ("bool", value) => Some(Value::Bool(truth(&value))),
        ("list", Value::List(items) | Value::Tuple(items)) => Some(Value::List(items)),
        ("tuple", Value::List(items) | Value::Tuple(items)) => Some(Value::Tuple(items)),
        ("len", Value::List(items) | Value::Tuple(items)) => i64::try_from(items.len()).ok().map(Value::Int),
        _ => None,
    }
}

/// Applies an operator to known values.
pub(super) fn binary(left: Value, operator: BinaryOperator, right: Value) -> Option<Value> {
    match (left, operator, right) {
        (Value::Str(left), BinaryOperator::Add, Value::Str(right)) => Some(Value::Str(left + &right)),
        (Value::List(mut left), BinaryOperator::Add, Value::List(right)) => {
            left.extend(right);
            Some(Value::List(left))
        }
        (Value::Tuple(mut left), BinaryOperator::Add, Value::Tuple(right)) => {
            left.extend(right);
            Some(Value::Tuple(left))
        }
        (Value::Dict(mut left), BinaryOperator::Or, Value::Dict(right)) => {
            for (key, value) in right {
                insert(&mut left, key, value);
            }
            Some(Value::Dict(left))
        }
        (Value::Int(left), operator, Value::Int(right)) => match operator {
            BinaryOperator::Add => left.checked_add(right),
            BinaryOperator::Subtract => left.checked_sub(right),
            BinaryOperator::Multiply => left.checked_mul(right),
            BinaryOperator::FloorDivide if right > 0 && left >= 0 => left.checked_div(right),
            BinaryOperator::Power => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
            _ => None,
        }
        .map(Value::Int),
        (Value::Str(text), BinaryOperator::Modulo, value) if text.matches('%').count() == 1 => {
            let value = match value {
                Value::Tuple(mut items) if items.len() == 1 => items.pop()?,
                Value::Tuple(_) => return None,
                value => value,
            };
            match &value {
                Value::Int(_) if text.contains("%d") => Some(text.replace("%d", &display(&value)?)),
                _ if text.contains("%s") => Some(text.replace("%s", &display(&value)?)),
                _ => None,
            }
            .map(Value::Str)
        }
        _ => None,
    }
}
