//! The live protocol: `FunctionRequest` out, `FunctionResponse` back (`wire.md` 1.2, 1.3, 2.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::payload::{Part, Payload, Segment};

/// Pickled value, in segments.
pub type Pickled = Vec<Segment>;

/// Arguments by position and by name.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// By position.
    pub positional: Vec<Pickled>,
    /// By name.
    pub named: Vec<(String, Pickled)>,
}

/// A call that brings its source.
#[derive(Debug, Clone, Default)]
pub struct FunctionRequest {
    /// Every field except the arguments: names, code, dependencies, modules.
    pub head: Map<String, Value>,
    /// Arguments of the function or method.
    pub arguments: Arguments,
    /// Arguments of the constructor, for a class.
    pub constructor: Option<Arguments>,
}

impl FunctionRequest {
    /// Returns the body of a job: `{"input": …}`.
    pub fn into_job(self) -> Payload {
        self.body("{\"input\":", "}")
    }

    /// Returns the body of `POST /execute`: the request itself.
    pub fn into_execute(self) -> Payload {
        self.body("", "")
    }

    fn body(self, before: &str, after: &str) -> Payload {
        let mut body = Body { text: before.to_owned(), parts: Vec::new(), sizes: Vec::new() };
        let mut head = self.head;
        // Written below, with values that are not JSON.
        for name in ["args", "kwargs", "constructor_args", "constructor_kwargs"] {
            head.remove(name);
        }
        let head = Value::Object(head).to_string();
        body.text.push_str(head.strip_suffix('}').unwrap_or(&head));
        let mut separator = if head == "{}" { "" } else { "," };
        let constructor = self.constructor.unwrap_or_default();
        for (arguments, list, dict) in
            [(self.arguments, "args", "kwargs"), (constructor, "constructor_args", "constructor_kwargs")]
        {
            body.text.push_str(separator);
            separator = ",";
            body.arguments(arguments, list, dict);
        }
        body.text.push('}');
        body.text.push_str(after);
        body.flush();
        Payload::new(body.parts, body.sizes)
    }
}

/// Returns the pickle of a text: nothing else is made without an interpreter.
///
/// # Errors
/// None in practice; the pickler's own, as text.
pub fn pickled_text(text: &str) -> Result<Pickled, String> {
    let bytes =
        serde_pickle::to_vec(&text, serde_pickle::SerOptions::new()).map_err(|error| error.to_string())?;
    Ok(vec![Segment::from(bytes::Bytes::from(bytes))])
}

/// Returns the text of a response whose result is one, as the JSON adapter gives it.
///
/// # Errors
/// Why it is none. Pickles of anything but a text are refused, and nothing is executed.
pub fn text_of(response: &FunctionResponse<'_>) -> Result<String, String> {
    let base64 = response.result.as_deref().ok_or("there is no result")?;
    let bytes = base64_simd::STANDARD.decode_to_vec(base64.as_bytes()).map_err(|error| error.to_string())?;
    serde_pickle::from_slice(&bytes, serde_pickle::DeOptions::new()).map_err(|error| error.to_string())
}

struct Body {
    text: String,
    parts: Vec<Part>,
    sizes: Vec<(String, u64)>,
}

impl Body {
    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.parts.push(Part::Text(std::mem::take(&mut self.text).into()));
        }
    }

    fn value(&mut self, name: String, pickled: Pickled) {
        self.text.push('"');
        self.flush();
        let part = Part::Base64(pickled);
        self.sizes.push((name, part.len()));
        self.parts.push(part);
        self.text.push('"');
    }

    fn arguments(&mut self, arguments: Arguments, list: &str, dict: &str) {
        _ = write!(self.text, "\"{list}\":[");
        for (index, pickled) in arguments.positional.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(format!("argument {}", index + 1), pickled);
        }
        _ = write!(self.text, "],\"{dict}\":{{");
        for (index, (name, pickled)) in arguments.named.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.text.push_str(&Value::String(name.clone()).to_string());
            self.text.push(':');
            self.value(name, pickled);
        }
        self.text.push('}');
    }
}

/// What a worker answers.
#[derive(Debug, Deserialize)]
pub struct FunctionResponse<'a> {
    /// Whether the function returned.
    pub success: bool,
    /// Base64 of the pickled result.
    #[serde(borrow, default)]
    pub result: Option<Cow<'a, str>>,
    /// The result as JSON.
    #[serde(borrow, default)]
    pub json_result: Option<&'a RawValue>,
    /// Message and traceback.
    #[serde(default)]
    pub error: Option<String>,
    /// What the function printed.
    #[serde(default)]
    pub stdout: Option<String>,
    /// How many items were streamed while the function ran: said by our workers alone.
    #[serde(default)]
    pub streamed: Option<u64>,
}

/// A remote exception as its text tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteFailure {
    /// Class, with its module where the traceback has one.
    pub class: String,
    /// What `str()` of it gave.
    pub message: String,
    /// Traceback, empty where there is none.
    pub traceback: String,
    /// What our worker says to do about it.
    pub hint: Option<String>,
}

const TRACEBACK: &str = "Traceback (most recent call last):";

