//! A function's answer read as it arrives: the base64 text of its `result` goes its own way, the rest
//! of the JSON is kept.
//!
//! Both forms are read: a job's answer with the response as its `output`, and the bare response of a
//! load-balanced worker. Keys come in any order.

use bytes::Bytes;

/// Bytes of a `result` from which on it goes its own way; a shorter one stays in the JSON.
pub const LARGE_RESULT: usize = 64 * 1024;
/// Containers in each other; what is deeper is no answer of Runpod's.
const DEEPEST: usize = 512;
/// Longer keys are none that matters.
const LONGEST_KEY: usize = 16;

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The body ended too early.
    #[error("the answer ends within its JSON, after {length} bytes")]
    Truncated {
        /// How many bytes there were.
        length: u64,
    },
    /// Not JSON.
    #[error("the answer is not JSON: {reason}, {at} bytes in")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
        /// Where, in bytes.
        at: u64,
    },
}

/// Where the reader is in the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Outside of strings.
    #[default]
    Between,
    Key,
    Text,
    /// In the `result`.
    Result,
}

/// Splits an answer that comes in chunks.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one question about the place in the text")]
pub struct Splitter {
    rest: Vec<u8>,
    /// Containers that are open.
    open: Vec<u8>,
    is_key_next: bool,
    place: Place,
    is_escaped: bool,
    key: Vec<u8>,
    /// Whether the value of `output` in the outermost object is open or next.
    is_output: bool,
    is_result_next: bool,
    /// A `result` that may be short: its text as it came.
    held: Vec<u8>,
    has_parted: bool,
    /// Digits of a `\u` escape in a `result` that goes its own way.
    unicode: Option<Vec<u8>>,
    seen: u64,
    is_ended: bool,
}

impl Splitter {
    /// Reads a chunk; pieces of a large `result`'s text are appended to `pieces`.
    ///
    /// # Errors
    /// Where the text is not JSON.
    pub fn feed(&mut self, chunk: &Bytes, pieces: &mut Vec<Bytes>) -> Result<(), AnswerError> {
        let mut at = 0;
        while at < chunk.len() {
            let left = &chunk[at..];
            let read = match self.place {
                Place::Between => self.between(left)?,
                Place::Key | Place::Text => self.string(left),
                Place::Result => self.result(&chunk.slice(at..), pieces)?,
            };
            at += read;
            self.seen += read as u64;
        }
        Ok(())
    }

    /// Whether a `result` went its own way.
    pub fn has_parted(&self) -> bool {
        self.has_parted
    }

    /// Whether a `result` that goes its own way is not at its end.
    pub fn is_in_result(&self) -> bool {
        self.place == Place::Result
    }

    /// Returns the answer's JSON; a `result` that went its own way is `null` there.
    ///
    /// # Errors
    /// Where the answer is not whole.
    pub fn finish(self) -> Result<Bytes, AnswerError> {
        if !self.is_ended || self.place != Place::Between {
            return Err(AnswerError::Truncated { length: self.seen });
        }
        Ok(self.rest.into())
    }

    fn between(&mut self, left: &[u8]) -> Result<usize, AnswerError> {
        for (index, &byte) in left.iter().enumerate() {
            let wrong = |reason| Err(AnswerError::Malformed { reason, at: self.seen + index as u64 });
            if self.is_ended && !byte.is_ascii_whitespace() {
                return wrong("something follows its end");
            }
            match byte {
                b'"' => {
                    if self.open.is_empty() {
                        return wrong("it is no object");
                    }
                    self.rest.extend_from_slice(&left[..index]);
                    self.begin_string();
                    return Ok(index + 1);
                }
                b'{' | b'[' => {
                    if self.open.len() == DEEPEST {
                        return wrong("it is nested too deeply");
                    }
                    if self.open.is_empty() && byte == b'[' {
                        return wrong("it is no object");
                    }
                    self.open.push(byte);
                    self.is_key_next = byte == b'{';
                    self.is_result_next = false;
                }
                b'}' | b']' => {
                    let opening = if byte == b'}' { b'{' } else { b'[' };
                    if self.open.pop() != Some(opening) {
                        return wrong("a bracket closes what is not open");
                    }
                    self.is_key_next = false;
                    self.is_ended = self.open.is_empty();
                }
                b',' => {
                    self.is_key_next = self.open.last() == Some(&b'{');
                    self.is_result_next = false;
                    self.is_output &= self.open.len() > 1;
                }
                _ if self.open.is_empty() && !byte.is_ascii_whitespace() => return wrong("it is no object"),
                _ => {}
            }
        }
        self.rest.extend_from_slice(left);
        Ok(left.len())
    }

