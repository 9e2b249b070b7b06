//! Which of an endpoint's callables a job means.

use bytes::Bytes;

use crate::wire::job::{RawObject, json_string, parse_object};
use crate::wire::message::{ErrorReport, Failure, ReadyHead};

/// Returns the callable and its input. A class endpoint with several methods takes the method's
/// name from `input.method`, which is cut out, as deployed handlers do.
pub(super) fn resolve(
    ready: Option<&ReadyHead>,
    callable: &str,
    input: &Bytes,
) -> Result<(String, Bytes), Box<ErrorReport>> {
    let names: Vec<&str> = ready
        .map(|ready| ready.callables.iter().map(|known| known.name.as_str()).collect())
        .unwrap_or_default();
    match (callable, names.as_slice()) {
        ("", []) => Ok((String::new(), input.clone())),
        ("", [only]) => Ok(((*only).to_owned(), without_own_name(only, input))),
        ("", several) => {
            let object = parse_object(input).unwrap_or_default();
            let method = object.iter().find(|(key, _)| key == "method").map(|(_, value)| value.get());
            let Some(method) = method.and_then(|text| serde_json::from_str::<String>(text).ok()) else {
                return Err(which(several, None));
            };
            let is_it = |name: &&&str| {
                **name == method || name.rsplit_once('.').is_some_and(|(_, last)| last == method)
            };
            match several.iter().find(is_it) {
                Some(name) => Ok(((*name).to_owned(), without(&object, "method").into())),
                None => Err(which(several, Some(&method))),
            }
        }
        (name, known) if known.is_empty() || known.contains(&name) => Ok((name.to_owned(), input.clone())),
        (name, known) => Err(Box::new(
            ErrorReport::new(
                Failure::NotFound,
                "NotFoundError",
                format!("there is no function `{name}` here"),
            )
            .with_hint(format!("it has {}", list(known))),
        )),
    }
}

/// The input of a class's only method: clients of a class say which one they mean.
fn without_own_name(callable: &str, input: &Bytes) -> Bytes {
    let Some((_, method)) = callable.split_once('.') else { return input.clone() };
    let object = parse_object(input).unwrap_or_default();
    let is_named = object.iter().any(|(key, value)| key == "method" && value.get() == json_string(method));
    if is_named { without(&object, "method").into() } else { input.clone() }
}

fn which(names: &[&str], given: Option<&str>) -> Box<ErrorReport> {
    let methods: Vec<&str> =
        names.iter().map(|name| name.rsplit_once('.').map_or(*name, |(_, last)| last)).collect();
    let class =
        names.first().and_then(|name| name.split_once('.')).map_or("the endpoint", |(class, _)| class);
    let methods = methods.join(", ");
    let text = match given {
        None => {
            format!("class {class} has multiple methods: {methods}. include a \"method\" key in the input.")
        }
        Some(given) => format!("unknown method '{given}' on {class}. available: {methods}"),
    };
    Box::new(ErrorReport::new(Failure::InvalidInput, "ValueError", text))
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The object without one key, the other values as they came; an empty one says that it is meant so.
fn without(object: &RawObject<'_>, key: &str) -> Vec<u8> {
    let kept: Vec<String> = object
        .iter()
        .filter(|(name, _)| name != key)
        .map(|(name, value)| format!("{}:{}", json_string(name), value.get()))
        .collect();
    if kept.is_empty() {
        return br#"{"__empty":true}"#.to_vec();
    }
    format!("{{{}}}", kept.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::CallableDescription;

    fn ready(names: &[&str]) -> ReadyHead {
        let describe = |name: &&str| CallableDescription {
            name: (*name).to_owned(),
            input_schema: serde_json::Value::Null,
            output_schema: None,
            doc: None,
            is_generator: false,
        };
        ReadyHead {
            pid: 1,
            python: String::new(),
            callables: names.iter().map(describe).collect(),
            openapi: None,
            load_ms: 0,
        }
    }

    fn resolved(names: &[&str], callable: &str, input: &'static str) -> Result<(String, String), String> {
        resolve(Some(&ready(names)), callable, &Bytes::from_static(input.as_bytes()))
            .map(|(name, input)| (name, String::from_utf8_lossy(&input).into_owned()))
            .map_err(|report| report.message)
    }

    #[test]
    fn method_of_class_with_several_is_cut_out_of_input() {
        let input = r#"{"a": 1.50, "method": "run", "b": "\u00e9"}"#;
        let expected = ("Model.run".to_owned(), r#"{"a":1.50,"b":"\u00e9"}"#.to_owned());
        assert_eq!(resolved(&["Model.run", "Model.info"], "", input), Ok(expected));
    }

    #[test]
    fn method_missing_or_unknown_names_the_known_ones() {
        let names = ["Model.run", "Model.info"];
        let missing = resolved(&names, "", "{}").unwrap_err();
        assert!(missing.contains("run, info") && missing.contains("\"method\" key"), "{missing}");
        assert!(resolved(&names, "", r#"{"method":"x"}"#).unwrap_err().contains("unknown method 'x'"));
    }

    #[test]
    fn only_callable_is_meant_when_none_is_named() {
        assert_eq!(resolved(&["f"], "", "3"), Ok(("f".to_owned(), "3".to_owned())));
        assert!(resolved(&["f"], "g", "3").is_err());
        let only = |input| resolved(&["Model.run"], "", input).map(|(_, input)| input);
        assert_eq!(only(r#"{"method": "run", "a": 1}"#), Ok(r#"{"a":1}"#.to_owned()));
        assert_eq!(only(r#"{"method": "run"}"#), Ok(r#"{"__empty":true}"#.to_owned()));
        assert_eq!(only(r#"{"method": "GET"}"#), Ok(r#"{"method": "GET"}"#.to_owned()));
    }
}
