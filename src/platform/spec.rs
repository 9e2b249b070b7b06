//! What the platform needs to know to serve an endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use crate::endpoint::{EndpointKind, Workers};
use crate::requirements::EnvironmentState;
use crate::wire::message::LoadHead;

/// An endpoint to serve. A spec that differs from the running one in `fingerprint` raises the
/// endpoint's generation: new work goes to new workers, old ones finish and stop.
#[derive(Debug, Clone)]
pub struct EndpointSpec {
    /// Name; a local endpoint's ID is its name.
    pub name: String,
    /// Kind.
    pub kind: EndpointKind,
    /// Worker limits.
    pub workers: Workers,
    /// How long an idle worker above the minimum stays.
    pub idle_timeout: Duration,
    /// How long a job may run; `None` is Runpod's default.
    pub execution_timeout: Option<Duration>,
    /// Calls a worker takes at a time.
    pub max_concurrency: u32,
    /// Calls in flight for which one worker is wanted (`EndpointConfig::calls_per_worker`).
    pub scale_at: u32,
    /// The endpoint's own variables, resolved.
    pub env: BTreeMap<String, String>,
    /// What its workers load.
    pub load: LoadHead,
    /// Interpreter, once there is one.
    pub environment: watch::Receiver<EnvironmentState>,
    /// Changes when code or environment change.
    pub fingerprint: String,
}
