//! Reads single arguments and collects what is wrong with them.

use std::borrow::Cow;

use super::error::ConfigError;
use super::value::{Arguments, Value, quoted};
use crate::catalog::suggest;

/// Arguments of one `Endpoint(...)`, and the problems found so far.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    arguments: &'a Arguments,
    pub(super) errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(arguments: &'a Arguments) -> Self {
        Self { arguments, errors: Vec::new() }
    }

    /// Returns an argument that was given, `None` among them; strings from the environment are
    /// looked up.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'a, Value>> {
        self.arguments.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.resolved())
    }

    /// Returns an argument as it was written.
    pub(super) fn get_unresolved(&self, name: &str) -> Option<&'a Value> {
        self.arguments.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value)
    }

    pub(super) fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Refuses a member that its enum does not have.
    pub(super) fn refuse_member<T>(
        &mut self,
        parameter: &str,
        class: &str,
        member: &str,
        index: Option<usize>,
    ) -> Option<T> {
        self.refuse(ConfigError::new(parameter, unknown_member(class, member)).at(index));
        None
    }

    /// Reads a string that must not be empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match &*self.get(name)? {
            Value::None => None,
            Value::Str(text) if text.is_empty() => {
                self.refuse(ConfigError::new(name, format!("{name} must not be empty")));
                None
            }
            Value::Str(text) => Some(text.clone()),
            other => {
                let message = format!("{name} must be a string, got {}: {}", other.type_name(), other.repr());
                self.refuse(ConfigError::new(name, message));
                None
            }
        }
    }

    /// Reads a whole number between two limits; `None` and what is refused give the default.
    /// Numeric strings and floats without a fraction count, as in 1.21.
    pub(super) fn integer(&mut self, name: &str, default: i64, least: i64, most: i64) -> i64 {
        let Some(value) = self.get(name) else { return default };
        if *value == Value::None {
            return default;
        }
        let limits = if most >= i64::from(u32::MAX) {
            format!(">= {least}")
        } else {
            format!("between {least} and {most}")
        };
        match whole_number(&value) {
            Some(number) if (least..=most).contains(&number) => number,
            Some(number) => {
                self.refuse(ConfigError::new(name, format!("{name} must be {limits}, got {number}")));
                default
            }
            None => {
                let message = format!(
                    "{name} must be a whole number {limits}, got {}: {}",
                    value.type_name(),
                    value.repr()
                );
                self.refuse(ConfigError::new(name, message));
                default
            }
        }
    }

    /// Reads a truth value; words such as `"no"` count, as in 1.21, and `None` is false.
    pub(super) fn truth(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.get(name) else { return default };
        let truth = match &*value {
            Value::None | Value::Int(0) => Some(false),
            Value::Bool(truth) => Some(*truth),
            Value::Int(1) => Some(true),
            Value::Str(text) => match text.to_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
                "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        truth.unwrap_or_else(|| {
            let message =
                format!("{name} must be True or False, got {}: {}", value.type_name(), value.repr());
            self.refuse(ConfigError::new(name, message));
            default
        })
    }

    /// Reads a list (or tuple) of strings.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let items = match &*value {
            Value::None => return Vec::new(),
            Value::List(items) | Value::Tuple(items) => items,
            other => {
                let mut error = ConfigError::new(
                    name,
                    format!("{name} must be a list of strings, got {}: {}", other.type_name(), other.repr()),
                );
                if let Value::Str(text) = other {
                    let parts: Vec<_> = text.split(',').map(|part| quoted(part.trim())).collect();
                    error = error.with_hint(format!("write {name}=[{}]", parts.join(", ")));
                }
                self.refuse(error);
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match &*item.resolved() {
                Value::Str(text) if !text.trim().is_empty() => texts.push(text.clone()),
                other => {
                    let message = format!(
                        "{name} must be a list of strings; element at index {index} is {}: {}",
                        other.type_name(),
                        other.repr()
                    );
                    self.refuse(ConfigError::new(name, message).at(Some(index)));
                }
            }
        }
        texts
    }
}

/// Returns the text for a member that its enum does not have.
pub fn unknown_member(class: &str, member: &str) -> String {
    let mut message = format!("{class} has no member `{member}`");
    if let Some(meant) = suggest(class, member) {
        message.push_str("; did you mean `");
        message.push_str(&meant);
        message.push_str("`?");
    }
    message
}

/// Reads what 1.21 takes for a whole number.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Int(number) => Some(*number),
        Value::Float(number) if number.fract() == 0.0 => truncated(*number),
        Value::Str(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Returns a float without its fraction, where it fits.
pub(super) fn truncated(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9.0e15;
    #[expect(clippy::cast_possible_truncation, reason = "within the limit every whole float is an i64")]
    (number.is_finite() && number.abs() <= LIMIT).then_some(number as i64)
}
