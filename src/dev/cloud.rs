//! The part of a run that is on Runpod: what it makes, what it costs, and that it goes at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::console::{Console, GREEN};
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
use crate::runpod::live::{Provisioner, ProvisionerOptions, Tracked};
use crate::runpod::urls::Urls;

/// How often workers are counted while something is going on.
const LOOK: Duration = Duration::from_secs(2);
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
    ) -> Result<Self, DevError> {
        let urls = Urls::from_environment()?;
        let key = require_key()?;
        let client = Client::new(urls.clone(), Some(key))?;
        let chosen = control::choose(&client).await?;
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
                "        all workers are stopped when they have cost about ${limit:.2} (--max-cost)"
            ));
        }
    }

    /// Lists what a killed run left; removes it where somebody says so.
    pub(super) async fn offer_leftovers(&self, is_asked_for: bool) -> Result<(), DevError> {
        let left = self.backend.provisioner().left_behind()?;
        if left.is_empty() {
            return Ok(());
        }
        self.console.warn("a run that did not end well left on Runpod:");
        for tracked in &left {
            let host = tracked.runs.first().map(|run| run.host.as_str()).unwrap_or_default();
            let id = tracked.id.as_deref().unwrap_or("being made");
            self.console.line(&format!("    {} ({id}), made {} on {host}", tracked.name, tracked.made));
        }
        let is_wanted = is_asked_for
            || self
                .console
                .ask("remove them now? [y/N] ")
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
    pub(super) async fn end(&self) {
        self.watching.abort();
        self.backend.stop("flash run is ending");
        let provisioner = self.backend.provisioner();
        let work = async {
            provisioner.close("flash run is ending").await;
            provisioner.remove_own().await
        };
        match timeout(REMOVAL, work).await {
            Ok(Ok(removed)) => self.tell(&removed),
            Ok(Err(error)) => self.failed(&error),
            Err(_) => self.console.warn("Runpod does not answer: the next `flash run` offers what is left"),
        }
    }

    fn failed(&self, error: &RunpodError) {
        self.console.warn(&format!("live endpoints could not be removed: {error}"));
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
                    let url = &self.console_url;
                    self.console.note(&format!(
                        "it costs money while workers run; the next `flash run` offers it, or see {url}/serverless/user/endpoint/{id}"
                    ));
                }
            }
        }
    }
}

/// Counts workers and what they cost, from the first call on.
async fn watch(backend: Arc<LiveBackend>, console: Arc<Console>, max_cost: Option<f64>) {
    let mut calls = backend.sent();
    let mut spent = 0.0;
    let mut shown = String::new();
    let mut last = Instant::now();
    let mut rate = 0.0;
    let mut is_idle = true;
    loop {
        if is_idle && calls.changed().await.is_err() {
            return;
        }
        if is_idle {
            last = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
        let in_use = backend.provisioner().in_use().unwrap_or_default();
        let mut workers = Vec::new();
        let mut is_known = true;
        for tracked in &in_use {
            let Some(id) = &tracked.id else { continue };
            match backend.workers(id).await {
                Ok(count) => workers.push((tracked, count)),
                Err(_) => is_known = false,
            }
        }
        let now = Instant::now();
        // What is not known is counted as it was.
        let next =
            if is_known { workers.iter().map(|(tracked, count)| price(tracked, *count)).sum() } else { rate };
        spent += f64::max(rate, next) * (now - last).as_secs_f64() / 3600.0;
        (last, rate) = (now, next);
        if is_known {
            let text = rates(&workers, rate);
            if text != shown {
                if !text.is_empty() {
                    console.output("cost", None, &format!("{text}; about ${spent:.4} so far"));
                } else if !shown.is_empty() {
                    console.output("cost", None, &format!("no workers on Runpod; about ${spent:.4} so far"));
                }
                shown = text;
            }
            is_idle = workers.iter().all(|(_, count)| *count == 0) && !calls.has_changed().unwrap_or(true);
        }
        if let Some(limit) = max_cost
            && spent >= limit
        {
            stop(&backend, &console, spent, limit).await;
            return;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 workers")]
fn price(tracked: &Tracked, workers: u64) -> f64 {
    tracked.price_per_hour.unwrap_or_default() * workers as f64
}

/// `live-a 2 workers $1.38/h; $1.38/h now`; empty where there are no workers.
fn rates(workers: &[(&Tracked, u64)], rate: f64) -> String {
    let running: Vec<String> = workers
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(tracked, count)| {
            let what = if *count == 1 { "worker" } else { "workers" };
            let cost = match tracked.price_per_hour {
                Some(_) => format!("${:.2}/h", price(tracked, *count)),
                None => "price not known".to_owned(),
            };
            format!("{} {count} {what} {cost}", tracked.name)
        })
        .collect();
    if running.is_empty() {
        return String::new();
    }
    let is_known = workers.iter().any(|(tracked, _)| tracked.price_per_hour.is_some());
    let now = if is_known { format!("; ${rate:.2}/h now") } else { String::new() };
    format!("{}{now}", running.join(", "))
}

async fn stop(backend: &LiveBackend, console: &Console, spent: f64, limit: f64) {
    let reason = format!("--max-cost ${limit:.2} is reached: about ${spent:.4} were spent");
    console.warn(&format!("{reason}; all workers on Runpod are stopped"));
    backend.stop(&reason);
    let provisioner = backend.provisioner();
    provisioner.close(&reason).await;
    let paused = provisioner.pause_kept().await;
    let removed = provisioner.remove_own().await;
    for outcome in [paused, removed] {
        match outcome {
            Ok(outcomes) => {
                for (tracked, removal) in outcomes {
                    match removal {
                        Removal::Failed(error) => console
                            .failure("runpod", &format!("`{}` could not be stopped: {error}", tracked.name)),
                        Removal::Done | Removal::Shared(_) => {
                            console.output("runpod", None, &format!("stopped `{}`", tracked.name));
                        }
                    }
                }
            }
            Err(error) => console.warn(&format!("not all could be stopped: {error}")),
        }
    }
}
