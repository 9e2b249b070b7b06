//! Reads what Runpod says about a job.
//!
//! All but the ID and the status is optional, numbers may be anything, an error any JSON; of a key
//! that comes twice the last one counts.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ErrorKind, RunpodError};
use super::job::{JobState, Output, Status};

#[derive(Default)]
struct Fields<'a> {
    id: Option<Cow<'a, str>>,
    status: Option<Cow<'a, str>>,
    delay: Option<i64>,
    execution: Option<i64>,
    worker: Option<Cow<'a, str>>,
    output: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    retries: Option<i64>,
    stream: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    match &*key {
                        "id" => fields.id = map.next_value::<Text<'_>>()?.0,
                        "status" => fields.status = map.next_value::<Text<'_>>()?.0,
                        "workerId" => fields.worker = map.next_value::<Text<'_>>()?.0,
                        "delayTime" => fields.delay = map.next_value::<Number>()?.0,
                        "executionTime" => fields.execution = map.next_value::<Number>()?.0,
                        "retries" => fields.retries = map.next_value::<Number>()?.0,
                        "output" => fields.output = Some(map.next_value()?),
                        "error" => fields.error = Some(map.next_value()?),
                        "stream" => fields.stream = Some(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A text, or nothing where it is something else.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let plain = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Ok(Self(match plain {
            Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
            Some(_) => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
            None => None,
        }))
    }
}

/// A whole number; the part of a millisecond is dropped.
struct Number(Option<i64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        #[expect(clippy::cast_possible_truncation, reason = "a float saturates")]
        let number =
            text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().map(|number| number as i64));
        Ok(Self(number))
    }
}

/// Reads the answer to a request about a job; `known` is the job's ID where the request named it.
///
/// # Errors
/// [`ErrorKind::Malformed`] where it is not the state of a job.
pub(crate) fn state(body: Bytes, known: Option<&str>) -> Result<JobState, RunpodError> {
    let fields: Fields<'_> =
        serde_json::from_slice(&body).map_err(|error| malformed(&body, &error.to_string()))?;
    let part = |value: &RawValue| body.slice_ref(value.get().as_bytes());
    let id = fields.id.as_deref().or(known).filter(|id| !id.is_empty());
    let status = fields.status.as_deref().filter(|status| !status.is_empty());
    let (Some(id), Some(status)) = (id, status) else {
        return Err(malformed(&body, "it has no `id` or no `status`"));
    };
    let is_something = |value: &&RawValue| value.get() != "null";
    let output = fields.output.map_or(Output::None, |output| Output::Json(part(output)));
    Ok(JobState {
        id: id.to_owned(),
        status: Status::parse(status),
        delay_ms: fields.delay,
        execution_ms: fields.execution,
        worker: fields.worker.as_deref().filter(|worker| !worker.is_empty()).map(ToOwned::to_owned),
        output,
        error: fields.error.filter(is_something).map(ToOwned::to_owned),
        retries: fields.retries,
        request_id: None,
        raw: body,
    })
}

/// Returns the job's ID where the beginning of an answer has it.
pub(super) fn id_within(beginning: &[u8]) -> Option<String> {
    struct Object<'a>(&'a mut Option<String>);
    impl<'de> Visitor<'de> for Object<'_> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                if key == "id" {
                    *self.0 = map.next_value::<Text<'_>>()?.0.map(Cow::into_owned);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(())
        }
    }
    let mut found = None;
    // It ends somewhere in the middle.
    let _ = serde_json::Deserializer::from_slice(beginning).deserialize_map(Object(&mut found));
    found.filter(|id| !id.is_empty())
}

