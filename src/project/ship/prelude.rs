//! Text that goes before or after shipped code: calls of other endpoints, adapters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Calls other endpoints.
const CALLEES: &str = include_str!("callees.py");
/// Completes pydantic models: they look names of their annotations up in a module, which this text is not.
const COMPLETE: &str = include_str!("complete.py");
/// Maps JSON to arguments and a result to JSON, by the two texts below.
const JSON_CALL: &str = include_str!("json_call.py");
/// What our worker makes of an input, and of a result: the same text, so that both are the same.
const VALIDATION: &str = include_str!("../../../python/runpod_flash/worker/validation.py");
const ENCODING: &str = include_str!("../../../python/runpod_flash/worker/encoding.py");

/// Names of the interpreter, and those that every module has; sorted.
pub(super) const BUILTINS: &[&str] = &[
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "Ellipsis",
    "EncodingWarning",
    "EnvironmentError",
    "Exception",
    "ExceptionGroup",
    "False",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "IOError",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "None",
    "NotADirectoryError",
    "NotImplemented",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "PythonFinalizationError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "True",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "Warning",
    "WindowsError",
    "ZeroDivisionError",
    "__annotations__",
    "__build_class__",
    "__builtins__",
    "__cached__",
    "__class__",
    "__debug__",
    "__doc__",
    "__file__",
    "__import__",
    "__loader__",
    "__name__",
    "__package__",
    "__path__",
    "__spec__",
    "abs",
    "aiter",
    "all",
    "anext",
    "any",
    "ascii",
    "bin",
    "bool",
    "breakpoint",
    "bytearray",
    "bytes",
    "callable",
    "chr",
    "classmethod",
    "compile",
    "complex",
    "copyright",
    "credits",
    "delattr",
    "dict",
    "dir",
    "divmod",
    "enumerate",
    "eval",
    "exec",
    "exit",
    "filter",
    "float",
    "format",
    "frozenset",
    "getattr",
    "globals",
    "hasattr",
    "hash",
    "help",
    "hex",
    "id",
    "input",
    "int",
    "isinstance",
    "issubclass",
    "iter",
    "len",
    "license",
    "list",
    "locals",
    "map",
    "max",
    "memoryview",
    "min",
    "next",
    "object",
    "oct",
    "open",
    "ord",
    "pow",
    "print",
    "property",
    "quit",
    "range",
    "repr",
    "reveal_type",
    "reversed",
    "round",
    "set",
    "setattr",
    "slice",
    "sorted",
    "staticmethod",
    "str",
    "sum",
    "super",
    "tuple",
    "type",
    "vars",
    "zip",
];

/// What a stand-in needs to call its endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CalleeRequest {
    /// Endpoint ID.
    pub endpoint: String,
    /// JSON of the `FunctionRequest` without its arguments.
    pub request: serde_json::Value,
    /// Whether its code calls endpoints itself.
    pub calls: bool,
    /// Generator methods of a class.
    #[serde(default)]
    pub generators: Vec<String>,
}

/// A string literal, the same in Python and in what looks for it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Returns code that calls these endpoints, and its modules: what brings the stand-ins to life comes
/// before the code.
///
/// A worker keeps what it needs for calls by the name that a stand-in says. So that two functions on
/// one worker never see what is the other's, each name gets a digest of all that a call by it sends:
/// one name always means the same call.
pub fn with_callees(
    table: &BTreeMap<String, CalleeRequest>,
    code: &str,
    modules: &BTreeMap<String, String>,
) -> (String, BTreeMap<String, String>) {
    let names = Names::of(table);
    let table: BTreeMap<&str, serde_json::Value> = table
        .iter()
        .map(|(key, callee)| {
            let mut entry = serde_json::json!({
                "endpoint": callee.endpoint,
                "request": names.in_request(&callee.request),
                "generators": callee.generators,
            });
            if callee.calls {
                entry["needs"] = names.reached(key).iter().map(|key| names.renamed(key)).collect();
            }
            (names.renamed(key), entry)
        })
        .collect();
    let start = CALLEES.rsplit_once("START = \"\"\"\\\n").map_or("", |(_, rest)| rest);
    let start = start.split_once("\"\"\"").map_or("", |(text, _)| text);
    let table = serde_json::to_string(&table).unwrap_or_default();
    let mut filled = start.replacen("%s", &quoted(&table), 1);
    if let Some(at) = filled.rfind("%s") {
        filled.replace_range(at..at + 2, &quoted(CALLEES));
    }
    let modules = modules.iter().map(|(path, text)| (path.clone(), names.in_text(text))).collect();
    (format!("{filled}{}", names.in_text(code)), modules)
}

