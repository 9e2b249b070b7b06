//! The platform inside a script, a notebook or a test: in memory, started at the first call.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use super::cli::host_python;
use super::endpoint::EndpointBase;
use super::errors;
use super::runtime::{self, Context};
use crate::endpoint::{ConfigError, EndpointConfig, EndpointKind, Value};
use crate::platform::options::{CommandLine, WorkerCommand};
use crate::platform::spec::{FlashRuntime, Runtime, Scaling};
use crate::platform::{EndpointSpec, Event, Observer, Platform, PlatformOptions};
use crate::requirements::{DepsMode, Environments, Interpreter, Progress, ProgressKind, Reporter};
use crate::runpod::credentials;
use crate::wire::Backend;
use crate::wire::message::{LoadHead, OutputStream, Source};

/// How long calls in flight and workers get to finish at exit.
const GRACE: Duration = Duration::from_secs(1);
/// Idle time of an endpoint that leaves it to Runpod.
const IDLE: Duration = Duration::from_mins(1);

/// Variable that takes a script's command line to its workers, as a JSON list.
const SCRIPT_ARGV: &str = "FLASH_SCRIPT_ARGV";

/// `(endpoint, name, place, sys.path, callables)`; a place is `("script", file)`,
/// `("module", root, module, file)` or `("value",)`.
pub(super) type Declaration<'py> = (PyRef<'py, EndpointBase>, String, Vec<String>, Vec<String>, Vec<String>);

/// The platform of one process.
pub(super) struct Embedded {
    platform: Arc<Platform>,
    environments: Arc<Environments>,
}

/// Returns this process's platform.
pub(super) fn platform(py: Python<'_>) -> PyResult<Arc<dyn Backend>> {
    Ok(Arc::clone(&embedded(py)?.platform) as Arc<dyn Backend>)
}

/// Makes these the endpoints that the platform serves.
pub(super) fn declare(py: Python<'_>, declarations: Vec<Declaration<'_>>) -> PyResult<()> {
    let embedded = embedded(py)?;
    let mut specs: BTreeMap<String, EndpointSpec> = BTreeMap::new();
    let argv: Vec<String> = py.import("sys")?.getattr("argv")?.extract().unwrap_or_default();
    let argv = serde_json::Value::from(argv).to_string();
    for (endpoint, name, place, sys_path, callables) in declarations {
        let config = endpoint.config.clone();
        // Of two endpoints with one name the later one counts, as the later `def` of a name does.
        let source = source_of(&place, sys_path);
        let mut spec = spec_of(name.clone(), &config, source, callables, &embedded.environments);
        if let Runtime::Flash(flash) = &mut spec.runtime
            && let Source::Script { .. } = flash.load.source
        {
            flash.load.env.insert(SCRIPT_ARGV.to_owned(), argv.clone());
        }
        specs.insert(name, spec);
    }
    py.detach(|| embedded.platform.apply(specs.into_values().collect()));
    Ok(())
}

/// Ends the platform's workers.
pub(super) fn stop(context: &Context) {
    if let Some(embedded) = context.embedded.get() {
        embedded.environments.close();
        context.handle().block_on(embedded.platform.shutdown(GRACE));
    }
}

