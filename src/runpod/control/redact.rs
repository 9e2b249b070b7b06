//! Keeps secrets out of what is said about a failed request.
//!
//! Runpod's errors may quote what was sent, and its answers hold keys and signed addresses.

use serde_json::Value;

/// Longest text of an answer that an error carries.
const LONGEST: usize = 2000;
/// What stands in the place of a secret.
const HIDDEN: &str = "<redacted>";
/// Shorter ones are no secrets, and replacing them would spoil the text.
const SHORTEST: usize = 6;

/// Fields whose values are secrets, in small letters without `_` and `-`.
const FIELDS: [&str; 11] = [
    "uploadurl",
    "downloadurl",
    "presignedurl",
    "apikey",
    "runpodapikey",
    "aikey",
    "authorization",
    "password",
    "secret",
    "token",
    "startscript",
];

/// Collects the secrets of a request's body: values of variables and of secret fields.
pub(super) fn secrets_of(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(body, &mut found);
    found.retain(|secret| secret.len() >= SHORTEST);
    // The longest first: one may be part of another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(object) => {
            for (name, value) in object {
                if is_secret(name) || (name == "value" && object.contains_key("key")) {
                    found.extend(value.as_str().map(str::to_owned));
                } else if let ("env", Value::Object(variables)) = (name.as_str(), value) {
                    found.extend(variables.values().filter_map(Value::as_str).map(str::to_owned));
                } else {
                    collect(value, found);
                }
            }
        }
        _ => {}
    }
}

/// Returns a text without these secrets, without Runpod's own keys and without signatures.
pub(super) fn text(text: &str, secrets: &[String]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets {
        if clean.contains(secret.as_str()) {
            clean = clean.replace(secret.as_str(), HIDDEN);
        }
        // Quoted in JSON it may look otherwise.
        let quoted = Value::from(secret.as_str()).to_string();
        let quoted = &quoted[1..quoted.len() - 1];
        if quoted != secret && clean.contains(quoted) {
            clean = clean.replace(quoted, HIDDEN);
        }
    }
    hide_words(&clean)
}

/// Returns the body of an answer as an error may show it.
pub(super) fn body(bytes: &[u8], secrets: &[String]) -> String {
    let shown = match serde_json::from_slice::<Value>(bytes) {
        Ok(mut value) => {
            hide(&mut value);
            value.to_string()
        }
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let mut shown = text(&shown, secrets);
    if shown.len() > LONGEST {
        shown.truncate(shown.floor_char_boundary(LONGEST));
        shown.push('…');
    }
    shown
}

fn hide(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(object) => {
            let is_variable = object.contains_key("key") && object.contains_key("value");
            for (name, value) in object.iter_mut() {
                if value.is_null() {
                    continue;
                }
                if is_secret(name) || (is_variable && name == "value") {
                    *value = HIDDEN.into();
                } else if let ("env", Value::Object(variables)) = (name.as_str(), &mut *value) {
                    variables.values_mut().for_each(|value| *value = HIDDEN.into());
                } else {
                    hide(value);
                }
            }
        }
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !matches!(c, '_' | '-')).collect();
    FIELDS.contains(&plain.to_ascii_lowercase().as_str())
}

/// Hides keys as Runpod makes them, bearer tokens, and what follows the `?` of an address.
fn hide_words(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut after_bearer = false;
    for word in text.split_inclusive(|c: char| c.is_whitespace() || "\"'<>(),;".contains(c)) {
        let end = word.trim_end_matches(|c: char| c.is_whitespace() || "\"'<>(),;".contains(c)).len();
        let (bare, tail) = word.split_at(end);
        if bare.is_empty() {
            clean.push_str(word);
            continue;
        }
        let key = ["rpa_", "rps_"].iter().filter_map(|prefix| bare.find(prefix)).min();
        if after_bearer {
            clean.push_str(HIDDEN);
        } else if let Some(at) = key {
            clean.push_str(&bare[..at]);
            clean.push_str(HIDDEN);
        } else if let Some(at) = bare.find("://").and_then(|_| bare.find('?')) {
            clean.push_str(&bare[..=at]);
            clean.push_str(HIDDEN);
        } else {
            clean.push_str(bare);
        }
        clean.push_str(tail);
        after_bearer = bare.eq_ignore_ascii_case("bearer");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(r#"{"uploadUrl":"https://x/y?signature=abc","id":"b1"}"#)]
    #[case(r#"{"data":{"saveEndpoint":{"aiKey":"abcSECRETdef"}}}"#)]
    #[case(r#"{"env":[{"key":"DB","value":"SECRET1"}]}"#)]
    #[case(r#"{"env":{"DB":"SECRET1"},"signature":1}"#)]
    #[case(r#"{"errors":[{"message":"no access for rpa_SECRETSECRET"}]}"#)]
    #[case("Authorization: Bearer SECRETSECRET")]
    #[case("<a href='https://x/y?signature=abc'>")]
    fn body_of_an_answer_shows_no_secret(#[case] answer: &str) {
        let shown = body(answer.as_bytes(), &[]);
        assert!(!shown.contains("SECRET") && !shown.contains("signature=abc"), "{shown}");
        assert!(shown.contains(HIDDEN), "{shown}");
    }

    #[test]
    fn what_was_sent_is_hidden_where_an_error_quotes_it() {
        let sent = json!({ "input": { "name": "demo", "template": { "env": [
            { "key": "A", "value": "line\nSECRET" }, { "key": "B", "value": "1" } ] } } });
        let secrets = secrets_of(&sent);
        assert_eq!(secrets, ["line\nSECRET"]);
        let shown =
            text(r#"Variable "$input" got invalid value {"value":"line\nSECRET"} in 1 field"#, &secrets);
        assert_eq!(shown, r#"Variable "$input" got invalid value {"value":"<redacted>"} in 1 field"#);
    }
}
