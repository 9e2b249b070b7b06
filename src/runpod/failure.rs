//! How a job ended, as a result: what its error says is read as far as it can be.

use serde_json::{Map, Value};

use super::error::{ErrorKind, RunpodError};
use super::job::{JobState, Output, Status};

/// What a failed job tells.
#[derive(Debug, Default)]
struct Told {
    error_type: Option<String>,
    message: Option<String>,
    traceback: Option<String>,
    hint: Option<String>,
}

impl JobState {
    /// Returns the output, or how the job failed.
    ///
    /// # Errors
    /// [`ErrorKind::JobFailed`], [`ErrorKind::JobTimedOut`] or [`ErrorKind::JobCancelled`], with the
    /// remote exception where it is told; [`ErrorKind::Malformed`] where it has not ended.
    pub fn into_result(self) -> Result<Output, RunpodError> {
        let kind = match self.status {
            Status::Completed => return Ok(self.output),
            Status::Failed => ErrorKind::JobFailed,
            Status::TimedOut => ErrorKind::JobTimedOut,
            Status::Cancelled => ErrorKind::JobCancelled,
            Status::InQueue | Status::InProgress | Status::Other(_) => {
                let text = format!("job `{}` has not ended: it is `{}`", self.id, self.status.as_str());
                return Err(RunpodError::new(ErrorKind::Malformed, text).about_job(self.id));
            }
        };
        let output = match self.output {
            Output::Json(text) if &text[..] != b"null" => Some(String::from_utf8_lossy(&text).into_owned()),
            _ => None,
        };
        let told = told(self.error.as_deref().map(serde_json::value::RawValue::get), output.as_deref());
        let what = match kind {
            ErrorKind::JobFailed => "failed",
            ErrorKind::JobTimedOut => "timed out",
            _ => "was cancelled",
        };
        let reason = match (&told.error_type, told.message.as_deref().unwrap_or_default()) {
            (Some(class), "") => class.clone(),
            (Some(class), message) => format!("{class}: {message}"),
            (None, message) => message.to_owned(),
        };
        let text = if reason.is_empty() {
            format!("job `{}` {what}", self.id)
        } else {
            format!("job `{}` {what}: {reason}", self.id)
        };
        let mut error = RunpodError::new(kind, text).about_job(self.id);
        error.hint = told.hint.or_else(|| {
            (kind == ErrorKind::JobTimedOut).then(|| {
                "it ran longer than `execution_timeout_ms` or its policy allows, or waited longer than its `ttl`"
                    .to_owned()
            })
        });
        error.exchange.request_id = self.request_id;
        error.exchange.output = output;
        error.exchange.error_type = told.error_type;
        error.exchange.traceback = told.traceback;
        Err(error)
    }
}

/// Reads `error`, a text with JSON in it, a text, or any JSON; and `output`, where our workers and
/// deployed Flash put the details.
fn told(error: Option<&str>, output: Option<&str>) -> Told {
    let error: Value = error.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let output: Value = output.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut told = match &error {
        Value::Null => Told::default(),
        Value::Object(fields) => in_error(fields),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => in_error(&fields),
            _ => Told { message: Some(text.clone()), ..Told::default() },
        },
        other => Told { message: Some(other.to_string()), ..Told::default() },
    };
    if told.message.as_deref() == Some("") {
        told.message = None;
    }
    if let Value::Object(fields) = &output {
        let details = in_fields(fields);
        if details.error_type.is_some() && told.error_type.is_none() {
            // The text of the error is the type and the message then, or a summary.
            told.message = details.message.or(told.message);
            told.error_type = details.error_type;
        } else if told.message.is_none() {
            told.message = details.message;
        }
        told.traceback = told.traceback.or(details.traceback);
        told.hint = told.hint.or(details.hint);
    }
    if told.error_type.is_none() {
        told.error_type = told.traceback.as_deref().and_then(raised_type);
        // A traceback that ends with another text than the message is about something else.
        if let (Some(class), Some(traceback)) = (&told.error_type, &told.traceback) {
            let message = told.message.as_deref().unwrap_or_default();
            let last = traceback.trim_end().lines().next_back().unwrap_or_default();
            if last != format!("{class}: {message}").trim_end_matches(": ") {
                told.error_type = None;
            }
        }
    }
    told
}

