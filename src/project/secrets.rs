//! Variables of the environment in what an imported file answered: only workers get their values.

use std::collections::HashMap;

use crate::endpoint::{Template, Value};

/// Shortest value that is looked for inside longer text; a shorter one only counts alone.
const SHORTEST: usize = 4;

/// Variables that source text names, with their values; the longest first.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    known: Vec<(String, String)>,
}

impl Secrets {
    /// Variables that one of the texts names.
    pub(super) fn named(environment: &HashMap<String, String>, texts: &[&str]) -> Self {
        let is_named = |name: &str| {
            let inside =
                |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
            texts.iter().any(|text| {
                text.match_indices(name).any(|(at, _)| {
                    !inside(text[..at].chars().next_back()) && !inside(text[at + name.len()..].chars().next())
                })
            })
        };
        let mut known: Vec<(String, String)> = environment
            .iter()
            .filter(|(name, value)| !name.is_empty() && !value.is_empty() && is_named(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        known.sort_by(|left, right| (right.1.len(), &left.0).cmp(&(left.1.len(), &right.0)));
        Self { known }
    }

    /// A value with variables in the place of what they say.
    pub(super) fn hidden(&self, value: Value) -> Value {
        match value {
            Value::Str(text) => self.template(&text).into_value(),
            Value::List(items) => Value::List(items.into_iter().map(|item| self.hidden(item)).collect()),
            Value::Tuple(items) => Value::Tuple(items.into_iter().map(|item| self.hidden(item)).collect()),
            Value::Dict(items) => {
                Value::Dict(items.into_iter().map(|(key, item)| (key, self.hidden(item))).collect())
            }
            Value::Object { class, fields } => {
                let fields = fields.into_iter().map(|(name, field)| (name, self.hidden(field))).collect();
                Value::Object { class, fields }
            }
            other => other,
        }
    }

    /// Text with `${NAME}` in the place of what a variable says.
    pub(super) fn shown(&self, text: &str) -> String {
        self.template(text).shown()
    }

    fn template(&self, text: &str) -> Template {
        let mut made = Template::default();
        let mut plain = 0;
        let mut at = 0;
        while at < text.len() {
            let found = self.known.iter().find(|(_, value)| {
                text[at..].starts_with(value.as_str()) && (value.len() >= SHORTEST || value == text)
            });
            if let Some((name, value)) = found {
                made.push_text(&text[plain..at]);
                made.push(&Value::Environment { name: name.clone(), default: None });
                at += value.len();
                plain = at;
            } else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        made.push_text(&text[plain..]);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(source: &str) -> Secrets {
        let environment = [("TOKEN", "s3cret"), ("LONGER", "s3cret-more"), ("ON", "1"), ("OTHER", "host")];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Secrets::named(&environment, &[source])
    }

    #[test]
    fn value_of_a_named_variable_is_hidden() {
        let known = secrets("os.environ['TOKEN'] + LONGER + str(ON)");
        assert_eq!(known.shown("https://s3cret@host"), "https://${TOKEN}@host");
        assert_eq!(known.shown("s3cret-more"), "${LONGER}");
        assert_eq!(known.shown("v11"), "v11");
        assert_eq!(known.shown("1"), "${ON}");
        assert_eq!(secrets("TOKENS").shown("s3cret"), "s3cret");
    }
}
