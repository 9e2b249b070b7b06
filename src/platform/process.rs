//! A worker process with its socket: started for an endpoint, or ahead of need (the spare one).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tempfile::TempDir;
use tokio::net::UnixStream;

use super::ends::End;
use super::kill::KillSwitch;
use super::launch::{directory, own_environment, process_environment};
use super::limits::out_of_memory_kills;
use super::options::CommandLine;
use super::shared::{Counted, Shared};
use super::spawner::{Launch, Started, spawn};
use super::spec::EndpointSpec;
use crate::requirements::Interpreter;
use crate::wire::message::LoadHead;

/// What a spare worker imports ahead, in order.
const PRELOAD: &str = "runpod_flash.worker.calls,runpod_flash.worker.loader,pydantic";
/// What one imports beside that where some endpoint is load-balanced.
const PRELOAD_ROUTES: &str = "runpod_flash.worker.http";

/// A worker process that has not been told what to load.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: Started,
    /// Goes before the stream.
    pub(super) end: End,
    pub(super) stream: UnixStream,
    pub(super) switch: Arc<KillSwitch>,
    /// The kernel's count of out-of-memory kills at the start.
    pub(super) kills_before: Option<u64>,
    pub(super) alive: Counted,
    /// Its home folder, where that is its own; goes with it.
    pub(super) home: Option<TempDir>,
}

/// Starts a worker process that gets the shell's variables without `unset`, and `variables`.
pub(super) async fn start(
    shared: &Shared,
    interpreter: &Interpreter,
    (variables, unset): (&BTreeMap<String, String>, &[String]),
    directory: Option<PathBuf>,
    switch: Arc<KillSwitch>,
) -> io::Result<Process> {
    let command = shared.options.command.command(interpreter);
    let shell = std::env::vars_os().filter(|(name, _)| unset.iter().all(|gone| name != gone.as_str()));
    let variables = process_environment(shell, variables, &command);
    start_command(shared, command, variables, directory, switch).await
}

/// Starts a worker process that gets its endpoint's variables alone, and a home folder of its own.
pub(super) async fn start_alone(
    shared: &Shared,
    interpreter: &Interpreter,
    spec: &EndpointSpec,
    (worker, load): (&str, &LoadHead),
    switch: Arc<KillSwitch>,
) -> io::Result<Process> {
    let command = shared.options.command.command(interpreter);
    let home = tempfile::Builder::new().prefix("flash-worker-").tempdir()?;
    let variables = own_environment(spec, worker, load, home.path(), shared.base_url(), &command);
    let directory = directory(load).or_else(|| Some(home.path().to_owned()));
    let process = start_command(shared, command, variables, directory, switch).await?;
    Ok(Process { home: Some(home), ..process })
}

async fn start_command(
    shared: &Shared,
    command: CommandLine,
    variables: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    switch: Arc<KillSwitch>,
) -> io::Result<Process> {
    let alive = Counted::new(&shared.alive);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let end = End::new(&ours);
    ours.set_nonblocking(true)?;
    let launch = Launch {
        variables,
        program: command.program,
        arguments: command.arguments,
        directory,
        socket: Some(OwnedFd::from(theirs)),
    };
    let kills_before = out_of_memory_kills();
    let started = spawn(launch, Arc::clone(&switch)).await?;
    Ok(Process { started, end, stream: UnixStream::from_std(ours)?, switch, kills_before, alive, home: None })
}

/// Starts a spare worker in the host interpreter, unless there is one or none is wanted.
pub(super) fn refill_spare(shared: &Arc<Shared>) {
    let is_wanted = shared.options.warm_spare && !shared.is_shutting_down();
    if !is_wanted || shared.spare.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        return;
    }
    let shared = Arc::clone(shared);
    let handle = shared.handle.clone();
    handle.spawn(async move {
        let interpreter = Interpreter { python: shared.options.host.executable.clone(), is_host: true };
        let switch = Arc::new(KillSwitch::default());
        let has_routes = shared.has_routes.load(Ordering::SeqCst);
        let modules = if has_routes { format!("{PRELOAD},{PRELOAD_ROUTES}") } else { PRELOAD.to_owned() };
        let variables = BTreeMap::from([("FLASH_WORKER_PRELOAD".to_owned(), modules)]);
        let started = start(&shared, &interpreter, (&variables, &[]), None, switch).await;
        let Ok(process) = started else { return };
        let is_outdated = has_routes != shared.has_routes.load(Ordering::SeqCst);
        {
            let mut spare = shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.is_some() || is_outdated || shared.is_shutting_down() {
                end_process(&shared, process);
            } else {
                *spare = Some(process);
            }
        }
        if is_outdated {
            refill_spare(&shared);
        }
    });
}

/// Notes that an endpoint is load-balanced: the first one replaces the spare worker by one that has
/// loaded what serves routes.
pub(super) fn prepare_for_routes(shared: &Arc<Shared>) {
    if shared.has_routes.swap(true, Ordering::SeqCst) {
        return;
    }
    if drop_spare(shared) {
        refill_spare(shared);
    }
}

/// Ends the spare worker; returns whether there was one.
pub(super) fn drop_spare(shared: &Arc<Shared>) -> bool {
    let spare = shared.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
    spare.map(|process| end_process(shared, process)).is_some()
}

fn end_process(shared: &Shared, process: Process) {
    process.switch.kill();
    shared.handle.spawn(async move {
        let _ = process.started.exit.await;
        drop(process.alive);
    });
}

/// Takes the spare worker, if there is one that lives.
pub(super) fn take_spare(shared: &Shared) -> Option<Process> {
    let mut process = shared.spare.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let has_ended = process.started.exit.try_recv() != Err(tokio::sync::oneshot::error::TryRecvError::Empty);
    (!has_ended).then_some(process)
}
