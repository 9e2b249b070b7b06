//! What the platform needs to know to serve an endpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::endpoint::{EndpointKind, Workers};
use crate::requirements::{EnvironmentState, HostPython, Interpreter};
use crate::wire::message::LoadHead;

/// An endpoint to serve. A spec that differs from the running one in `fingerprint` raises the
/// endpoint's generation: new work goes to new workers, old ones finish and stop.
#[derive(Debug, Clone)]
pub struct EndpointSpec {
    /// What URLs and calls name it by; an app's endpoint has its name as ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: EndpointKind,
    /// Worker limits.
    pub workers: Workers,
    /// How long an idle worker above the minimum stays.
    pub idle_timeout: Duration,
    /// How long a job may run; `None` is Runpod's default.
    pub execution_timeout: Option<Duration>,
    /// When another worker is wanted.
    pub scaling: Scaling,
    /// Whether a worker that was idle for too long is kept asleep, to be resumed at once.
    pub flashboot: bool,
    /// The endpoint's own variables, resolved.
    pub env: BTreeMap<String, String>,
    /// What its workers are.
    pub runtime: Runtime,
    /// Account that it belongs to; empty where there are no accounts.
    pub account: String,
    /// The endpoint's own key: opens this endpoint alone. `None` where no key is asked for.
    pub key: Option<String>,
    /// Changes when code or environment change.
    pub fingerprint: String,
}

/// When another worker is wanted (`platform.md` 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// A queued call has waited for this long.
    QueueDelay(Duration),
    /// There is one worker for every so many calls, waiting or running.
    RequestCount(u32),
}

/// What the workers of an endpoint are.
#[derive(Debug, Clone)]
pub enum Runtime {
    /// Our worker program, over a socket pair.
    Flash(Box<FlashRuntime>),
    /// A worker program as it is: a queue-based one takes jobs by the worker API
    /// (`runpod.serverless.start`), a load-balanced one listens on `PORT`.
    Command(CommandRuntime),
    /// None can run here.
    Unavailable {
        /// Why, for people.
        reason: String,
    },
}

/// What our own worker program loads.
#[derive(Debug, Clone)]
pub struct FlashRuntime {
    /// What its workers load.
    pub load: LoadHead,
    /// Calls a worker takes at a time.
    pub max_concurrency: u32,
    /// Interpreter, once there is one.
    pub environment: watch::Receiver<EnvironmentState>,
    /// Variables of this process that its workers must not inherit.
    pub unset: Vec<String>,
}

/// A command that is a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRuntime {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Folder to start it in.
    pub directory: PathBuf,
}

impl EndpointSpec {
    /// Returns our runtime's part, where its workers are ours.
    pub fn flash(&self) -> Option<&FlashRuntime> {
        match &self.runtime {
            Runtime::Flash(flash) => Some(flash),
            Runtime::Command(_) | Runtime::Unavailable { .. } => None,
        }
    }

    /// Returns how far the environment of its workers is; a command needs none.
    pub(super) fn environment(&self, host: &HostPython) -> EnvironmentState {
        match &self.runtime {
            Runtime::Flash(flash) => flash.environment.borrow().clone(),
            Runtime::Command(_) => {
                EnvironmentState::Ready(Interpreter { python: host.executable.clone(), is_host: true })
            }
            Runtime::Unavailable { reason } => {
                // What waits for it goes on to wait: another image or a command may come.
                EnvironmentState::Preparing { message: reason.clone() }
            }
        }
    }
}
