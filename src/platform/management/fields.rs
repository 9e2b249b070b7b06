//! Reads the fields of a JSON object, and says what is wrong with one.

use serde_json::{Map, Value};

use super::error::ManagementError;
use super::model::Variable;

/// The object that a request sent.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Where it is in the body, such as `workers.`.
    prefix: &'a str,
}

impl<'a> Fields<'a> {
    /// Reads a value that must be an object.
    pub(super) fn of(value: &'a Value) -> Result<Self, ManagementError> {
        let object = value
            .as_object()
            .ok_or_else(|| ManagementError::Invalid("the body must be a JSON object".to_owned()))?;
        Ok(Self { object, prefix: "" })
    }

    /// A field's value; none where it is missing or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// An object below; `prefix` names it in errors.
    pub(super) fn object(&self, name: &str, prefix: &'a str) -> Result<Option<Fields<'a>>, ManagementError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong(name, "an object"))?;
        Ok(Some(Fields { object, prefix }))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ManagementError> {
        self.read(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A text; the empty one where the field is `null`, which takes away what was there.
    pub(super) fn text_or_null(&self, name: &str) -> Result<Option<String>, ManagementError> {
        if self.object.get(name).is_some_and(Value::is_null) {
            return Ok(Some(String::new()));
        }
        self.text(name)
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, ManagementError> {
        let whole = |value: &Value| value.as_u64().or_else(|| whole_float(value.as_f64()?));
        self.read(name, "a whole number", |value| u32::try_from(whole(value)?).ok())
    }

    pub(super) fn milliseconds(&self, name: &str) -> Result<Option<u64>, ManagementError> {
        self.read(name, "a whole number", |value| value.as_u64().or_else(|| whole_float(value.as_f64()?)))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, ManagementError> {
        self.read(name, "a number", Value::as_f64)
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ManagementError> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ManagementError> {
        self.read(name, "a list of strings", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// Variables: an object of names and values, or a list of `{key, value}`.
    pub(super) fn variables(&self, name: &str) -> Result<Option<Vec<Variable>>, ManagementError> {
        let variable = |key: &str, value: &Value| {
            Some(Variable { key: key.to_owned(), value: value.as_str().map(str::to_owned)? })
        };
        self.read(name, "an object of strings", |value| match value {
            Value::Object(object) => object.iter().map(|(key, value)| variable(key, value)).collect(),
            Value::Array(list) => {
                list.iter().map(|item| variable(item.get("key")?.as_str()?, item.get("value")?)).collect()
            }
            _ => None,
        })
    }

    /// A field with something of its own to be; `what` says what it must be.
    pub(super) fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ManagementError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(name, what))
    }

    fn wrong(&self, name: &str, what: &str) -> ManagementError {
        ManagementError::Invalid(format!("`{}{name}` must be {what}", self.prefix))
    }
}

/// A whole number that was written as one with a fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and small")]
fn whole_float(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9e15).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_of_wrong_type_is_named_with_what_it_must_be() {
        let body = json!({ "workers": { "min": "two" }, "env": { "A": 1 }, "list": [1] });
        let fields = Fields::of(&body).unwrap();
        let workers = fields.object("workers", "workers.").unwrap().unwrap();
        let text = |error: Option<ManagementError>| error.unwrap().to_string();
        assert_eq!(text(workers.count("min").err()), "`workers.min` must be a whole number");
        assert_eq!(text(fields.variables("env").err()), "`env` must be an object of strings");
        assert_eq!(text(fields.texts("list").err()), "`list` must be a list of strings");
        assert_eq!(fields.count("none").unwrap(), None);
    }

    #[test]
    fn variables_come_as_object_or_list_and_keep_their_order() {
        let body = json!({ "a": { "Z": "1", "A": "2" }, "b": [{ "key": "Z", "value": "1" }] });
        let fields = Fields::of(&body).unwrap();
        let names = |name: &str| -> Vec<String> {
            fields.variables(name).unwrap().unwrap().into_iter().map(|variable| variable.key).collect()
        };
        assert_eq!(names("a"), ["Z", "A"]);
        assert_eq!(names("b"), ["Z"]);
    }
}
