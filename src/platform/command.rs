//! One command that is a worker, from start to end: its lines are read, its end is told.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::event::Event;
use super::exit::Exit;
use super::kill::KillSwitch;
use super::limits::out_of_memory_kills;
use super::output::{Tail, read_lines};
use super::pod::{Calls, find_program, pod_environment};
use super::shared::Counted;
use super::spawner::{Launch, Started, spawn};
use super::spec::CommandRuntime;
use super::supervisor::Supervisor;
use crate::wire::message::OutputStream;

/// How long the last lines may take once the process has ended.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A command to start.
pub(super) struct CommandPlan {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) command: CommandRuntime,
    pub(super) env: BTreeMap<String, String>,
    pub(super) calls: Calls,
    pub(super) switch: Arc<KillSwitch>,
}

/// Runs a command until it ends.
pub(super) async fn run_command(supervisor: Arc<Supervisor>, plan: CommandPlan) {
    let shared = Arc::clone(&supervisor.shared);
    let (endpoint, worker) = (supervisor.name.clone(), plan.id.clone());
    shared.observer.event(Event::WorkerStarting { endpoint: endpoint.clone(), worker: worker.clone() });
    let tail = Arc::new(Tail::logged(shared.logs.get(&worker)));
    let alive = Counted::new(&shared.alive);
    let kills_before = out_of_memory_kills();
    let (reason, has_left) = match start(&supervisor, &plan).await {
        Ok((started, home)) => {
            let lines = [
                started.stdout.map(|pipe| forward(&supervisor, OutputStream::Stdout, pipe.into(), &tail)),
                started.stderr.map(|pipe| forward(&supervisor, OutputStream::Stderr, pipe.into(), &tail)),
            ];
            let exit = started.exit.await.unwrap_or(Exit::Unknown);
            for task in lines.into_iter().flatten() {
                let abort = task.abort_handle();
                if timeout(AFTERMATH, task).await.is_err() {
                    abort.abort();
                }
            }
            drop(home);
            (exit.describe(kills_before), exit == Exit::Code(0))
        }
        Err(error) => (format!("could not be started ({error})"), false),
    };
    drop(alive);
    let tail = tail.text();
    let (was_meant, reason) = supervisor.worker_ended(plan.number, reason, has_left, &tail);
    shared.observer.event(if was_meant {
        Event::WorkerStopped { endpoint, worker }
    } else {
        let reason = if tail.is_empty() { reason } else { format!("{reason}; the last it printed:\n{tail}") };
        Event::WorkerFailed { endpoint, worker, reason }
    });
}

/// Starts the process, in a home folder of its own: the user's `~/.runpod/config.toml` would
/// replace the worker's token (`platform.md` 2.2).
async fn start(supervisor: &Supervisor, plan: &CommandPlan) -> io::Result<(Started, TempDir)> {
    let (name, arguments) = plan
        .command
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
    let directory = plan.command.directory.as_path();
    if !directory.is_dir() {
        let text = format!("the folder `{}` is not there", directory.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let python = &supervisor.shared.options.host.executable;
    let program = find_program(name, directory, std::env::var_os("PATH").as_deref(), python)?;
    let home = tempfile::Builder::new().prefix("flash-worker-").tempdir()?;
    let identity = (supervisor.name.as_str(), plan.id.as_str());
    let launch = Launch {
        variables: pod_environment(std::env::vars_os(), home.path(), &plan.env, identity, &plan.calls),
        program: program.clone(),
        arguments: arguments.iter().map(Into::into).collect(),
        directory: Some(directory.to_owned()),
        socket: None,
    };
    let started = spawn(launch, Arc::clone(&plan.switch)).await.map_err(|error| named(&program, &error))?;
    Ok((started, home))
}

fn named(program: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", program.display()))
}

/// Forwards what a process writes to a pipe, line by line.
fn forward(
    supervisor: &Arc<Supervisor>,
    stream: OutputStream,
    pipe: OwnedFd,
    tail: &Arc<Tail>,
) -> JoinHandle<()> {
    let (supervisor, tail) = (Arc::clone(supervisor), Arc::clone(tail));
    tokio::spawn(async move {
        let Ok(pipe) = Receiver::from_owned_fd(pipe) else { return };
        let say = |line: String| {
            let (job, text) = unwrap_line(line);
            for line in text.lines() {
                tail.push(line);
                supervisor.shared.observer.event(Event::Output {
                    endpoint: supervisor.name.clone(),
                    job: job.clone(),
                    stream,
                    line: line.to_owned(),
                });
            }
        };
        read_lines(pipe, say).await;
    })
}

/// A line of the official worker's log (`platform.md` 2.17).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogLine {
    request_id: Option<String>,
    message: String,
    level: String,
}

/// Takes a line of the official worker's log apart: its job, and its text. Any other line stays.
fn unwrap_line(line: String) -> (Option<String>, String) {
    match line.starts_with('{').then(|| serde_json::from_str::<LogLine>(&line)) {
        Some(Ok(LogLine { request_id, message, level })) => {
            let text = if level == "INFO" { message } else { format!("{level}: {message}") };
            (request_id, text)
        }
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_line_of_the_official_worker_gives_job_and_text() {
        let line = |text: &str| unwrap_line(text.to_owned());
        let logged = r#"{"requestId": "j1", "message": "Started.", "level": "INFO"}"#;
        assert_eq!(line(logged), (Some("j1".to_owned()), "Started.".to_owned()));
        let of_worker = r#"{"requestId": null, "message": "bad", "level": "ERROR"}"#;
        assert_eq!(line(of_worker), (None, "ERROR: bad".to_owned()));
        for raw in ["plain", r#"{"message": "mine"}"#, "{broken"] {
            assert_eq!(line(raw), (None, raw.to_owned()));
        }
    }
}