/// New names of the endpoints that stand-ins call.
struct Names {
    /// By key: the literal in the source, the new name.
    names: BTreeMap<String, (String, String)>,
    /// By key: those whose stand-ins are in its code.
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    fn of(table: &BTreeMap<String, CalleeRequest>) -> Self {
        let uses = table.iter().map(|(key, callee)| {
            let mut request = callee.request.clone();
            let texts = fields_of(&mut request);
            let is_used = |other: &&String| {
                let literal = quoted(other);
                texts.iter().any(|text| text.contains(&literal))
            };
            (key.clone(), table.keys().filter(is_used).cloned().collect())
        });
        let mut made = Self { names: BTreeMap::new(), uses: uses.collect() };
        let names = table.keys().map(|key| {
            let mut digest = Sha256::new();
            for reached in made.reached(key).into_iter().chain([key.clone()]) {
                let text = serde_json::to_string(&table.get(&reached)).unwrap_or_default();
                digest.update((text.len() as u64).to_le_bytes());
                digest.update(text);
            }
            let mut new = format!("{key}#");
            for byte in &digest.finalize()[..8] {
                _ = write!(new, "{byte:02x}");
            }
            (key.clone(), (quoted(key), new))
        });
        made.names = names.collect();
        made
    }

    fn renamed<'a>(&'a self, key: &'a str) -> &'a str {
        self.names.get(key).map_or(key, |(_, new)| new)
    }

    /// Those that a call of this one may reach.
    fn reached(&self, key: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut pending = vec![key];
        while let Some(key) = pending.pop() {
            for other in self.uses.get(key).into_iter().flatten() {
                if reached.insert(other.clone()) {
                    pending.push(other);
                }
            }
        }
        reached
    }

    fn in_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (literal, new) in self.names.values() {
            if text.contains(literal.as_str()) {
                text = text.replace(literal.as_str(), &quoted(new));
            }
        }
        text
    }

    fn in_request(&self, request: &serde_json::Value) -> serde_json::Value {
        let mut request = request.clone();
        for text in fields_of(&mut request) {
            *text = self.in_text(text);
        }
        request
    }
}

