//! Tests of the platform with real processes, sockets and signals.

mod access;
mod balance;
mod calls;
mod commands;
mod crashes;
mod durable;
mod fake;
mod flashboot;
mod http;
mod jobs;
mod logs;
mod openai;
mod policy;
mod polling;
mod rates;
mod requeue;
mod scaling;
mod shutdown;
mod simulation;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::clock::manual::ManualClock;
use super::options::{CommandLine, WorkerCommand};
use super::spec::{FlashRuntime, Runtime, Scaling};
use super::*;
use crate::endpoint::{JobStatus, Workers};
use crate::requirements::{EnvironmentState, HostPython, Interpreter};
use crate::wire::backend::{Call, HttpRequest, JobRequest, JobView, Reply};
use crate::wire::message::{CallHead, Input, LoadHead, Source};

/// How long something may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Executes this test binary as a worker.
struct FakeWorker;

impl WorkerCommand for FakeWorker {
    fn command(&self, _interpreter: &Interpreter) -> CommandLine {
        let arguments = [
            "platform::tests::fake::worker_process",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ];
        CommandLine {
            program: std::env::current_exe().unwrap(),
            arguments: arguments.map(Into::into).to_vec(),
            variables: BTreeMap::new(),
            withheld: &[],
        }
    }
}

/// Keeps events and wakes who waits for one.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Event>>,
    seen: tokio::sync::Notify,
}

impl Observer for Log {
    fn event(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.seen.notify_waiters();
    }
}

impl Log {
    fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| is_it(event)).count()
    }

    async fn until(&self, what: &str, is_it: impl Fn(&[Event]) -> bool) {
        let waiting = async {
            loop {
                let seen = self.seen.notified();
                if is_it(&self.events.lock().unwrap()) {
                    return;
                }
                seen.await;
            }
        };
        let is_seen = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(is_seen, "no {what} in {:#?}", self.events.lock().unwrap());
    }

    async fn until_event(&self, what: &str, is_it: impl Fn(&Event) -> bool) {
        self.until(what, |events| events.iter().any(&is_it)).await;
    }
}

fn is_ready(event: &Event) -> bool {
    matches!(event, Event::WorkerReady { .. })
}

fn is_stopped(event: &Event) -> bool {
    matches!(event, Event::WorkerStopped { .. })
}

fn host() -> HostPython {
    HostPython {
        executable: "/usr/bin/python3".into(),
        version: (3, 11, 7),
        package: "/nowhere".into(),
        runtime_paths: Vec::new(),
    }
}

fn options() -> PlatformOptions {
    PlatformOptions {
        command: Arc::new(FakeWorker),
        max_workers: Some(16),
        cancel_grace: Duration::from_millis(200),
        ..PlatformOptions::new(host())
    }
}

/// A platform with its log; ends its workers when dropped.
struct Fixture {
    platform: Arc<Platform>,
    log: Arc<Log>,
}

impl Fixture {
    fn new(specs: Vec<EndpointSpec>) -> Self {
        Self::with(options(), specs)
    }

    fn with(options: PlatformOptions, specs: Vec<EndpointSpec>) -> Self {
        let log = Arc::new(Log::default());
        let platform = Platform::new(options, Arc::clone(&log) as Arc<dyn Observer>);
        platform.apply(specs);
        Self { platform, log }
    }

    async fn call(&self, endpoint: &str, callable: &str, input: Value) -> Result<Value, ErrorReport> {
        match self.platform.call(python_call(endpoint, callable, &input)).await? {
            Reply::Value(buffers) => Ok(serde_json::from_slice(&buffers[0]).unwrap()),
            Reply::Stream(_) => panic!("a stream was not asked for"),
        }
    }

    async fn submit(&self, endpoint: &str, callable: &str, input: Value) -> String {
        self.platform.submit(endpoint, job(callable, &input)).await.unwrap().id
    }

