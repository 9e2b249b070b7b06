//! The part of a run that is on Runpod: what it makes, what it costs, and that it goes at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::console::{Console, GREEN};
use super::cost::{dollars, watch};
use super::error::DevError;
use super::targets::Targets;
use crate::project::Project;
use crate::project::variables::Variables;
use crate::runpod::RunpodError;
use crate::runpod::backend::{LiveBackend, Remote};
use crate::runpod::client::Client;
use crate::runpod::control;
use crate::runpod::credentials::require_key;
use crate::runpod::live::remove::Removal;
use crate::runpod::live::{Liveness, Provisioner, ProvisionerOptions, Run, Tracked};
use crate::runpod::urls::Urls;

/// How long a request to remove endpoints may take before the run ends without it.
const REMOVAL: Duration = Duration::from_secs(30);

/// Live endpoints of one run.
pub(super) struct Cloud {
    pub(super) backend: Arc<LiveBackend>,
    console: Arc<Console>,
    watching: JoinHandle<()>,
    console_url: String,
    /// Which control plane, and where.
    line: String,
}

impl Cloud {
    /// Prepares calls to Runpod; nothing is made yet.
    pub(super) async fn start(
        root: &Path,
        max_cost: Option<f64>,
        console: &Arc<Console>,
        empty: &Project,
    ) -> Result<Self, RunpodError> {
        let urls = Urls::from_environment()?;
        let key = require_key()?;
        let client = Client::new(urls.clone(), Some(key))?;
        let chosen = control::choose(&client).await?;
        if !chosen.has_answered {
            // A key that is not taken is found now, not at the first call.
            chosen.plane.endpoints().await?;
        }
        let told = Arc::clone(console);
        let provisioner = Provisioner::new(ProvisionerOptions {
            control: chosen.plane,
            api: urls.api.clone(),
            root: root.to_owned(),
            is_temporary: true,
            needs_price: max_cost.is_some(),
            say: Arc::new(move |line| told.output("runpod", None, line)),
        });
        let remote = Remote::new(empty, |_| false, &Variables::default());
        let backend = LiveBackend::new(client, provisioner, remote);
        let watching = tokio::spawn(watch(Arc::clone(&backend), Arc::clone(console), max_cost));
        let line = format!("{} at {}", chosen.line, urls.api);
        Ok(Self { backend, console: Arc::clone(console), watching, console_url: urls.console, line })
    }

    /// Ships another state of the project from the next call on.
    pub(super) fn apply(backend: &LiveBackend, targets: &Targets, project: &Project, variables: &Variables) {
        backend.apply(Remote::new(project, |name| targets.is_remote(name), variables));
    }

    /// Says what is going to cost money.
    pub(super) fn announce(&self, max_cost: Option<f64>) {
        let console = &self.console;
        console.note(&self.line);
        console.note(
            "cost    endpoints are made on Runpod at their first call; their workers cost money while they run; \
             those of this run are removed when it ends",
        );
        if let Some(limit) = max_cost {
            console.note(&format!(
                "        all workers are stopped when they have cost about {} (--max-cost)",
                dollars(limit)
            ));
        }
    }

    /// Lists what a killed run left; removes it where somebody says so.
    pub(super) async fn offer_leftovers(&self, is_asked_for: bool) -> Result<(), DevError> {
        let left = self.backend.provisioner().left_behind()?;
        if left.is_empty() {
            if is_asked_for {
                self.console.note("--clean: no earlier run left anything on Runpod");
            }
            return Ok(());
        }
        list_leftovers(&self.console, &left);
        let is_wanted = is_asked_for
            || self
                .console
                .ask("remove them now? [y/N] ")
                .await
                .is_some_and(|answer| matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"));
        if !is_wanted {
            self.console.note("`flash run --clean` removes them; one that this run uses goes when it ends");
            return Ok(());
        }
        let removed = self.backend.provisioner().remove(left).await?;
        self.tell(&removed);
        Ok(())
    }

    /// Makes the project's live endpoints now instead of at their first calls.
    pub(super) fn make_all(&self, names: Vec<String>) {
        for name in names {
            let (backend, console) = (Arc::clone(&self.backend), Arc::clone(&self.console));
            tokio::spawn(async move {
                match backend.provision(&name).await {
                    Ok(id) => console.remark(&name, &format!("is on Runpod ({id})")),
                    Err(error) => console.failure(&name, &error.to_string()),
                }
            });
        }
    }

    /// Ends calls and removes what this run made.
    pub(super) async fn end(&self, note: &str) {
        self.watching.abort();
        self.backend.stop("flash run is ending");
        let provisioner = self.backend.provisioner();
        let own = self.own();
        if !own.is_empty() {
            self.console.note(&format!("removing from Runpod: {}{note}", names(&own)));
        }
        let work = async {
            provisioner.close("flash run is ending").await;
            provisioner.remove_own().await
        };
        match timeout(REMOVAL, work).await {
            Ok(Ok(removed)) => self.tell(&removed),
            Ok(Err(error)) => {
                self.console.warn(&format!("live endpoints could not be removed: {error}"));
            }
            Err(_) => {
                let seconds = REMOVAL.as_secs();
                self.console.warn(&format!("Runpod did not remove the endpoints within {seconds} s"));
            }
        }
    }

    /// What is still on Runpod although the run ends, as an error.
    pub(super) fn check_ended(&self) -> Result<(), DevError> {
        let left = self.own();
        if left.is_empty() {
            return Ok(());
        }
        Err(DevError::Left {
            count: left.len(),
            names: names(&left),
            console: format!("{}/serverless", self.console_url),
        })
    }

    fn own(&self) -> Vec<Tracked> {
        self.backend.provisioner().own().unwrap_or_default()
    }

    fn tell(&self, removed: &[(Tracked, Removal)]) {
        for (tracked, removal) in removed {
            let id = tracked.id.as_deref().unwrap_or("not made");
            match removal {
                Removal::Done => {
                    let done = self.console.paint(GREEN, "✓");
                    self.console.output("runpod", None, &format!("{done} removed `{}` ({id})", tracked.name));
                }
                Removal::Shared(pid) => self.console.output(
                    "runpod",
                    None,
                    &format!("`{}` ({id}) stays: process {pid} uses it", tracked.name),
                ),
                Removal::Failed(error) => {
                    self.console.failure(
                        "runpod",
                        &format!("`{}` ({id}) could not be removed: {error}", tracked.name),
                    );
                }
            }
        }
    }
}

/// Lists what a killed run left.
pub(super) fn list_leftovers(console: &Console, left: &[Tracked]) {
    console.warn("a run that did not end well left on Runpod, where workers cost money while they run:");
    for tracked in left {
        let run = tracked.runs.first();
        let host = run.map(|run| run.host.as_str()).unwrap_or_default();
        let id = tracked.id.as_deref().unwrap_or("being made");
        let doubt = match run.map(Run::liveness) {
            Some(Liveness::Elsewhere) => ": another machine, where the run may still go on",
            _ => "",
        };
        console.line(&format!("    {} ({id}), made {} on {host}{doubt}", tracked.name, tracked.made));
    }
}

/// `a` (id1), `b` (id2).
fn names(endpoints: &[Tracked]) -> String {
    let name = |tracked: &Tracked| match &tracked.id {
        Some(id) => format!("`{}` ({id})", tracked.name),
        None => format!("`{}` (perhaps made)", tracked.name),
    };
    endpoints.iter().map(name).collect::<Vec<_>>().join(", ")
}