/// The source in a `FunctionRequest`.
fn fields_of(request: &mut serde_json::Value) -> Vec<&mut String> {
    let mut texts = Vec::new();
    for (name, value) in request.as_object_mut().into_iter().flatten() {
        match (name.as_str(), value) {
            ("function_code" | "class_code", serde_json::Value::String(text)) => texts.push(text),
            ("modules", serde_json::Value::Object(modules)) => {
                texts.extend(modules.values_mut().filter_map(|text| match text {
                    serde_json::Value::String(text) => Some(text),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    texts
}

/// Returns what is to follow code that defines classes, and nothing for other code.
pub(super) fn completion(code: &str) -> &'static str {
    let has_subclass = |line: &str| line.starts_with("class ") && line.contains('(');
    if code.lines().any(has_subclass) { COMPLETE } else { "" }
}

/// Returns code with a function that makes a list of what a generator yields, and its name.
///
/// A decorator may have made something else of the generator: that is returned as it is.
pub fn list_adapter(name: &str, is_async: bool, method: Option<&str>) -> (String, String) {
    let adapter = format!("_flash_list_{}", method.unwrap_or(name));
    let (parameters, call, end) = match method {
        None => ("", format!("{name}(*args, **kwargs)"), String::new()),
        Some(method) => {
            ("self, ", format!("self.{method}(*args, **kwargs)"), format!("{name}.{adapter} = {adapter}\n"))
        }
    };
    let (word, value) = if is_async {
        let awaited = "await found if hasattr(found, \"__await__\") else found";
        ("async ", format!("[item async for item in found] if hasattr(found, \"__anext__\") else {awaited}"))
    } else {
        ("", "list(found) if hasattr(found, \"__next__\") else found".to_owned())
    };
    let text = format!(
        "{word}def {adapter}({parameters}*args, **kwargs):\n    found = {call}\n    return {value}\n{end}"
    );
    (text, adapter)
}

/// Returns code whose function takes JSON text and gives JSON text: `{"result": …}`, or
/// `{"errors": …, "message": …}` where the input does not fit. Its name is `_flash_json_call`.
///
/// Without a `method`, a class's is chosen by the input. A class's object is kept for the next call of
/// the same `version`, which [`super::Shipment::version`] tells.
pub fn json_adapter(name: &str, method: Option<&str>, version: &str) -> String {
    // A JSON text is a Python literal, too.
    let sources = json!({ "validation": VALIDATION, "encoding": ENCODING });
    let method = method.map_or_else(|| "None".to_owned(), |method| json!(method).to_string());
    let version = json!(version);
    format!(
        "{COMPLETE}{JSON_CALL}\n_flash_json_sources = {sources}\n_flash_json_callable = ({name}, {method})\n\
         _flash_json_key = {version}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callee(endpoint: &str, code: &str, calls: bool) -> CalleeRequest {
        let request = json!({ "function_name": "f", "function_code": code, "modules": { "m.py": "x" } });
        CalleeRequest { endpoint: endpoint.to_owned(), request, calls, generators: Vec::new() }
    }

    /// The names in the table of shipped code, and the code after it.
    fn names(table: &BTreeMap<String, CalleeRequest>) -> (BTreeMap<String, serde_json::Value>, String) {
        let (code, _) = with_callees(table, "call(\"a.py:f\", ())", &BTreeMap::new());
        let call = code.lines().find(|line| line.starts_with("_flash_start(")).unwrap();
        let mut literals =
            serde_json::Deserializer::from_str(&call["_flash_start(".len()..]).into_iter::<String>();
        let entries = serde_json::from_str(&literals.next().unwrap().unwrap()).unwrap();
        (entries, code.lines().last().unwrap().to_owned())
    }

    #[test]
    fn name_of_a_callee_changes_with_all_that_a_call_of_it_sends() {
        let key = |name: &str| format!("a.py:{name}");
        let of = |endpoint: &str, inner: &str| {
            BTreeMap::from([
                (key("f"), callee(endpoint, "call(\"a.py:g\", ())", true)),
                (key("g"), callee("two", inner, true)),
                (key("h"), callee("three", "pass", false)),
            ])
        };
        let (first, code) = names(&of("one", "call(\"a.py:f\", ())"));
        let name = |entries: &BTreeMap<String, serde_json::Value>, which: &str| {
            entries.keys().find(|name| name.starts_with(&key(which))).unwrap().clone()
        };
        assert_eq!(code, format!("call({}, ())", quoted(&name(&first, "f"))));
        // Each calls the other: what one of them needs is both.
        let inner = first[&name(&first, "f")]["request"]["function_code"].as_str().unwrap();
        assert_eq!(inner, format!("call({}, ())", quoted(&name(&first, "g"))));
        assert_eq!(first[&name(&first, "g")]["needs"], json!([name(&first, "f"), name(&first, "g")]));
        assert!(first[&name(&first, "h")].get("needs").is_none());
        let (again, _) = names(&of("one", "call(\"a.py:f\", ())"));
        assert_eq!(first, again);
        // The endpoint of one, or the code of what it calls, makes other names; `h` stays.
        for changed in [of("elsewhere", "call(\"a.py:f\", ())"), of("one", "call(\"a.py:f\", (1,))")] {
            let (other, _) = names(&changed);
            assert_ne!(name(&first, "f"), name(&other, "f"));
            assert_ne!(name(&first, "g"), name(&other, "g"));
            assert_eq!(name(&first, "h"), name(&other, "h"));
        }
    }
}
