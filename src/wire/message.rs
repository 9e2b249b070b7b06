//! Heads of frames: the messages between parent and worker.
//!
//! New fields get `#[serde(default)]`, so that a head of an older worker still reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::endpoint::{EndpointKind, Route};

/// Where a worker finds the user's code.
///
/// Search paths are the parent's `sys.path`; an empty entry stands for what the worker's own
/// interpreter brings, which may be another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A project module by dotted path, the project root first on `sys.path`.
    Module {
        /// Project root, absolute.
        root: String,
        /// Dotted module name, such as `workers.gpu`.
        module: String,
        /// Source file, absolute: file names with hyphens or leading digits have no importable name.
        file: String,
        /// For a module that a script imported, the script's search path; empty for a project's.
        #[serde(default)]
        sys_path: Vec<String>,
    },
    /// A script that runs in the parent: loaded, not run as main, known as `__main__` to pickle.
    Script {
        /// The script, absolute.
        file: String,
        /// The parent's search path.
        sys_path: Vec<String>,
    },
    /// No file: each call brings its function by value (cloudpickle).
    Value {
        /// The parent's search path.
        sys_path: Vec<String>,
    },
    /// Each call brings source text (`FunctionRequest`, `wire.md` 1.2): it is executed here.
    Live {
        /// Folder to show at `/runpod-volume`.
        #[serde(default)]
        volume: Option<String>,
    },
    /// The unpacked archive of a deployed app.
    Artifact {
        /// Folder with `flash_manifest.json`, absolute.
        root: String,
        /// Which of the manifest's resources this endpoint is.
        resource: String,
        /// Folder to show at `/runpod-volume`.
        #[serde(default)]
        volume: Option<String>,
    },
}

/// Head of `Load`: what this worker serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadHead {
    /// Endpoint name; own decorated functions are plain functions here.
    pub endpoint: String,
    /// Kind of endpoint.
    pub kind: EndpointKind,
    /// Where the code is.
    pub source: Source,
    /// Module-level names to serve: functions and classes of a queue-based endpoint.
    pub callables: Vec<String>,
    /// Routes of a load-balanced endpoint.
    pub routes: Vec<Route>,
    /// Calls at a time; sync functions run on the main thread when it is 1, else in a pool.
    pub max_concurrency: u32,
    /// Variables to set before user code loads; applied over the process environment.
    pub env: BTreeMap<String, String>,
    /// Working directory to change to, if any.
    pub working_directory: Option<String>,
}

/// Head of `Environment`: packages that a live call asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentHead {
    /// PEP 508 requirements.
    pub dependencies: Vec<String>,
}

/// How the buffers of a call are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Input {
    /// Buffer 0 is a pickle (protocol 5) of `(args, kwargs)`, the next ones its out-of-band buffers.
    Python {
        /// For a class: buffers from `constructor.start` on hold the constructor's pickle.
        constructor: Option<Constructor>,
        /// For `Source::Value`: index of the buffer with the function, by cloudpickle.
        function: Option<u16>,
    },
    /// Buffer 0 is the JSON text of a job's `input`, as it came.
    Json,
    /// Buffer 0 is the body of an HTTP request for a route, as it came.
    Http(HttpHead),
}

/// Constructor arguments of a class call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constructor {
    /// Equal for equal arguments: one instance per worker, class and key.
    pub key: String,
    /// First buffer of the pickle of `(args, kwargs)`; its out-of-band buffers follow to the end
    /// (or to the function's buffer).
    pub start: u16,
}

/// An HTTP request, except for its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHead {
    /// Method, upper case.
    pub method: String,
    /// Path under the endpoint's root, percent-decoded by nobody yet.
    pub path: String,
    /// Query without `?`.
    pub query: String,
    /// Header names (lower case) and values as bytes, in order.
    pub headers: Vec<(String, serde_bytes::ByteBuf)>,
    /// Path that was cut off before `path` (`root_path` of ASGI).
    pub root_path: String,
    /// Peer address and port as text (`127.0.0.1:5000`, `[::1]:5000`), if known.
    pub client: Option<String>,
}

