//! Text that goes before or after shipped code: calls of other endpoints, adapters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

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

/// Returns code that calls these endpoints: what brings the stand-ins to life, then `code`.
pub fn with_callees(table: &BTreeMap<String, CalleeRequest>, code: &str) -> String {
    let start = CALLEES.rsplit_once("START = \"\"\"\\\n").map_or("", |(_, rest)| rest);
    let start = start.split_once("\"\"\"").map_or("", |(text, _)| text);
    let table = serde_json::to_string(table).unwrap_or_default();
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut filled = start.replacen("%s", &quoted(&table), 1);
    if let Some(at) = filled.rfind("%s") {
        filled.replace_range(at..at + 2, &quoted(CALLEES));
    }
    format!("{filled}{code}")
}

/// Returns what is to follow code that defines classes, and nothing for other code.
pub(super) fn completion(code: &str) -> &'static str {
    let has_subclass = |line: &str| line.starts_with("class ") && line.contains('(');
    if code.lines().any(has_subclass) { COMPLETE } else { "" }
}

/// Returns code with a function that makes a list of what a generator yields, and its name.
pub fn list_adapter(name: &str, is_async: bool, method: Option<&str>) -> (String, String) {
    let adapter = format!("_flash_list_{}", method.unwrap_or(name));
    let (word, list) = if is_async { ("async ", "[item async for item in {}]") } else { ("", "list({})") };
    let text = match method {
        None => {
            let list = list.replace("{}", &format!("{name}(*args, **kwargs)"));
            format!("{word}def {adapter}(*args, **kwargs):\n    return {list}\n")
        }
        Some(method) => {
            let list = list.replace("{}", &format!("self.{method}(*args, **kwargs)"));
            format!(
                "{word}def {adapter}(self, *args, **kwargs):\n    return {list}\n{name}.{adapter} = {adapter}\n"
            )
        }
    };
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