fn embedded(py: Python<'_>) -> PyResult<&'static Embedded> {
    let context = runtime::context(py)?;
    if let Some(embedded) = context.embedded.get() {
        return Ok(embedded);
    }
    let host = host_python(py)?;
    let mode = DepsMode::from_environment()
        .map_err(|error| errors::configuration(py, &[ConfigError::new("FLASH_DEPS", error.to_string())]))?;
    if let Some(place) = credentials::found_in() {
        tell(context, format!("flash: calls run on this machine; the Runpod API key in {place} is not used"));
    }
    Ok(context.embedded.get_or_init(|| {
        let _entered = context.handle().enter();
        let mut options = PlatformOptions::new(host.clone());
        options.command = Arc::new(ScriptWorker(Arc::clone(&options.command)));
        Embedded {
            platform: Platform::new(options, Arc::new(Console(context))),
            environments: Environments::new(host, mode, Arc::new(Console(context))),
        }
    }))
}

/// Starts workers that preload nothing: a script's first call waits for its worker, and arguments
/// that come as pickles need no pydantic.
struct ScriptWorker(Arc<dyn WorkerCommand>);

impl WorkerCommand for ScriptWorker {
    fn command(&self, interpreter: &Interpreter) -> CommandLine {
        let mut line = self.0.command(interpreter);
        line.variables.insert("FLASH_WORKER_PRELOAD".to_owned(), OsString::new());
        line
    }
}

fn spec_of(
    name: String,
    config: &EndpointConfig,
    source: Source,
    callables: Vec<String>,
    environments: &Environments,
) -> EndpointSpec {
    let env: BTreeMap<String, String> = config
        .env
        .iter()
        .flatten()
        .filter_map(|(key, value)| match &*value.resolved() {
            Value::Str(text) => Some((key.clone(), text.clone())),
            _ => None,
        })
        .collect();
    let timeout = config.execution_timeout_ms;
    let mut fingerprint = String::new();
    _ = write!(fingerprint, "{config:?} {source:?} {callables:?}");
    let load = LoadHead {
        endpoint: name.clone(),
        kind: EndpointKind::Queue,
        source,
        callables,
        routes: Vec::new(),
        max_concurrency: config.max_concurrency,
        env: env.clone(),
        working_directory: std::env::current_dir().ok().map(|folder| folder.to_string_lossy().into_owned()),
    };
    EndpointSpec {
        kind: EndpointKind::Queue,
        workers: config.workers,
        idle_timeout: config.idle_timeout.map_or(IDLE, |seconds| Duration::from_secs(seconds.into())),
        execution_timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
        scaling: Scaling::RequestCount(config.calls_per_worker(EndpointKind::Queue)),
        flashboot: false,
        env,
        runtime: Runtime::Flash(Box::new(FlashRuntime {
            load,
            max_concurrency: config.max_concurrency,
            environment: environments.prepare(&name, &config.dependencies, &[]),
            unset: Vec::new(),
        })),
        account: String::new(),
        key: None,
        fingerprint,
        id: name.clone(),
        name,
    }
}

fn source_of(place: &[String], sys_path: Vec<String>) -> Source {
    match place {
        [kind, file] if kind == "script" => Source::Script { file: file.clone(), sys_path },
        [kind, root, module, file] if kind == "module" => {
            Source::Module { root: root.clone(), module: module.clone(), file: file.clone(), sys_path }
        }
        _ => Source::Value { sys_path },
    }
}

/// What workers write goes to this process's own streams, as if the call had run here.
struct Console(&'static Context);

impl Observer for Console {
    fn event(&self, event: Event) {
        match event {
            Event::Output { stream, line, .. } => write_line(self.0, stream, line),
            Event::Note { text } => tell(self.0, format!("flash: {text}")),
            // A call says by itself why it failed.
            Event::WorkerStarting { .. }
            | Event::WorkerReady { .. }
            | Event::WorkerFailed { .. }
            | Event::WorkerStopped { .. } => {}
        }
    }
}

impl Reporter for Console {
    fn report(&self, progress: &Progress) {
        // A failure is told by the calls that wait for the environment.
        if progress.kind != ProgressKind::Failed {
            tell(self.0, format!("flash: {}", progress.text));
        }
    }
}

fn tell(context: &'static Context, line: String) {
    write_line(context, OutputStream::Stderr, line);
}

/// Through `sys.stdout` and `sys.stderr`: pytest, notebooks and redirections replace them, and the
/// order with what the script itself prints is kept.
fn write_line(context: &'static Context, stream: OutputStream, mut line: String) {
    line.push('\n');
    context.deliver(move |py| {
        let name = match stream {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        };
        // A closed or missing stream is no reason to fail a call.
        _ = py.import("sys").and_then(|sys| sys.getattr(name)?.call_method1("write", (line,)));
    });
}
