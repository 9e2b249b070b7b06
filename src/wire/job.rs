//! Job JSON: the envelope that clients send, and the status object that they get.
//!
//! An envelope is read borrowed: `input` stays the text that came, whatever its Content-Type.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::backend::{JobRequest, JobView};
use super::message::{ErrorReport, Failure};
use crate::endpoint::JobStatus;

const EXECUTION_TIMEOUT_MS: (u64, u64) = (5_000, WEEK_MS);
const TTL_MS: (u64, u64) = (10_000, WEEK_MS);
const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How deep arrays and objects may be nested: a worker's parser gives up not far above that, and
/// would lose the job.
const MOST_NESTED: usize = 512;

/// Keys and values of a JSON object in order, the values as they came.
pub type RawObject<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Why an envelope is refused, as Runpod words it after `bad request: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The body is not JSON.
    #[error("body is not valid JSON: {reason}")]
    NotJson {
        /// The parser's reason with line and column.
        reason: String,
    },
    /// The body is JSON, but not an object.
    #[error("body must be a JSON object with `input`")]
    NotAnObject,
    /// The body is nested too deeply.
    #[error("body is nested more than {most} levels deep")]
    TooDeep {
        /// Levels that are allowed.
        most: usize,
    },
    /// There is no `input`.
    #[error("`input` is missing")]
    NoInput,
    /// A field has a value that it cannot have.
    #[error("`{field}` {reason}")]
    Field {
        /// Field, such as `policy.ttl`.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
}

/// Reads the body of `/run` or `/runsync`. Unknown fields are ignored.
///
/// # Errors
/// [`EnvelopeError`] says which part is wrong.
pub fn parse_envelope(body: &Bytes, sync: bool) -> Result<JobRequest, EnvelopeError> {
    let not_json = |error: serde_json::Error| EnvelopeError::NotJson { reason: error.to_string() };
    if is_nested_deeper_than(body, MOST_NESTED) {
        return Err(EnvelopeError::TooDeep { most: MOST_NESTED });
    }
    let whole: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
    let object = parse_object(whole.get().as_bytes()).ok_or(EnvelopeError::NotAnObject)?;
    let input = find(&object, "input").ok_or(EnvelopeError::NoInput)?;
    let policy = match find(&object, "policy").filter(|policy| !is_null(policy)) {
        Some(policy) => parse_object(policy.get().as_bytes()).ok_or_else(|| EnvelopeError::Field {
            field: "policy",
            reason: "must be an object".to_owned(),
        })?,
        None => Vec::new(),
    };
    let webhook = match webhook(&object, "webhook")? {
        None => webhook(&object, "webhookV2")?,
        given => given,
    };
    let low_priority = find(&policy, "lowPriority").filter(|flag| !is_null(flag)).map(|flag| {
        serde_json::from_str::<bool>(flag.get()).map_err(|_| EnvelopeError::Field {
            field: "policy.lowPriority",
            reason: "must be true or false".to_owned(),
        })
    });
    Ok(JobRequest {
        callable: String::new(),
        input: body.slice_ref(input.get().as_bytes()),
        sync,
        execution_timeout: milliseconds(
            &policy,
            "executionTimeout",
            "policy.executionTimeout",
            EXECUTION_TIMEOUT_MS,
        )?,
        ttl: milliseconds(&policy, "ttl", "policy.ttl", TTL_MS)?,
        low_priority: low_priority.transpose()?.unwrap_or(false),
        webhook,
        s3_config: find(&object, "s3Config")
            .filter(|config| !is_null(config))
            .map(|config| body.slice_ref(config.get().as_bytes())),
    })
}

/// Reads a webhook's address; an empty one is none.
fn webhook(object: &RawObject<'_>, field: &'static str) -> Result<Option<String>, EnvelopeError> {
    let Some(value) = find(object, field).filter(|value| !is_null(value)) else { return Ok(None) };
    let wrong = || EnvelopeError::Field { field, reason: "must be an http or https URL".to_owned() };
    let text = serde_json::from_str::<String>(value.get()).map_err(|_| wrong())?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = text.parse::<http::Uri>().map_err(|_| wrong())?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    if is_web { Ok(Some(text)) } else { Err(wrong()) }
}

/// Whether brackets outside of strings are nested deeper than `most`. Counts alone, so that no
/// depth costs stack.
pub fn is_nested_deeper_than(text: &[u8], most: usize) -> bool {
    let (mut depth, mut is_string) = (0usize, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if is_string => drop(bytes.next()),
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

fn milliseconds(
    policy: &RawObject<'_>,
    key: &str,
    field: &'static str,
    (least, most): (u64, u64),
) -> Result<Option<Duration>, EnvelopeError> {
    let Some(value) = find(policy, key).filter(|value| !is_null(value)) else { return Ok(None) };
    match serde_json::from_str::<u64>(value.get()) {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(Duration::from_millis(number))),
        _ => Err(EnvelopeError::Field {
            field,
            reason: format!("must be a whole number of milliseconds from {least} to {most}"),
        }),
    }
}

fn find<'a>(object: &RawObject<'a>, key: &str) -> Option<&'a RawValue> {
    // As JSON parsers do, the last of equal keys counts.
    object.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Reads one level of a JSON object; `None` when the text is not one.
pub fn parse_object(text: &[u8]) -> Option<RawObject<'_>> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = RawObject<'de>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                pairs.push((key, map.next_value::<&'de RawValue>()?));
            }
            Ok(pairs)
        }
    }
    serde_json::Deserializer::from_slice(text).deserialize_map(Pairs).ok()
}

/// Reads one level of a JSON list; `None` when the text is not one.
pub fn raw_list(text: &[u8]) -> Option<Vec<&RawValue>> {
    serde_json::from_slice(text).ok()
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns a string as JSON.
pub fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Splits `error` out of a result, as Runpod does: a truthy one makes the job fail, a falsy one is
/// dropped. `None` when the result has no such key; else the error's text and what is left of the
/// result (`None` when a failure leaves nothing).
pub fn split_error(output: &Bytes) -> Option<(Option<String>, Option<Bytes>)> {
    let may_have_one =
        output.first() == Some(&b'{') && output.windows(7).any(|window| window == b"\"error\"");
    let object = may_have_one.then(|| parse_object(output)).flatten()?;
    let error = find(&object, "error")?;
    let rest: Vec<String> = object
        .iter()
        .filter(|(key, _)| key != "error")
        .map(|(key, value)| format!("{}:{}", json_string(key), value.get()))
        .collect();
    let is_truthy = !matches!(error.get(), "null" | "false" | "0" | "0.0" | "\"\"" | "{}" | "[]");
    let left = (!rest.is_empty() || !is_truthy).then(|| format!("{{{}}}", rest.join(",")).into());
    let text = serde_json::from_str::<String>(error.get()).unwrap_or_else(|_| error.get().to_owned());
    Some((is_truthy.then_some(text), left))
}

/// Renders the status object of a job. One that is finished always has `delayTime`,
/// `executionTime` and `workerId`: official models demand them (`platform.md` 9, quirk 31).
pub fn status_json(view: &JobView) -> Vec<u8> {
    let is_final = view.status.is_terminal();
    let mut fields = Map::new();
    fields.insert("id".to_owned(), view.id.clone().into());
    fields.insert("status".to_owned(), json!(view.status));
    let optional = [
        ("delayTime", view.delay_ms.or(is_final.then_some(0)).map(Value::from)),
        ("executionTime", view.execution_ms.or(is_final.then_some(0)).map(Value::from)),
        ("workerId", view.worker.clone().or(is_final.then(String::new)).map(Value::from)),
        ("retries", (view.retries > 0).then(|| view.retries.into())),
        ("error", view.error.as_ref().map(|report| error_text(report).into())),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            fields.insert(key.to_owned(), value);
        }
    }
    if let Some(waiting) = &view.waiting_for
        && view.status == JobStatus::InQueue
    {
        fields.insert("waitingFor".to_owned(), waiting.clone().into());
    }
    let mut text = Value::Object(fields).to_string().into_bytes();
    let details = view.error.as_ref().and_then(error_details).map(|details| details.to_string().into());
    // The output is JSON text already and may be large: it is put in as it is.
    if let Some(output) = view.output.clone().or(details) {
        text.pop();
        text.extend_from_slice(b",\"output\":");
        text.extend_from_slice(&output);
        text.push(b'}');
    }
    text
}

/// Returns the text of a failure: `ValueError: boom`.
pub fn error_text(report: &ErrorReport) -> String {
    match (report.error_type.as_str(), report.message.as_str()) {
        ("", message) => message.to_owned(),
        (error_type, "") => error_type.to_owned(),
        (error_type, message) => format!("{error_type}: {message}"),
    }
}

/// Returns what `output` holds beside the error of a failed job; `None` for an error that the
/// function returned itself.
pub fn error_details(report: &ErrorReport) -> Option<Value> {
    if report.error_type.is_empty() {
        return None;
    }
    let mut details = json!({
        "error_type": report.error_type,
        "error_message": report.message,
        "error_traceback": report.traceback,
    });
    if report.failure == Failure::InvalidInput {
        details["detail"] = report.detail.clone().unwrap_or(Value::Null);
    }
    if let Some(hint) = &report.hint {
        details["hint"] = hint.clone().into();
    }
    Some(details)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn envelope(text: &str) -> Result<JobRequest, EnvelopeError> {
        parse_envelope(&Bytes::copy_from_slice(text.as_bytes()), false)
    }

    #[test]
    fn envelope_keeps_input_as_it_came() {
        let job =
            envelope(r#" {"extra": [1], "input" : {"a": 1.500, "b": "\u00e9"} , "policy": null}"#).unwrap();
        assert_eq!(job.input, r#"{"a": 1.500, "b": "\u00e9"}"#);
    }

    #[test]
    fn envelope_policy_is_read() {
        let text = r#"{"input": null, "webhook": "http://h/x", "policy":
            {"executionTimeout": 5000, "ttl": 10000, "lowPriority": true}}"#;
        let job = envelope(text).unwrap();
        assert_eq!(job.input, "null");
        assert_eq!(job.execution_timeout, Some(Duration::from_secs(5)));
        assert_eq!(job.ttl, Some(Duration::from_secs(10)));
        assert!(job.low_priority);
        assert_eq!(job.webhook.as_deref(), Some("http://h/x"));
    }

    #[rstest]
    #[case("", "not valid JSON")]
    #[case("{\"input\": NaN}", "not valid JSON")]
    #[case("{\"input\": 1} x", "not valid JSON")]
    #[case("[1]", "JSON object")]
    #[case("{}", "`input` is missing")]
    #[case(r#"{"input":1,"policy":3}"#, "`policy` must be an object")]
    #[case(r#"{"input":1,"policy":{"executionTimeout":100}}"#, "`policy.executionTimeout` must be")]
    #[case(r#"{"input":1,"policy":{"ttl":1e9}}"#, "`policy.ttl` must be")]
    #[case(r#"{"input":1,"webhook":7}"#, "`webhook` must be")]
    fn envelope_that_is_wrong_says_what(#[case] text: &str, #[case] expected: &str) {
        let message = envelope(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn envelope_of_other_bytes_is_refused() {
        assert!(parse_envelope(&Bytes::from_static(b"{\"input\": \"\xff\"}"), true).is_err());
        let deep = format!("{{\"input\": {}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(envelope(&deep).unwrap_err(), EnvelopeError::TooDeep { most: MOST_NESTED });
    }

    #[rstest]
    #[case(r#"{"a": 1}"#, None)]
    #[case(r#"[{"error": 1}]"#, None)]
    #[case(r#"{"error": "x", "b": 1}"#, Some((Some("x"), Some(r#"{"b":1}"#))))]
    #[case(r#"{"error": {"code": 7}}"#, Some((Some(r#"{"code": 7}"#), None)))]
    #[case(r#"{"error": ""}"#, Some((None, Some("{}"))))]
    #[case(r#"{"error": null, "b": 2}"#, Some((None, Some(r#"{"b":2}"#))))]
    fn result_with_error_key_is_split(
        #[case] text: &str,
        #[case] expected: Option<(Option<&str>, Option<&str>)>,
    ) {
        let split = split_error(&Bytes::copy_from_slice(text.as_bytes()));
        let expected = expected.map(|(error, rest)| {
            (error.map(str::to_owned), rest.map(|rest| Bytes::copy_from_slice(rest.as_bytes())))
        });
        assert_eq!(split, expected);
    }

    #[test]
    fn envelope_as_deep_as_allowed_is_read() {
        let nested = |levels: usize| format!("{{\"input\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(envelope(&nested(MOST_NESTED - 1)).is_ok());
        assert!(envelope(&nested(MOST_NESTED)).is_err());
        let text = format!(r#"{{"input": "\"{}"}}"#, "[".repeat(MOST_NESTED + 1));
        assert!(envelope(&text).is_ok());
    }

    #[rstest]
    #[case(r#"{"input": 1, "webhook": "http://h/x?a=b"}"#, Ok("http://h/x?a=b"))]
    #[case(r#"{"input": 1, "webhook": null, "webhookV2": "https://h"}"#, Ok("https://h"))]
    #[case(r#"{"input": 1, "webhook": ""}"#, Ok(""))]
    #[case(r#"{"input": 1, "webhook": "ftp://h/x"}"#, Err(()))]
    #[case(r#"{"input": 1, "webhook": "/x"}"#, Err(()))]
    #[case(r#"{"input": 1, "webhookV2": 7}"#, Err(()))]
    fn envelope_webhook_is_a_web_address(#[case] text: &str, #[case] expected: Result<&str, ()>) {
        let webhook = envelope(text).map(|job| job.webhook.unwrap_or_default()).map_err(drop);
        assert_eq!(webhook.as_deref(), expected.as_ref().copied().map_err(|()| &()));
    }

    #[test]
    fn status_of_job_that_never_ran_has_what_official_models_demand() {
        let never_ran = |status| JobView { delay_ms: None, execution_ms: None, worker: None, ..view(status) };
        let text = String::from_utf8(status_json(&never_ran(JobStatus::Cancelled))).unwrap();
        assert_eq!(text, r#"{"id":"j","status":"CANCELLED","delayTime":0,"executionTime":0,"workerId":""}"#);
        let text = String::from_utf8(status_json(&never_ran(JobStatus::InQueue))).unwrap();
        assert_eq!(text, r#"{"id":"j","status":"IN_QUEUE"}"#);
    }

    fn view(status: JobStatus) -> JobView {
        JobView {
            id: "j".to_owned(),
            status,
            delay_ms: Some(3),
            execution_ms: Some(4),
            worker: Some("w".to_owned()),
            output: None,
            error: None,
            retries: 0,
            waiting_for: None,
        }
    }

    #[test]
    fn status_of_completed_job_has_output_as_it_came() {
        let job = JobView { output: Some(Bytes::from_static(b"{\"x\": 1.0}")), ..view(JobStatus::Completed) };
        let text = String::from_utf8(status_json(&job)).unwrap();
        assert_eq!(
            text,
            r#"{"id":"j","status":"COMPLETED","delayTime":3,"executionTime":4,"workerId":"w","output":{"x": 1.0}}"#
        );
    }

    #[test]
    fn status_of_failed_job_has_error_as_text_and_details() {
        let mut report = ErrorReport::new(Failure::Raised, "ValueError", "boom");
        report.traceback = "Traceback".to_owned();
        let job = JobView { error: Some(report), retries: 1, ..view(JobStatus::Failed) };
        let json: Value = serde_json::from_slice(&status_json(&job)).unwrap();
        assert_eq!(json["error"], "ValueError: boom");
        assert_eq!(json["retries"], 1);
        let expected =
            json!({"error_type": "ValueError", "error_message": "boom", "error_traceback": "Traceback"});
        assert_eq!(json["output"], expected);
    }

    proptest! {
        #[test]
        fn object_of_any_keys_is_read_back(pairs in prop::collection::vec((".*", any::<i64>()), 0..6)) {
            let text = pairs.iter().map(|(key, value)| format!("{}: {value}", json_string(key)));
            let text = format!("{{{}}}", text.collect::<Vec<_>>().join(" , "));
            let object = parse_object(text.as_bytes()).unwrap();
            let read: Vec<(String, i64)> =
                object.iter().map(|(key, value)| (key.to_string(), value.get().parse().unwrap())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn envelope_of_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_envelope(&Bytes::from(bytes), true);
        }
    }
}
