//! Text that is made of literals and of variables of the environment.
//!
//! What a variable says may be a secret: such text is written down with `${NAME}` in its place, and
//! only workers get the value.

use super::value::Value;

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextPart {
    /// Literal text.
    Text(String),
    /// A variable's value as it is.
    Variable {
        /// Variable name.
        name: String,
        /// What the code falls back to.
        default: Option<String>,
    },
    /// What the code made of variables' values, such as `os.environ["X"].lower()`.
    Derived {
        /// Variable names.
        names: Vec<String>,
        /// The text that was made.
        text: String,
    },
}

/// Text with variables of the environment in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<TextPart>,
}

impl Template {
    /// Adds literal text.
    pub fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(TextPart::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(TextPart::Text(text.to_owned())),
        }
    }

    /// Adds a value of type `str`; returns whether it is one.
    pub fn push(&mut self, value: &Value) -> bool {
        match value {
            Value::Str(text) => self.push_text(text),
            Value::Environment { name, default } => {
                self.parts.push(TextPart::Variable { name: name.clone(), default: default.clone() });
            }
            Value::Template(template) => {
                for part in &template.parts {
                    match part {
                        TextPart::Text(text) => self.push_text(text),
                        other => self.parts.push(other.clone()),
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// Text that was made of variables' values.
    pub fn derived(names: Vec<String>, text: String) -> Self {
        Self { parts: vec![TextPart::Derived { names, text }] }
    }

    /// The value in its simplest form: text without variables is a plain string.
    pub fn into_value(mut self) -> Value {
        match self.parts.as_mut_slice() {
            [] => Value::Str(String::new()),
            [TextPart::Text(text)] => Value::Str(std::mem::take(text)),
            [TextPart::Variable { name, default }] => {
                Value::Environment { name: std::mem::take(name), default: default.take() }
            }
            _ => Value::Template(self),
        }
    }

    /// Names of the variables in it.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for part in &self.parts {
            match part {
                TextPart::Text(_) => {}
                TextPart::Variable { name, .. } => names.push(name.clone()),
                TextPart::Derived { names: more, .. } => names.extend(more.iter().cloned()),
            }
        }
        names
    }

    /// Returns the text with `${NAME}` where a variable's value would be.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        for part in &self.parts {
            match part {
                TextPart::Text(text) => shown.push_str(text),
                TextPart::Variable { name, .. } => shown.extend(["${", name, "}"]),
                TextPart::Derived { names, .. } => {
                    for name in names {
                        shown.extend(["${", name, "}"]);
                    }
                }
            }
        }
        shown
    }

    /// Returns the text itself.
    ///
    /// # Errors
    /// The name of a variable that is not set and has no fallback.
    pub fn filled(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TextPart::Text(part) | TextPart::Derived { text: part, .. } => text.push_str(part),
                TextPart::Variable { name, default } => {
                    text.push_str(&lookup(name).or_else(|| default.clone()).ok_or_else(|| name.clone())?);
                }
            }
        }
        Ok(text)
    }
}

impl Value {
    /// Returns the names of the variables that a text is made of.
    pub fn variables(&self) -> Vec<String> {
        match self {
            Self::Environment { name, .. } => vec![name.clone()],
            Self::Template(template) => template.names(),
            _ => Vec::new(),
        }
    }

    /// Returns the text of a value that reads variables; `None` for all others.
    ///
    /// # Errors
    /// The name of a variable that is not set and has no fallback.
    pub fn filled(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Option<Result<String, String>> {
        match self {
            Self::Environment { name, default } => {
                Some(lookup(name).or_else(|| default.clone()).ok_or_else(|| name.clone()))
            }
            Self::Template(template) => Some(template.filled(lookup)),
            _ => None,
        }
    }
}
