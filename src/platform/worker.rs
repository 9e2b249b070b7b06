//! One worker process from start to end: its frames and its output go to its supervisor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ends::End;
use super::event::Event;
use super::exit::Exit;
use super::kill::KillSwitch;
use super::launch::{directory, endpoint_variables, is_alone};
use super::nested::Nested;
use super::output::{Tail, read_lines};
use super::process::{Process, refill_spare, start, start_alone, take_spare};
use super::shared::Shared;
use super::spec::EndpointSpec;
use super::store::JobStore;
use super::supervisor::Supervisor;
use crate::requirements::Interpreter;
use crate::wire::frame::FROM_WORKER;
use crate::wire::message::{CallHead, ErrorReport, LoadHead, OutputHead, OutputStream, ReadyHead};
use crate::wire::{Frame, FrameKind, WireError};

/// How long to wait for what should follow at once: the exit after the socket closed, the last
/// frames and lines after the exit.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A worker to start.
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) interpreter: Interpreter,
    pub(super) spec: EndpointSpec,
    pub(super) load: LoadHead,
    pub(super) frames: mpsc::UnboundedSender<Frame>,
    pub(super) queued: mpsc::UnboundedReceiver<Frame>,
    pub(super) switch: Arc<KillSwitch>,
}

/// Runs a worker until it ends.
pub(super) async fn run_worker(supervisor: Arc<Supervisor>, mut plan: Plan) {
    let shared = Arc::clone(&supervisor.shared);
    let (endpoint, worker) = (supervisor.name.clone(), plan.id.clone());
    shared.observer.event(Event::WorkerStarting { endpoint: endpoint.clone(), worker: worker.clone() });
    let tail = Arc::new(Tail::logged(shared.logs.get(&worker)));
    let queued = std::mem::replace(&mut plan.queued, mpsc::unbounded_channel().1);
    let reason = match obtain(&shared, &plan).await {
        Ok(process) => run_process(&supervisor, &plan, process, queued, &tail).await,
        Err(error) => {
            format!("could not be started (`{}`: {error})", plan.interpreter.python.display())
        }
    };
    let tail = tail.text();
    let (was_meant, reason) = supervisor.worker_ended(plan.number, reason, false, &tail);
    shared.observer.event(if was_meant {
        Event::WorkerStopped { endpoint, worker }
    } else {
        let reason = if tail.is_empty() { reason } else { format!("{reason}; the last it printed:\n{tail}") };
        Event::WorkerFailed { endpoint, worker, reason }
    });
}

/// Takes the spare process where it fits, else starts one.
async fn obtain(shared: &Arc<Shared>, plan: &Plan) -> std::io::Result<Process> {
    if is_alone(&plan.load) {
        let worker = (plan.id.as_str(), &plan.load);
        return start_alone(shared, &plan.interpreter, &plan.spec, worker, Arc::clone(&plan.switch)).await;
    }
    let unset = plan.spec.flash().map(|flash| flash.unset.as_slice()).unwrap_or_default();
    let fits = plan.interpreter.is_host && plan.spec.env.is_empty() && unset.is_empty();
    if let Some(process) = fits.then(|| take_spare(shared)).flatten() {
        return Ok(process);
    }
    let variables = endpoint_variables(&plan.spec, &plan.id);
    let directory = directory(&plan.load);
    start(shared, &plan.interpreter, (&variables, unset), directory, Arc::clone(&plan.switch)).await
}

async fn run_process(
    supervisor: &Arc<Supervisor>,
    plan: &Plan,
    process: Process,
    queued: mpsc::UnboundedReceiver<Frame>,
    tail: &Arc<Tail>,
) -> String {
    let Process { started, end, stream, switch, kills_before, alive, home } = process;
    // A spare process brings its own switch: the endpoint's kills it from now on.
    if !Arc::ptr_eq(&switch, &plan.switch) {
        plan.switch.follow(&switch);
    }
    let lines = [
        started.stdout.map(|pipe| forward(supervisor, OutputStream::Stdout, pipe.into(), tail)),
        started.stderr.map(|pipe| forward(supervisor, OutputStream::Stderr, pipe.into(), tail)),
    ];
    let (reader, writer) = stream.into_split();
    let store = Arc::clone(&supervisor.shared.options.store);
    let writing = tokio::spawn(write_frames(writer, queued, store));
    if let Ok(load) = Frame::new(FrameKind::Load, 0, &plan.load, Vec::new()) {
        let _ = plan.frames.send(load);
    }
    let mut frames = Frames { supervisor, plan, tail, nested: Nested::default(), _end: end, reader };
    let mut exit = started.exit;
    let mut ended = None;
    let mut serving = Box::pin(frames.serve());
    let mut broken = tokio::select! {
        biased;
        broken = &mut serving => Some(broken),
        end = &mut exit => { ended = Some(end.unwrap_or(Exit::Unknown)); None }
    };
    if broken.is_none() {
        // The process is gone; what it sent before counts.
        broken = timeout(AFTERMATH, &mut serving).await.ok();
    } else if !matches!(broken, Some(WireError::Closed)) {
        switch.kill();
    }
    drop(serving);
    if ended.is_none() {
        ended = timeout(AFTERMATH, &mut exit).await.ok().map(|end| end.unwrap_or(Exit::Unknown));
    }
    let ended = if let Some(ended) = ended {
        ended
    } else {
        switch.kill();
        exit.await.unwrap_or(Exit::Unknown)
    };
    frames.nested.abort();
    writing.abort();
    for task in lines.into_iter().flatten() {
        let abort = task.abort_handle();
        if timeout(AFTERMATH, task).await.is_err() {
            abort.abort();
        }
    }
    drop(alive);
    drop(home);
    match broken {
        Some(WireError::Malformed { reason }) => {
            format!("sent what is not a frame ({reason}) and was killed")
        }
        _ => ended.describe(kills_before),
    }
}