    async fn finished(&self, endpoint: &str, id: &str) -> JobView {
        let view = self.platform.wait(endpoint, id, PATIENCE).await.unwrap();
        assert!(view.status.is_terminal(), "{view:?}");
        view
    }

    async fn run(&self, endpoint: &str, callable: &str, input: Value) -> JobView {
        let id = self.submit(endpoint, callable, input).await;
        self.finished(endpoint, &id).await
    }

    /// Waits until a job is on a worker.
    async fn started(&self, endpoint: &str, id: &str) {
        let waiting = async {
            loop {
                let (view, changed) = self.platform.endpoint(endpoint).unwrap().watch(id).unwrap();
                if view.status != JobStatus::InQueue {
                    return;
                }
                changed.unwrap().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }
}

fn python_call(endpoint: &str, callable: &str, input: &Value) -> Call {
    Call {
        head: CallHead {
            endpoint: endpoint.to_owned(),
            callable: callable.to_owned(),
            input: Input::Python { constructor: None, function: None },
            job: None,
            chain: Vec::new(),
            stream: false,
        },
        buffers: vec![input.to_string().into()],
    }
}

fn job(callable: &str, input: &Value) -> JobRequest {
    JobRequest {
        callable: callable.to_owned(),
        input: input.to_string().into(),
        sync: false,
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        s3_config: None,
    }
}

/// The environment of an endpoint whose worker can start at once; its sender may be dropped.
fn ready_environment() -> watch::Receiver<EnvironmentState> {
    let interpreter = Interpreter { python: "python3".into(), is_host: true };
    watch::channel(EnvironmentState::Ready(interpreter)).1
}

fn spec(name: &str) -> EndpointSpec {
    EndpointSpec {
        id: name.to_owned(),
        name: name.to_owned(),
        kind: EndpointKind::Queue,
        workers: Workers { min: 0, max: 1 },
        idle_timeout: Duration::from_mins(1),
        execution_timeout: None,
        scaling: Scaling::RequestCount(1),
        flashboot: false,
        env: BTreeMap::new(),
        runtime: Runtime::Flash(Box::new(FlashRuntime {
            load: LoadHead {
                endpoint: name.to_owned(),
                kind: EndpointKind::Queue,
                source: Source::Value { sys_path: Vec::new() },
                callables: Vec::new(),
                routes: Vec::new(),
                max_concurrency: 1,
                env: BTreeMap::new(),
                working_directory: None,
            },
            max_concurrency: 1,
            environment: ready_environment(),
            unset: Vec::new(),
        })),
        account: String::new(),
        key: None,
        fingerprint: "1".to_owned(),
    }
}

fn flash(spec: &mut EndpointSpec) -> &mut FlashRuntime {
    match &mut spec.runtime {
        Runtime::Flash(flash) => flash,
        other => panic!("{other:?}"),
    }
}

/// A spec whose workers take `calls` at a time, one worker for as many.
fn with_concurrency(mut spec: EndpointSpec, calls: u32) -> EndpointSpec {
    flash(&mut spec).max_concurrency = calls;
    spec.scaling = Scaling::RequestCount(calls);
    spec
}

fn with_environment(mut spec: EndpointSpec, environment: watch::Receiver<EnvironmentState>) -> EndpointSpec {
    flash(&mut spec).environment = environment;
    spec
}

fn with_env(mut spec: EndpointSpec, name: &str, value: &str) -> EndpointSpec {
    spec.env.insert(name.to_owned(), value.to_owned());
    spec
}

fn with_workers(mut spec: EndpointSpec, min: u32, max: u32) -> EndpointSpec {
    spec.workers = Workers { min, max };
    spec
}

fn is_alive(pid: u64) -> bool {
    // A zombie waits for its parent only: it runs no more.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Waits until a process is gone; other processes give no event to await.
async fn gone(pid: u64) {
    let waiting = async {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "process {pid} still runs");
}

fn text(bytes: Option<&Bytes>) -> &str {
    bytes.map_or("", |bytes| std::str::from_utf8(bytes).unwrap())
}