    fn begin_string(&mut self) {
        if self.is_key_next {
            self.place = Place::Key;
            self.is_key_next = false;
            self.key.clear();
        } else if self.is_result_next && !self.has_parted {
            self.place = Place::Result;
            self.is_result_next = false;
            self.held.clear();
            return; // Its quote is written with it.
        } else {
            self.place = Place::Text;
        }
        self.rest.push(b'"');
    }

    /// Reads a key, or a string that stays.
    fn string(&mut self, left: &[u8]) -> usize {
        if std::mem::take(&mut self.is_escaped) {
            self.rest.push(left[0]);
            self.remember(&left[..1]);
            return 1;
        }
        let end = memchr::memchr2(b'"', b'\\', left);
        let text = &left[..end.unwrap_or(left.len())];
        self.rest.extend_from_slice(text);
        self.remember(text);
        let Some(end) = end else { return left.len() };
        self.rest.push(left[end]);
        if left[end] == b'\\' {
            self.is_escaped = true;
            self.remember(b"\\");
        } else {
            self.end_string();
        }
        end + 1
    }

    fn remember(&mut self, text: &[u8]) {
        if self.place == Place::Key && self.key.len() <= LONGEST_KEY {
            self.key.extend_from_slice(&text[..text.len().min(LONGEST_KEY + 1)]);
        }
    }

    fn end_string(&mut self) {
        if self.place == Place::Key {
            let depth = self.open.len();
            if depth == 1 {
                self.is_output = self.key == b"output";
            }
            self.is_result_next = self.key == b"result"
                && (depth == 1 || (depth == 2 && self.is_output && self.open[1] == b'{'));
        }
        self.place = Place::Between;
    }

    /// Reads the text of a `result`.
    fn result(&mut self, left: &Bytes, pieces: &mut Vec<Bytes>) -> Result<usize, AnswerError> {
        if !self.has_parted {
            let read = self.hold(left);
            if self.held.len() > LARGE_RESULT {
                self.has_parted = true;
                self.rest.extend_from_slice(b"null");
                let held = Bytes::from(std::mem::take(&mut self.held));
                // An escape that is cut off at the end is read again.
                self.is_escaped = false;
                let mut at = 0;
                while at < held.len() {
                    at += self.part(&held.slice(at..), pieces)?;
                }
            }
            return Ok(read);
        }
        self.part(left, pieces)
    }

    /// Keeps the text as it is while it is short.
    fn hold(&mut self, left: &[u8]) -> usize {
        if std::mem::take(&mut self.is_escaped) {
            self.held.push(left[0]);
            return 1;
        }
        let left = &left[..left.len().min(LARGE_RESULT + 1 - self.held.len())];
        let end = memchr::memchr2(b'"', b'\\', left);
        let text = &left[..end.unwrap_or(left.len())];
        self.held.extend_from_slice(text);
        let Some(end) = end else { return left.len() };
        if left[end] == b'\\' {
            self.held.push(b'\\');
            self.is_escaped = true;
        } else {
            self.rest.push(b'"');
            self.rest.append(&mut self.held);
            self.rest.push(b'"');
            self.place = Place::Between;
        }
        end + 1
    }

    /// Gives the text on; base64 has no character that must be escaped, but some may be.
    fn part(&mut self, left: &Bytes, pieces: &mut Vec<Bytes>) -> Result<usize, AnswerError> {
        let wrong =
            |at| AnswerError::Malformed { reason: "its `result` has an escape that is not base64", at };
        if let Some(digits) = &mut self.unicode {
            digits.push(left[0]);
            if digits.len() == 4 {
                let code =
                    std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte = code.filter(u8::is_ascii).ok_or(wrong(self.seen))?;
                self.unicode = None;
                pieces.push(Bytes::copy_from_slice(&[byte]));
            }
            return Ok(1);
        }
        if std::mem::take(&mut self.is_escaped) {
            match left[0] {
                b'/' => pieces.push(Bytes::from_static(b"/")),
                b'n' | b'r' | b't' => {}
                b'u' => self.unicode = Some(Vec::with_capacity(4)),
                _ => return Err(wrong(self.seen)),
            }
            return Ok(1);
        }
        let end = memchr::memchr2(b'"', b'\\', left);
        let text = left.slice(..end.unwrap_or(left.len()));
        if !text.is_empty() {
            pieces.push(text);
        }
        let Some(end) = end else { return Ok(left.len()) };
        if left[end] == b'\\' {
            self.is_escaped = true;
        } else {
            self.place = Place::Between;
        }
        Ok(end + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Reads an answer cut at `cuts`; returns the text that went its own way and the rest.
    fn split(text: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Bytes), AnswerError> {
        let (mut splitter, mut pieces) = (Splitter::default(), Vec::new());
        let mut cuts = cuts.iter().cycle();
        let mut rest = text;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(cuts.next().copied().unwrap_or(1000)));
            splitter.feed(&Bytes::copy_from_slice(chunk), &mut pieces)?;
            rest = later;
        }
        Ok((pieces.concat(), splitter.finish()?))
    }

