//! Reads what workers send about jobs: JSON, as Python writes it (`platform.md` 2.6, 2.13).

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::platform::record::Change;
use crate::wire::job::{RawObject, parse_object};
use crate::wire::message::{ErrorReport, Failure};

/// What a body to `job-done` says.
#[derive(Debug)]
pub(super) enum Sent {
    /// The job goes on.
    Progress(Bytes),
    /// The job has ended.
    End {
        /// How.
        change: Change,
        /// Whether the worker is to be replaced.
        stop_pod: bool,
    },
}

/// Reads a body to `job-done`.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn read_result(body: &Bytes) -> Result<Sent, String> {
    let body = lenient(body)?;
    let object = parse_object(&body).ok_or("body must be a JSON object")?;
    let output = find(&object, "output").map(|output| body.slice_ref(output.get().as_bytes()));
    if find(&object, "status").is_some_and(|status| status.get() == "\"IN_PROGRESS\"") {
        return Ok(Sent::Progress(output.unwrap_or(Bytes::from_static(b"null"))));
    }
    let stop_pod = find(&object, "stopPod").is_some_and(|flag| flag.get() == "true");
    let error = find(&object, "error").filter(|error| !matches!(error.get(), "null" | "\"\"" | "false"));
    let change = match error {
        Some(error) => {
            // It may be any JSON; clients read a text.
            let text = serde_json::from_str::<String>(error.get()).unwrap_or_else(|_| error.get().to_owned());
            Change::Failed(Box::new(ErrorReport::new(Failure::Raised, "", text)), output)
        }
        // No output at all is not the same as `null`.
        None => Change::Completed(output.unwrap_or_default()),
    };
    Ok(Sent::End { change, stop_pod })
}

/// Reads a body to `job-stream`: the item.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn read_item(body: &Bytes) -> Result<Bytes, String> {
    let body = lenient(body)?;
    let object = parse_object(&body).ok_or("body must be a JSON object")?;
    let output = find(&object, "output").ok_or("`output` is missing")?;
    Ok(body.slice_ref(output.get().as_bytes()))
}

fn find<'a>(object: &RawObject<'a>, key: &str) -> Option<&'a RawValue> {
    object.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
}

/// Returns the body as JSON: Python writes `NaN` and `Infinity` where JSON has no number.
fn lenient(body: &Bytes) -> Result<Bytes, String> {
    let is_json = |text: &[u8]| serde_json::from_slice::<&RawValue>(text).map(drop);
    let Err(error) = is_json(body) else { return Ok(body.clone()) };
    let replaced = replace_non_numbers(body);
    match is_json(&replaced) {
        Ok(()) => Ok(replaced),
        Err(_) => Err(format!("body is not valid JSON: {error}")),
    }
}

/// Replaces `NaN`, `Infinity` and `-Infinity` outside of strings by `null`.
fn replace_non_numbers(text: &[u8]) -> Bytes {
    let mut replaced = BytesMut::with_capacity(text.len());
    let (mut index, mut is_in_string) = (0, false);
    while let Some(byte) = text.get(index) {
        if is_in_string {
            if *byte == b'\\' {
                replaced.extend_from_slice(&text[index..text.len().min(index + 2)]);
                index += 2;
                continue;
            }
            is_in_string = *byte != b'"';
        } else if *byte == b'"' {
            is_in_string = true;
        } else {
            let words: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
            if let Some(word) = words.iter().find(|word| text[index..].starts_with(word)) {
                replaced.extend_from_slice(b"null");
                index += word.len();
                continue;
            }
        }
        replaced.extend_from_slice(&[*byte]);
        index += 1;
    }
    replaced.freeze()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &'static str) -> Sent {
        read_result(&Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[rstest]
    #[case::value(r#"{"output": {"a": 1}}"#, r#"{"a": 1}"#)]
    #[case::nothing("{}", "")]
    #[case::null(r#"{"output": null}"#, "null")]
    #[case::no_error(r#"{"output": 1, "error": ""}"#, "1")]
    #[case::no_number(
        r#"{"output": [NaN, -Infinity, "NaN \" Infinity", Infinity]}"#,
        r#"[null, null, "NaN \" Infinity", null]"#
    )]
    fn result_without_error_completes(#[case] text: &'static str, #[case] expected: &'static str) {
        let Sent::End { change: Change::Completed(output), stop_pod: false } = read(text) else { panic!() };
        assert_eq!(output, expected);
    }

    #[rstest]
    #[case::text(r#"{"error": "boom é"}"#, "boom é", None)]
    #[case::object(r#"{"error": {"code": 7}}"#, r#"{"code": 7}"#, None)]
    #[case::both(r#"{"output": {"x": 1}, "error": "custom"}"#, "custom", Some(r#"{"x": 1}"#))]
    fn result_with_error_fails(
        #[case] text: &'static str,
        #[case] message: &str,
        #[case] expected: Option<&'static str>,
    ) {
        let Sent::End { change: Change::Failed(report, output), .. } = read(text) else { panic!() };
        assert_eq!(report.message, message);
        assert_eq!(output, expected.map(Bytes::from));
    }

    #[test]
    fn result_with_stop_pod_says_so_and_progress_is_no_end() {
        assert!(matches!(read(r#"{"output": 1, "stopPod": true}"#), Sent::End { stop_pod: true, .. }));
        let progress = read(r#"{"status": "IN_PROGRESS", "output": "half"}"#);
        assert!(matches!(progress, Sent::Progress(update) if update == "\"half\""));
    }

    #[test]
    fn result_that_is_no_object_is_refused() {
        for text in ["", "[1]", "{\"output\": }", "nonsense"] {
            assert!(read_result(&Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
        assert!(read_item(&Bytes::from_static(b"{}")).is_err());
    }
}