/// What cannot be understood is shown as it is.
fn in_error(fields: &Map<String, Value>) -> Told {
    let told = in_fields(fields);
    if told.message.is_some() || told.error_type.is_some() {
        return told;
    }
    Told { message: Some(Value::Object(fields.clone()).to_string()), ..told }
}

fn in_fields(fields: &Map<String, Value>) -> Told {
    let text = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| fields.get(*name)?.as_str())
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned)
    };
    Told {
        error_type: text(&["error_type"]).map(|class| class_name(&class)),
        message: text(&["error_message", "error", "message", "detail"]),
        traceback: text(&["error_traceback", "traceback"]),
        hint: text(&["hint"]),
    }
}

/// `<class 'pkg.Error'>` is `pkg.Error`.
fn class_name(text: &str) -> String {
    text.strip_prefix("<class '").and_then(|text| text.strip_suffix("'>")).unwrap_or(text).to_owned()
}

/// Returns the class that a traceback's last line names.
fn raised_type(traceback: &str) -> Option<String> {
    let last = traceback.trim_end().lines().next_back()?;
    let class = last.split(':').next()?;
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (class.split('.').all(is_name) && !class.starts_with(char::is_numeric)).then(|| class.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::runpod::answer::state;

    fn failed(fields: &Value) -> RunpodError {
        let mut all = json!({ "id": "j", "status": "FAILED" });
        if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
            all.extend(fields.clone());
        }
        state(all.to_string().into(), None).expect("a state").into_result().expect_err("it failed")
    }

    #[rstest]
    // The official worker: a text with JSON in it.
    #[case(
        json!({"error": "{\"error_type\": \"<class 'ValueError'>\", \"error_message\": \"boom\", \"error_traceback\": \"T\"}"}),
        "job `j` failed: ValueError: boom", Some("ValueError"), Some("T")
    )]
    // Our worker.
    #[case(
        json!({"error": "ValueError: boom", "output": {"error_type": "ValueError", "error_message": "boom", "error_traceback": "T"}}),
        "job `j` failed: ValueError: boom", Some("ValueError"), Some("T")
    )]
    // A deployed Flash handler.
    #[case(
        json!({"error": "boom", "output": {"success": false, "traceback": "Traceback:\n  x\nValueError: boom\n"}}),
        "job `j` failed: ValueError: boom", Some("ValueError"), Some("Traceback:\n  x\nValueError: boom\n")
    )]
    #[case(json!({"error": "job timed out after 1 retries"}), "job `j` failed: job timed out after 1 retries", None, None)]
    #[case(json!({"error": {"code": 7}}), "job `j` failed: {\"code\":7}", None, None)]
    #[case(json!({"error": ["a"]}), "job `j` failed: [\"a\"]", None, None)]
    #[case(json!({}), "job `j` failed", None, None)]
    #[case(json!({"output": {"partial": 1}}), "job `j` failed", None, None)]
    fn error_is_read_as_far_as_it_can_be(
        #[case] fields: Value,
        #[case] message: &str,
        #[case] error_type: Option<&str>,
        #[case] traceback: Option<&str>,
    ) {
        let error = failed(&fields);
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::JobFailed, message));
        assert_eq!(error.exchange.error_type.as_deref(), error_type);
        assert_eq!(error.exchange.traceback.as_deref(), traceback);
        assert_eq!(error.exchange.job.as_deref(), Some("j"));
    }

    #[rstest]
    #[case("TIMED_OUT", ErrorKind::JobTimedOut)]
    #[case("CANCELLED", ErrorKind::JobCancelled)]
    #[case("RUNNING", ErrorKind::Malformed)]
    fn other_ends_have_their_kinds(#[case] status: &str, #[case] kind: ErrorKind) {
        let text = json!({ "id": "j", "status": status }).to_string();
        let error = state(text.into(), None).expect("a state").into_result().expect_err("no output");
        assert_eq!(error.kind, kind);
    }
}
