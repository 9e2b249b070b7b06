//! Why a configuration or a route is refused.

/// One problem with one argument of `Endpoint(...)`, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The user's parameter, such as `gpu`.
    pub parameter: String,
    /// Element, where the parameter is a list.
    pub index: Option<usize>,
    /// What is wrong, with the value and the nearest right one.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ConfigError {
    /// A problem with a whole parameter.
    pub fn new(parameter: &str, message: impl Into<String>) -> Self {
        Self { parameter: parameter.to_owned(), index: None, message: message.into(), hint: None }
    }

    /// The same problem, of one element.
    #[must_use]
    pub fn at(mut self, index: Option<usize>) -> Self {
        self.index = index;
        self
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Returns the text of all problems of one constructor call: each on a line, its hint below it.
pub fn describe(errors: &[ConfigError]) -> String {
    let mut text = String::new();
    for error in errors {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&error.message);
        if let Some(hint) = &error.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
    }
    text
}