/// Head of `Call`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallHead {
    /// Endpoint that is called.
    pub endpoint: String,
    /// `function` or `Class.method`; for HTTP the name of the route's function or empty.
    pub callable: String,
    /// How to read the buffers.
    pub input: Input,
    /// Job ID, where the call is a job.
    pub job: Option<String>,
    /// Endpoints whose calls led here, outermost first: depth and cycles are checked by it.
    pub chain: Vec<String>,
    /// Whether the caller reads generator items as chunks; otherwise they come as one list.
    pub stream: bool,
}

/// How a call ended. `Answer` frames carry the value in their buffers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AnswerHead {
    /// Buffer 0 is a pickle of the result, the next ones its out-of-band buffers.
    Python,
    /// Buffer 0 is the JSON text of the result.
    Json,
    /// The HTTP answer is complete (after `HttpStart` and `HttpChunk`s).
    Http,
    /// All items of a stream were sent as chunks.
    End,
    /// The call failed.
    Failed(Box<ErrorReport>),
}

/// Head of `Chunk`: how buffer 0 is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChunkHead {
    /// A pickled item with its out-of-band buffers.
    Python,
    /// An item as JSON text.
    Json,
    /// A progress update (JSON), not an item.
    Progress,
}

/// Head of `HttpStart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpStartHead {
    /// Status code.
    pub status: u16,
    /// Header names and values, in order.
    pub headers: Vec<(serde_bytes::ByteBuf, serde_bytes::ByteBuf)>,
}

/// Which stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Head of `Output`; the call ID of the frame says which call wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputHead {
    /// Stream.
    pub stream: OutputStream,
    /// Job ID, where the call is a job.
    pub job: Option<String>,
}

/// What kind of failure a report tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The user's code raised.
    Raised,
    /// The input does not fit the signature; `detail` has FastAPI's list (or its text).
    InvalidInput,
    /// The result cannot be encoded; `message` has its path.
    Unencodable,
    /// The code could not be loaded.
    Load,
    /// Dependencies could not be installed.
    Environment,
    /// The worker died: signal, exit code, or out of memory.
    WorkerDied,
    /// The call ran longer than `execution_timeout_ms`.
    TimedOut,
    /// Cancelled, or the endpoint was removed or is stopping.
    Cancelled,
    /// No such endpoint or callable.
    NotFound,
    /// A call chain came back to an endpoint it waits for, or is too deep.
    Cycle,
    /// There is no space to store it.
    StorageFull,
    /// Our own fault.
    Internal,
}

/// One frame of a traceback, of the user's code only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFrame {
    /// File as Python names it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Function.
    pub function: String,
    /// Source line.
    pub source: String,
}

/// A failure as it crosses processes: text only, except for the pickled exception.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What failed.
    pub failure: Failure,
    /// Exception class, such as `ValueError` (qualified unless built in).
    pub error_type: String,
    /// Message.
    pub message: String,
    /// Traceback as Python prints it, frames of the user's code only; empty if none.
    pub traceback: String,
    /// The same frames as data, innermost last.
    pub frames: Vec<TraceFrame>,
    /// For `InvalidInput`: FastAPI's `detail`.
    pub detail: Option<serde_json::Value>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exception by pickle, where it can be pickled.
    pub exception: Option<serde_bytes::ByteBuf>,
}

impl ErrorReport {
    /// A report without traceback.
    pub fn new(failure: Failure, error_type: &str, message: impl Into<String>) -> Self {
        Self {
            failure,
            error_type: error_type.to_owned(),
            message: message.into(),
            traceback: String::new(),
            frames: Vec::new(),
            detail: None,
            hint: None,
            exception: None,
        }
    }

    /// The same report with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One callable as the worker sees it after import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallableDescription {
    /// `function` or `Class.method`.
    pub name: String,
    /// JSON Schema of the job's `input` (an object whose properties are the parameters).
    pub input_schema: serde_json::Value,
    /// JSON Schema of the result, where annotated.
    pub output_schema: Option<serde_json::Value>,
    /// Docstring, cleaned.
    pub doc: Option<String>,
    /// Whether it yields items.
    pub is_generator: bool,
}

/// Head of `Ready`: what the worker serves, after import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyHead {
    /// Process ID.
    pub pid: u32,
    /// Python version, such as `3.11.7`.
    pub python: String,
    /// Queue-based callables.
    pub callables: Vec<CallableDescription>,
    /// For load-balanced endpoints: FastAPI's own `OpenAPI` document of the routes.
    pub openapi: Option<serde_json::Value>,
    /// Milliseconds that loading the user's code took.
    pub load_ms: u64,
}