/// The frames of one worker.
struct Frames<'a> {
    supervisor: &'a Arc<Supervisor>,
    plan: &'a Plan,
    tail: &'a Arc<Tail>,
    nested: Nested,
    /// Goes before the reader.
    _end: End,
    reader: OwnedReadHalf,
}

impl Frames<'_> {
    /// Reads frames until the connection ends; returns why it did.
    async fn serve(&mut self) -> WireError {
        loop {
            let served = match Frame::read_from(&mut self.reader).await {
                Ok(frame) => self.take(frame).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                return error;
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), WireError> {
        let (supervisor, number) = (self.supervisor, self.plan.number);
        let is_nested = frame.flags & FROM_WORKER != 0;
        let delivery = match frame.kind {
            FrameKind::Ready => {
                self.ready(Arc::new(frame.parse_head::<ReadyHead>()?));
                None
            }
            FrameKind::LoadFailed => {
                self.refused(frame.parse_head()?);
                None
            }
            FrameKind::Answer => supervisor.worker_answer(number, frame)?,
            FrameKind::Chunk => supervisor.worker_chunk(number, frame)?,
            FrameKind::HttpStart => {
                supervisor.worker_http_start(number, &frame)?;
                None
            }
            FrameKind::HttpChunk => supervisor.worker_http_chunk(number, frame),
            FrameKind::Output => {
                self.output(&frame)?;
                None
            }
            FrameKind::Call if is_nested => {
                let platform = &supervisor.shared.platform;
                self.nested.call(platform, &supervisor.name, frame, self.plan.frames.clone())?;
                None
            }
            FrameKind::Environment if is_nested => {
                let environments = supervisor.shared.options.environments.clone();
                self.nested.environment(environments, &supervisor.name, &frame, self.plan.frames.clone())?;
                None
            }
            FrameKind::Cancel if is_nested => {
                self.nested.cancel(frame.call_id);
                None
            }
            FrameKind::Load
            | FrameKind::Stop
            | FrameKind::Call
            | FrameKind::Cancel
            | FrameKind::Environment => {
                let reason = format!("a worker does not send {:?}", frame.kind);
                return Err(WireError::Malformed { reason });
            }
        };
        if let Some(delivery) = delivery {
            delivery.deliver().await;
        }
        Ok(())
    }

    fn ready(&self, head: Arc<ReadyHead>) {
        self.supervisor.worker_ready(self.plan.number, &head);
        let (endpoint, worker) = (self.supervisor.name.clone(), self.plan.id.clone());
        self.supervisor.shared.observer.event(Event::WorkerReady { endpoint, worker, ready: head });
        refill_spare(&self.supervisor.shared);
    }

    fn refused(&self, report: ErrorReport) {
        let reason = match report.traceback.as_str() {
            "" => format!("{}: {}", report.error_type, report.message),
            traceback => traceback.to_owned(),
        };
        self.supervisor.worker_refused(self.plan.number, report);
        let (endpoint, worker) = (self.supervisor.name.clone(), self.plan.id.clone());
        self.supervisor.shared.observer.event(Event::WorkerFailed { endpoint, worker, reason });
    }

    fn output(&self, frame: &Frame) -> Result<(), WireError> {
        let head: OutputHead = frame.parse_head()?;
        let text = String::from_utf8_lossy(frame.buffers.first().map_or(&[], Bytes::as_ref)).into_owned();
        for line in text.split_terminator('\n') {
            say(self.supervisor, self.tail, head.job.clone(), head.stream, line.to_owned());
        }
        Ok(())
    }
}

fn say(supervisor: &Supervisor, tail: &Tail, job: Option<String>, stream: OutputStream, line: String) {
    tail.push(&line);
    supervisor.shared.observer.event(Event::Output { endpoint: supervisor.name.clone(), job, stream, line });
}

/// Forwards what a process writes to a pipe, line by line.
fn forward(
    supervisor: &Arc<Supervisor>,
    stream: OutputStream,
    pipe: std::os::fd::OwnedFd,
    tail: &Arc<Tail>,
) -> JoinHandle<()> {
    let (supervisor, tail) = (Arc::clone(supervisor), Arc::clone(tail));
    tokio::spawn(async move {
        if let Ok(pipe) = Receiver::from_owned_fd(pipe) {
            read_lines(pipe, |line| say(&supervisor, &tail, None, stream, line)).await;
        }
    })
}

/// Writes frames as they come; ends with the connection.
async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    mut frames: mpsc::UnboundedReceiver<Frame>,
    store: Arc<dyn JobStore>,
) {
    let is_of_job = |frame: &Frame| frame.parse_head::<CallHead>().is_ok_and(|head| head.job.is_some());
    while let Some(frame) = frames.recv().await {
        // A start that is not stored would not count when this process is killed.
        if store.is_durable() && frame.kind == FrameKind::Call && is_of_job(&frame) {
            store.settled().await;
        }
        if frame.write_to_async(&mut writer).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