impl RemoteFailure {
    /// Reads `error`: the message, then a traceback whose last line names the class.
    pub fn parse(error: &str) -> Self {
        let (error, hint) = match error.rsplit_once("\nhint: ") {
            Some((before, hint)) if !hint.contains('\n') => (before, Some(hint.to_owned())),
            _ => (error, None),
        };
        // Of a chain of exceptions the last one is what was raised.
        let Some(first) = error.find(TRACEBACK) else {
            return Self { message: error.trim_end().to_owned(), hint, ..Self::default() };
        };
        let (message, traceback) = (error[..first].trim_end(), error[first..].trim_end());
        let last = traceback.rfind(TRACEBACK).map_or(traceback, |at| &traceback[at..]);
        // Frames are indented; the line after them is the exception.
        let line = last.lines().skip(1).find(|line| !line.starts_with([' ', '\t']) && !line.is_empty());
        let line = line.unwrap_or_default();
        let (class, rest) = line.split_once(": ").unwrap_or((line, ""));
        let is_class = !class.is_empty()
            && class.split('.').all(|part| {
                part == "<locals>"
                    || !part.is_empty()
                        && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
            });
        let message = if message.is_empty() { rest } else { message };
        Self {
            class: if is_class { class.to_owned() } else { String::new() },
            message: message.to_owned(),
            traceback: traceback.to_owned(),
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64_simd::STANDARD;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn text(payload: &Payload) -> String {
        let mut text = String::new();
        for part in payload.parts() {
            match part {
                Part::Text(bytes) => text.push_str(std::str::from_utf8(bytes).unwrap()),
                Part::Base64(segments) => {
                    let bytes = segments.iter().map(|segment| match segment {
                        Segment::Bytes(bytes) => bytes.to_vec(),
                        Segment::Source(_) => unreachable!("the tests have none"),
                    });
                    text.push_str(&STANDARD.encode_to_string(bytes.collect::<Vec<_>>().concat()));
                }
            }
        }
        text
    }

    proptest! {
        #[test]
        fn request_with_any_arguments_is_the_json_of_the_protocol(
            positional in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
            named in proptest::collection::btree_map(".{0,8}", proptest::collection::vec(any::<u8>(), 0..40), 0..4),
            code in ".*",
        ) {
            let bytes = |value: &Vec<u8>| vec![Segment::from(Bytes::from(value.clone()))];
            let mut head = Map::new();
            head.insert("function_code".to_owned(), Value::String(code.clone()));
            let arguments = Arguments {
                positional: positional.iter().map(bytes).collect(),
                named: named.iter().map(|(name, value)| (name.clone(), bytes(value))).collect(),
            };
            let request = FunctionRequest { head, arguments, constructor: None };
            let job = request.clone().into_job();
            let json: Value = serde_json::from_str(&text(&job)).unwrap();
            prop_assert_eq!(&json["input"]["function_code"], &Value::String(code));
            for (index, value) in positional.iter().enumerate() {
                let expected = STANDARD.encode_to_string(value);
                prop_assert_eq!(json["input"]["args"][index].as_str(), Some(expected.as_str()));
            }
            for (name, value) in &named {
                let expected = STANDARD.encode_to_string(value);
                prop_assert_eq!(json["input"]["kwargs"][name].as_str(), Some(expected.as_str()));
            }
            prop_assert_eq!(&json["input"], &serde_json::from_str::<Value>(&text(&request.into_execute())).unwrap());
            prop_assert_eq!(usize::try_from(job.len()).unwrap(), text(&job).len());
        }
    }

    #[test]
    fn text_comes_back_from_its_own_pickle_and_from_pythons() {
        for result in [
            STANDARD.encode_to_string(match &pickled_text("\u{1f600} é").unwrap()[0] {
                Segment::Bytes(bytes) => bytes.to_vec(),
                Segment::Source(_) => unreachable!("a text has none"),
            }),
            // `pickle.dumps("\N{GRINNING FACE} é", 5)`
            "gAWVCwAAAAAAAACMB/CfmIAgw6mULg==".to_owned(),
        ] {
            let json = serde_json::json!({"success": true, "result": result}).to_string();
            let response: FunctionResponse<'_> = serde_json::from_str(&json).unwrap();
            assert_eq!(text_of(&response).unwrap(), "\u{1f600} é");
        }
        // `pickle.dumps(print, 5)` would name code.
        let json = r#"{"success": true, "result": "gAWVHAAAAAAAAACMCGJ1aWx0aW5zlIwFcHJpbnSUk5Qu"}"#;
        assert!(text_of(&serde_json::from_str(json).unwrap()).is_err());
    }

    #[test]
    fn failure_with_a_chain_is_of_the_class_that_was_raised() {
        let error = "no such key: x\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'x'\n\n\
                     During handling of the above exception, another exception occurred:\n\n\
                     Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    raise Odd('no such key: x')\n\
                     app.Odd: no such key: x\n";
        let failure = RemoteFailure::parse(error);
        assert_eq!((failure.class.as_str(), failure.message.as_str()), ("app.Odd", "no such key: x"));
        assert!(
            failure.traceback.starts_with(TRACEBACK)
                && failure.traceback.ends_with("app.Odd: no such key: x")
        );
    }

    #[test]
    fn failure_without_a_traceback_keeps_its_text_and_hint() {
        let failure = RemoteFailure::parse("Failed tasks: python_dependencies: no\nhint: look");
        assert_eq!(failure.message, "Failed tasks: python_dependencies: no");
        assert_eq!((failure.class.as_str(), failure.hint.as_deref()), ("", Some("look")));
    }
}
