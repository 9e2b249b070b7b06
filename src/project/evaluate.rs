//! Static evaluation of expressions: what Python would compute, where the source alone says it.
//!
//! Anything else is [`Unknown`], never a guess.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::facts::Evaluator;
use super::imports;
use super::operators::{binary, insert, push_display, truth};
use super::tree::{Class, Expr, ExprKind, FormatPart, Range};
use crate::endpoint::{Template, Value};

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
                let known = (self.value(left)?, self.value(right)?);
                binary(known.0, *operator, known.1).ok_or_else(|| unknown("this operation is not evaluated"))
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
    pub(super) fn plain(&self, expr: &Expr) -> Result<Value, Unknown> {
        self.settle(expr, self.value(expr)?, false)
    }

    pub(super) fn settle(&self, expr: &Expr, value: Value, may_miss: bool) -> Result<Value, Unknown> {
        match value.filled(&|name| self.evaluator.variable(name).map(str::to_owned)) {
            None => Ok(value),
            Some(Ok(text)) => Ok(Value::Str(text)),
            Some(Err(_)) if may_miss => Ok(Value::None),
            Some(Err(name)) => Err(Unknown {
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
        let mut text = Template::default();
        for part in parts {
            match part {
                FormatPart::Text(part) => text.push_text(part),
                FormatPart::Value { value, plain } => {
                    if !*plain || !push_display(&mut text, &self.value(value)?) {
                        return Err(Unknown {
                            range: value.range,
                            reason: "this part of the text is only known when the file runs".to_owned(),
                        });
                    }
                }
            }
        }
        Ok(text.into_value())
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
}