/// Reads an answer of `/stream`: the state, and the items' JSON texts.
///
/// # Errors
/// [`ErrorKind::Malformed`] where it is something else.
pub(super) fn items(body: &Bytes) -> Result<(Status, Vec<Bytes>), RunpodError> {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        output: Option<&'a RawValue>,
    }
    let fields: Fields<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(body, &error.to_string()))?;
    let Some(status) = fields.status.as_deref() else { return Err(malformed(body, "it has no `status`")) };
    let chunks: Vec<&RawValue> = match fields.stream.filter(|stream| stream.get() != "null") {
        Some(stream) => {
            serde_json::from_str(stream.get()).map_err(|_| malformed(body, "its `stream` is no list"))?
        }
        None => Vec::new(),
    };
    let items = chunks.into_iter().map(|chunk| {
        let inner = serde_json::from_str::<Chunk<'_>>(chunk.get()).ok().and_then(|chunk| chunk.output);
        body.slice_ref(inner.unwrap_or(chunk).get().as_bytes())
    });
    Ok((Status::parse(status), items.collect()))
}

/// Describes an answer that is not what the protocol says, with its beginning.
pub(crate) fn malformed(body: &[u8], why: &str) -> RunpodError {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    let short: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
    let what = if short.is_empty() { "an empty answer".to_owned() } else { format!("`{short}`") };
    let mut error =
        RunpodError::new(ErrorKind::Malformed, format!("Runpod's answer cannot be read: {why}: {what}"));
    if text.trim_start().starts_with('<') {
        error.hint = Some(
            "the answer is a page, not Runpod's API: check RUNPOD_ENDPOINT_BASE_URL, and proxies on the way"
                .to_owned(),
        );
    }
    error.exchange.body = Some(text);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<JobState, RunpodError> {
        state(Bytes::copy_from_slice(text.as_bytes()), None)
    }

    #[test]
    fn state_needs_an_id_and_a_status_and_bears_everything_else() {
        let state =
            read(r#"{"status":"IN_QUEUE","id":"j\u002d1","status":"RUNNING","delayTime":1.9,"workerId":7}"#);
        let state = state.expect("a state");
        assert_eq!((state.id.as_str(), state.delay_ms, state.worker), ("j-1", Some(1), None));
        assert_eq!(state.status, Status::Other("RUNNING".to_owned()));
        assert!(!state.status.is_terminal() && matches!(state.output, Output::None));
        for text in ["", "{", "[]", "null", "<html>", r#"{"id":"j"}"#, r#"{"status":"COMPLETED"}"#] {
            let error = read(text).expect_err(text);
            assert_eq!(error.kind, ErrorKind::Malformed, "{text}");
        }
    }

    #[test]
    fn output_is_a_slice_of_the_answer_and_null_is_an_output() {
        let state =
            read(r#"{"id":"j","status":"COMPLETED","output": {"a": [1, 2]} ,"error":null}"#).expect("read");
        let Output::Json(output) = &state.output else { panic!("no output") };
        assert_eq!(&output[..], br#"{"a": [1, 2]}"#);
        assert!(state.raw.as_ptr_range().contains(&output.as_ptr()) && state.error.is_none());
        let state = read(r#"{"id":"j","status":"COMPLETED","output":null}"#).expect("read");
        assert!(matches!(state.output, Output::Json(text) if &text[..] == b"null"));
    }

    #[test]
    fn id_is_found_before_the_answer_is_whole() {
        for (text, id) in [
            (r#"{"delayTime":1,"id":"j1","output":{"id":"no"#, Some("j1")),
            (r#"{"output":{"id":"no"},"id":"j1","#, Some("j1")),
            (r#"{"output":{"id":"no""#, None),
            (r#"{"id":"j"#, None),
            (r#"{"id":7,"#, None),
            ("<html>", None),
        ] {
            assert_eq!(id_within(text.as_bytes()).as_deref(), id, "{text}");
        }
    }

    #[test]
    fn items_are_outputs_of_chunks() {
        let body = Bytes::from_static(
            br#"{"status":"IN_PROGRESS","stream":[{"output":{"n":1}},{"output":null},3]}"#,
        );
        let (status, items) = items(&body).expect("read");
        assert_eq!(
            (status, items.as_slice()),
            (Status::InProgress, &["{\"n\":1}".into(), "{\"output\":null}".into(), "3".into()][..])
        );
    }
}