    fn shuffled(mut keys: Vec<(&'static str, Value)>, order: &[usize]) -> Value {
        let mut object = serde_json::Map::new();
        for place in order {
            let (key, value) = keys.remove(place % keys.len());
            object.insert(key.to_owned(), value);
            if keys.is_empty() {
                break;
            }
        }
        object.extend(keys.into_iter().map(|(key, value)| (key.to_owned(), value)));
        Value::Object(object)
    }

    fn response(result: &str, order: &[usize]) -> Value {
        let deep = json!({"result": "not this", "output": [{"result": "nor this \" \\ one"}]});
        shuffled(
            vec![
                ("success", json!(true)),
                ("stdout", json!("said \"result\": \"x\"\n")),
                ("result", json!(result)),
                ("json_result", deep),
                ("instance_info", json!(null)),
            ],
            order,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn large_result_parts_and_the_rest_stays_in_any_order_and_chunks(
            length in prop_oneof![0_usize..100, LARGE_RESULT - 2..LARGE_RESULT + 3, LARGE_RESULT..3 * LARGE_RESULT],
            order in prop::collection::vec(0_usize..8, 8),
            cuts in prop::collection::vec(prop_oneof![1_usize..10, 1000_usize..100_000], 1..5),
            is_job: bool,
            escapes: bool,
        ) {
            let result: String = "ab/+09Z=".chars().cycle().take(length).collect();
            let make = |result: Option<&str>| {
                let mut response = response(result.unwrap_or_default(), &order);
                if result.is_none() {
                    response["result"] = Value::Null;
                }
                if !is_job {
                    return response;
                }
                let before = json!({"result": 1, "output": {"result": "no"}});
                shuffled(vec![("id", json!("a")), ("output", response), ("status", json!("COMPLETED")), ("x", before)], &order)
            };
            let mut text = make(Some(&result)).to_string();
            if escapes {
                text = text.replace('/', "\\/").replace('+', "\\u002b").replace('=', "\\u003D");
            }
            let (parted, rest) = split(text.as_bytes(), &cuts).unwrap();
            let rest: Value = serde_json::from_slice(&rest).unwrap();
            if parted.is_empty() {
                prop_assert!(length <= LARGE_RESULT, "{length}");
                prop_assert_eq!(rest, make(Some(&result)));
            } else {
                prop_assert!(parted == result.as_bytes());
                prop_assert_eq!(rest, make(None));
            }
        }

        #[test]
        fn answer_that_is_cut_is_refused(at in any::<prop::sample::Index>(), cuts in prop::collection::vec(1_usize..900, 1..4)) {
            let result = "A".repeat(LARGE_RESULT + 100);
            let text = json!({"id": "a", "output": response(&result, &[2, 0, 1])}).to_string();
            let cut = &text.as_bytes()[..at.index(text.len())];
            prop_assert_eq!(split(cut, &cuts), Err(AnswerError::Truncated { length: cut.len() as u64 }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1_usize..50, 1..4)) {
            _ = split(&bytes, &cuts);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (text, reason) in [
            ("[]", "it is no object"),
            ("\"a\"", "it is no object"),
            ("<html>", "it is no object"),
            ("{}{", "something follows its end"),
            ("{]", "a bracket closes what is not open"),
        ] {
            let error = split(text.as_bytes(), &[1]).unwrap_err();
            assert!(
                matches!(error, AnswerError::Malformed { reason: found, .. } if found == reason),
                "{error:?}"
            );
        }
        assert_eq!(split(b" {} \n", &[1]).unwrap().1, " {} \n");
        let deep = format!("{{\"a\":{}", "[".repeat(600));
        assert!(split(deep.as_bytes(), &[50]).unwrap_err().to_string().contains("nested too deeply"));
    }
}
