//! Argument values as the user wrote them, before any rule is applied.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::template::Template;

/// A value given to `Endpoint(...)`, read from Python objects or from source text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dict, in order.
    Dict(Vec<(Value, Value)>),
    /// A member of a public enum, such as `GpuType.NVIDIA_L4`.
    Member {
        /// Class name, such as `GpuType`.
        class: String,
        /// Member name, such as `NVIDIA_L4`.
        member: String,
    },
    /// `NetworkVolume(...)` or `PodTemplate(...)` with the fields that were given.
    Object {
        /// Class name.
        class: String,
        /// Fields in the order given.
        fields: Vec<(String, Value)>,
    },
    /// A string read from the environment (`os.environ["X"]`, `os.getenv("X", "y")`).
    Environment {
        /// Variable name.
        name: String,
        /// What the code falls back to.
        default: Option<String>,
    },
    /// A string with variables of the environment in it.
    Template(Template),
    /// Anything else; only its type is known.
    Other {
        /// Python type name, such as `set`.
        type_name: String,
    },
}

/// Keyword arguments in the order given; the positional `name` comes first as `name`.
pub type Arguments = Vec<(String, Value)>;

impl Value {
    /// Returns the name of the value's Python type, such as `str`.
    pub fn type_name(&self) -> &str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) | Self::Environment { .. } | Self::Template(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Member { class, .. } | Self::Object { class, .. } => class,
            Self::Other { type_name } => type_name,
        }
    }

    /// Returns the value as it would be written in Python, cut where it is long.
    pub fn repr(&self) -> String {
        let mut text = String::new();
        self.write_repr(&mut text);
        if text.chars().count() > MAX_REPR {
            text = text.chars().take(MAX_REPR - 1).chain(['…']).collect();
        }
        text
    }

    fn write_repr(&self, text: &mut String) {
        let sequence = |text: &mut String, items: &[Value], open: char, close: char| {
            text.push(open);
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                item.write_repr(text);
            }
            text.push(close);
        };
        match self {
            Self::None => text.push_str("None"),
            Self::Bool(value) => text.push_str(if *value { "True" } else { "False" }),
            Self::Int(value) => _ = write!(text, "{value}"),
            Self::Float(value) => _ = write!(text, "{value:?}"),
            Self::Str(value) => text.push_str(&quoted(value)),
            Self::List(items) => sequence(text, items, '[', ']'),
            Self::Tuple(items) => sequence(text, items, '(', ')'),
            Self::Dict(entries) => {
                text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        text.push_str(", ");
                    }
                    key.write_repr(text);
                    text.push_str(": ");
                    value.write_repr(text);
                }
                text.push('}');
            }
            Self::Member { class, member } => _ = write!(text, "{class}.{member}"),
            Self::Object { class, .. } => _ = write!(text, "{class}(...)"),
            Self::Environment { name, .. } => _ = write!(text, "os.environ[{}]", quoted(name)),
            Self::Template(template) => text.push_str(&quoted(&template.shown())),
            Self::Other { type_name } => _ = write!(text, "<{type_name}>"),
        }
    }

    /// Returns the value with a string from the environment looked up; a variable that is not set
    /// and has no fallback is `None`.
    pub fn resolved(&self) -> Cow<'_, Value> {
        match self.filled(&|name| std::env::var(name).ok()) {
            Some(text) => Cow::Owned(text.map_or(Self::None, Self::Str)),
            None => Cow::Borrowed(self),
        }
    }
}

const MAX_REPR: usize = 80;

/// Returns text in the quotes that Python's `repr` would choose.
pub fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut result = String::with_capacity(text.len() + 2);
    result.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\t' => result.push_str("\\t"),
            '\r' => result.push_str("\\r"),
            letter if letter == quote => result.extend(['\\', letter]),
            letter if letter.is_control() => _ = write!(result, "\\x{:02x}", u32::from(letter)),
            letter => result.push(letter),
        }
    }
    result.push(quote);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Value::Str("it's".to_owned()), "\"it's\"")]
    #[case(Value::Str("a\nb".to_owned()), "'a\\nb'")]
    #[case(Value::List(vec![Value::Int(1), Value::None]), "[1, None]")]
    #[case(Value::Float(1.0), "1.0")]
    #[case(Value::Dict(vec![(Value::Str("a".to_owned()), Value::Bool(true))]), "{'a': True}")]
    fn repr_is_that_of_python(#[case] value: Value, #[case] expected: &str) {
        assert_eq!(value.repr(), expected);
    }

    #[test]
    fn long_repr_is_cut() {
        let text = Value::Str("x".repeat(500)).repr();
        assert_eq!(text.chars().count(), MAX_REPR);
        assert!(text.ends_with('…'));
    }
}
