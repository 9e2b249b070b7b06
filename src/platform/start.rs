//! Starts one worker of an endpoint: what it is decides how it is reached.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::balance;
use super::clock::Moment;
use super::command::{CommandPlan, run_command};
use super::kill::KillSwitch;
use super::launch::load_head;
use super::pod::Calls;
use super::polls::Polls;
use super::spec::Runtime;
use super::state::{Link, Phase, State, Worker};
use super::supervisor::Supervisor;
use super::worker::{Plan, run_worker};
use crate::endpoint::EndpointKind;
use crate::requirements::Interpreter;

impl Supervisor {
    /// Whether workers of this kind can be started yet: one that calls back needs to know where.
    pub(super) fn can_start(&self, state: &State) -> bool {
        !matches!(state.spec.runtime, Runtime::Command(_)) || self.shared.base_url().is_some()
    }

    /// Starts a worker.
    pub(super) fn start_worker(self: &Arc<Self>, state: &mut State, interpreter: Interpreter, now: Moment) {
        let id = format!("w{}", &uuid::Uuid::new_v4().simple().to_string()[..13]);
        self.start_worker_as(state, id, interpreter, now);
    }

    /// Starts a worker of this ID.
    pub(super) fn start_worker_as(
        self: &Arc<Self>,
        state: &mut State,
        id: String,
        interpreter: Interpreter,
        now: Moment,
    ) {
        let number = state.next_worker;
        let switch = Arc::new(KillSwitch::default());
        let link = match &state.spec.runtime {
            Runtime::Flash(flash) => {
                let (frames, queued) = mpsc::unbounded_channel();
                let plan = Plan {
                    number,
                    id: id.clone(),
                    interpreter,
                    load: load_head(&state.spec, &flash.load, &id),
                    spec: state.spec.clone(),
                    frames: frames.clone(),
                    queued,
                    switch: Arc::clone(&switch),
                };
                self.shared.handle.spawn(run_worker(Arc::clone(self), plan));
                Link::Frames(frames)
            }
            Runtime::Command(command) => {
                let Some(base_url) = self.shared.base_url() else { return };
                let link = match command_link(state.spec.kind, now) {
                    Ok(link) => link,
                    Err(error) => {
                        tracing::error!(endpoint = self.name, %error, "no free port");
                        return;
                    }
                };
                let calls = match &link {
                    Link::Port(address) => {
                        let health = health_address(*address, &state.spec.env);
                        let path = state.spec.env.get("HEALTH_CHECK_PATH").cloned();
                        let watching = balance::watch(Arc::downgrade(self), number, health, path);
                        self.shared.handle.spawn(watching);
                        Calls::Listens { base_url, port: address.port(), health: health.port() }
                    }
                    Link::Polls(polls) => Calls::Polls { base_url, token: polls.token.clone() },
                    Link::Frames(_) => return,
                };
                let plan = CommandPlan {
                    number,
                    id: id.clone(),
                    command: command.clone(),
                    env: state.spec.env.clone(),
                    calls,
                    switch: Arc::clone(&switch),
                };
                self.shared.handle.spawn(run_command(Arc::clone(self), plan));
                link
            }
            Runtime::Unavailable { .. } => return,
        };
        state.next_worker += 1;
        state.workers.insert(
            number,
            Worker {
                id,
                generation: state.generation,
                phase: Phase::Starting,
                link,
                switch,
                running: BTreeMap::new(),
                started: now,
                since: now,
                ready: None,
                ailing: None,
                killed_because: None,
                unhealthy: None,
            },
        );
    }
}

/// How a command is reached.
fn command_link(kind: EndpointKind, now: Moment) -> io::Result<Link> {
    match kind {
        EndpointKind::LoadBalanced => free_address().map(Link::Port),
        _ => Ok(Link::Polls(Polls::new(now))),
    }
}

/// Where a command is asked whether it is well: a port of its own where its variables name one.
fn health_address(address: SocketAddr, env: &BTreeMap<String, String>) -> SocketAddr {
    let port = |name: &str| env.get(name).map_or("80", |port| port.trim());
    let is_apart = env.contains_key("PORT_HEALTH") && port("PORT_HEALTH") != port("PORT");
    if is_apart { free_address().unwrap_or(address) } else { address }
}

/// A loopback port that nobody listens on now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
