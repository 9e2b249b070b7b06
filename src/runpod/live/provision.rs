//! [`Provisioner`]: finds, changes or makes live endpoints, each once.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::drift::drift;
use super::flight::Flights;
use super::input::digest;
use super::owner::Run;
use super::state::{Store, Tracked};
use super::{Live, Provision};
use crate::endpoint::bare_name;
use crate::runpod::control::{ControlPlane, EndpointInput, RemoteEndpoint};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::wire::BoxFuture;

/// Tells a person what is done on Runpod: one line each, before it is done.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// How endpoints are made and tracked.
pub struct ProvisionerOptions {
    /// Manages endpoints.
    pub control: Arc<dyn ControlPlane>,
    /// Address of the control plane: endpoints of another one are not looked at.
    pub api: String,
    /// Project root: endpoints are tracked in `.flash` below it.
    pub root: PathBuf,
    /// Whether endpoints are removed when this process's run ends.
    pub is_temporary: bool,
    /// Whether an endpoint may be made whose price is not known.
    pub needs_price: bool,
    /// Is told what is done.
    pub say: Say,
}

/// Makes live endpoints. Clones share everything.
#[derive(Clone)]
pub struct Provisioner {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) options: ProvisionerOptions,
    pub(super) store: Store,
    pub(super) run: Run,
    pub(super) flights: Flights,
    pub(super) ready: Mutex<Ready>,
}

/// What this process knows to exist.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) endpoints: HashMap<String, (String, Live)>,
    /// What Runpod was told of each, by its name there.
    pub(super) inputs: HashMap<String, EndpointInput>,
    /// Why nothing may be made any more.
    pub(super) closed: Option<String>,
}

impl std::fmt::Debug for Provisioner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Provisioner").field("run", &self.inner.run.id).finish_non_exhaustive()
    }
}

impl Provision for Provisioner {
    fn ensure<'a>(&'a self, input: &'a EndpointInput) -> BoxFuture<'a, Result<Live, RunpodError>> {
        Box::pin(async move {
            let purpose = purpose(input);
            {
                let ready = self.inner.ready();
                if let Some(reason) = &ready.closed {
                    return Err(closed(reason, &input.name));
                }
                if let Some((known, live)) = ready.endpoints.get(&input.name)
                    && *known == purpose
                {
                    return Ok(Live { is_new: false, ..live.clone() });
                }
            }
            let (inner, wanted) = (Arc::clone(&self.inner), input.clone());
            self.inner
                .flights
                .join(&input.name, &purpose, || {
                    let purpose = purpose.clone();
                    async move {
                        let live = inner.provision(&wanted).await.map_err(|error| {
                            let has_name = error.exchange.endpoint.is_some();
                            if has_name { error } else { error.at_endpoint(&wanted.name) }
                        })?;
                        let mut ready = inner.ready();
                        ready.endpoints.insert(wanted.name.clone(), (purpose, live.clone()));
                        ready.inputs.insert(wanted.name.clone(), wanted);
                        drop(ready);
                        Ok(live)
                    }
                })
                .await
        })
    }
}

impl Provisioner {
    /// Makes a provisioner for one process.
    pub fn new(options: ProvisionerOptions) -> Self {
        let store = Store::new(&options.root);
        let inner =
            Inner { options, store, run: Run::new(), flights: Flights::default(), ready: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Returns the file in which endpoints are tracked.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Looks at the endpoint again before its next use: Runpod says that it is gone.
    pub fn forget(&self, name: &str) {
        self.inner.ready().endpoints.remove(name);
    }

    /// Returns the endpoints that this process has used, as they are tracked.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn in_use(&self) -> Result<Vec<Tracked>, RunpodError> {
        let ids: Vec<String> =
            self.inner.ready().endpoints.values().map(|(_, live)| live.id.clone()).collect();
        let state = self.inner.store.load()?;
        let is_used = |tracked: &Tracked| tracked.id.as_ref().is_some_and(|id| ids.contains(id));
        Ok(state.endpoints.into_iter().filter(is_used).collect())
    }
}

impl Inner {
    pub(super) fn ready(&self) -> std::sync::MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: &str) {
        (self.options.say)(text);
    }

    /// Waits for other processes that are at work on the same endpoint.
    pub(super) async fn lock(&self, name: &str) -> Result<File, RunpodError> {
        let (store, file) = (self.store.clone(), format!("{}-{}", printable(name), &digest(name)[..8]));
        let failed = |error: std::io::Error| {
            RunpodError::new(ErrorKind::Provisioning, format!("cannot lock `{name}`: {error}"))
        };
        match store.try_lock(&file).map_err(failed)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => self.say(&format!("waiting for process {holder}, which is at work on `{name}`")),
        }
        let lock = tokio::task::spawn_blocking(move || store.lock(&file)).await;
        lock.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(failed)
    }

    async fn provision(&self, input: &EndpointInput) -> Result<Live, RunpodError> {
        let _lock = self.lock(&input.name).await?;
        let class = class_of(input);
        // Written even where nothing changes: what 1.21 tracked is taken over once.
        let tracked =
            self.store.update(|state| state.find(&self.options.api, class, &input.name).cloned())?;
        let Some(tracked) = tracked else { return self.create(input).await };
        let Some(id) = &tracked.id else { return self.resume(input, tracked).await };
        if let Some(existing) = self.options.control.endpoint(id).await? {
            return self.follow(input, tracked, &existing).await;
        }
        self.say(&format!("`{}` ({id}) is gone from Runpod", input.name));
        self.create(input).await
    }

    /// Uses an endpoint that exists; tells Runpod where its configuration has changed.
    async fn follow(
        &self,
        input: &EndpointInput,
        mut tracked: Tracked,
        existing: &RemoteEndpoint,
    ) -> Result<Live, RunpodError> {
        let kept = self.store.load()?.kept(input);
        let changes = drift(&tracked, &kept, &input.volumes);
        if !changes.is_empty() {
            self.say(&format!("changing `{}`: {}", input.name, changes.join(", ")));
            let mut sent = input.clone();
            if let (Some(template), Some(before)) = (&mut sent.template, &tracked.template_id) {
                // Names of templates are unique: another one's must not be asked for.
                template.name = format!("{}_{}", template.name, before);
            }
            let before = tracked.config.as_ref();
            let control = &self.options.control;
            let remote = control.update_endpoint(existing, &sent, before).await.map_err(failed("change"))?;
            tracked.template_id = remote.template_id.or(tracked.template_id);
            tracked.config = Some(kept);
            tracked.volumes.clone_from(&input.volumes);
            tracked.price_per_hour = self.price(input).await?;
        } else if self.options.needs_price {
            // One that was made without a limit may have no price, or yesterday's.
            tracked.price_per_hour = self.price(input).await?;
        }
        self.record(tracked, &existing.id)?;
        Ok(Live { id: existing.id.clone(), is_new: false })
    }

    /// A creation was begun whose answer nobody knows: what it made is looked for first.
    async fn resume(&self, input: &EndpointInput, tracked: Tracked) -> Result<Live, RunpodError> {
        match self.find_made(&tracked).await? {
            Some(existing) => {
                self.say(&format!("found `{}` ({}), made earlier", input.name, existing.id));
                self.follow(input, tracked, &existing).await
            }
            None => self.create(input).await,
        }
    }

    /// Returns the endpoint that an unanswered creation made, if it made one.
    pub(super) async fn find_made(&self, tracked: &Tracked) -> Result<Option<RemoteEndpoint>, RunpodError> {
        let all = self.options.control.endpoints().await?;
        let is_it = |endpoint: &RemoteEndpoint| {
            has_name(endpoint, &tracked.name) && !tracked.known_before.contains(&endpoint.id)
        };
        Ok(all.into_iter().find(is_it))
    }

    async fn create(&self, input: &EndpointInput) -> Result<Live, RunpodError> {
        let control = &self.options.control;
        let price = self.price(input).await?;
        self.say(&format!(
            "making `{}` on Runpod by {} at {}: {}",
            input.name,
            control.name(),
            self.options.api,
            cost(input, price)
        ));
        let all = control.endpoints().await?;
        let known_before =
            all.iter().filter(|endpoint| has_name(endpoint, &input.name)).map(|endpoint| endpoint.id.clone());
        let mut sent = input.clone();
        if let Some(template) = &mut sent.template {
            // Unique in the account, also where an earlier one was left behind.
            template.name = format!("{}_{:08x}", template.name, fastrand::u32(..));
        }
        let mut tracked = Tracked {
            class: class_of(input).to_owned(),
            name: input.name.clone(),
            api: self.options.api.clone(),
            id: None,
            template_id: None,
            made: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            is_temporary: self.options.is_temporary,
            runs: self.runs(),
            known_before: known_before.collect(),
            price_per_hour: price,
            config: None,
            volumes: input.volumes.clone(),
        };
        self.store.update(|state| {
            tracked.config = Some(state.kept(input));
            state.put(tracked.clone());
        })?;
        let remote = match control.create_endpoint(&sent).await {
            Ok(remote) => remote,
            Err(error) if may_have_been_done(error.kind) => match self.find_made(&tracked).await {
                Ok(Some(remote)) => {
                    self.say(&format!("`{}` was made ({}), although {error}", input.name, remote.id));
                    remote
                }
                // What was begun stays written down: it is looked for before the next attempt.
                Ok(None) | Err(_) => return Err(failed("make")(error)),
            },
            Err(error) => {
                self.store.update(|state| state.drop(&tracked))?;
                return Err(failed("make")(error));
            }
        };
        tracked.template_id = remote.template_id;
        tracked.known_before.clear();
        self.record(tracked, &remote.id)?;
        Ok(Live { id: remote.id, is_new: true })
    }

    fn runs(&self) -> Vec<Run> {
        if self.options.is_temporary { vec![self.run.clone()] } else { Vec::new() }
    }

    /// Writes down an endpoint, with the runs of other processes that use it as well.
    fn record(&self, mut tracked: Tracked, id: &str) -> Result<(), RunpodError> {
        tracked.id = Some(id.to_owned());
        tracked.known_before.clear();
        self.store.update(|state| {
            if let Some(known) = state.find(&tracked.api, &tracked.class, &tracked.name) {
                tracked.runs.clone_from(&known.runs);
            }
            if self.options.is_temporary && tracked.is_temporary {
                tracked.runs.retain(|run| run.id != self.run.id && run.liveness() != super::Liveness::Gone);
                tracked.runs.push(self.run.clone());
            }
            state.put(tracked);
        })
    }

    async fn price(&self, input: &EndpointInput) -> Result<Option<f64>, RunpodError> {
        let price = self.options.control.price_per_hour(input).await;
        if self.options.needs_price {
            let unknown = || {
                let text =
                    format!("Runpod does not say what `{}` costs: its cost cannot be limited", input.name);
                RunpodError::new(ErrorKind::Provisioning, text)
                    .with_hint("leave --max-cost out to make it anyway")
            };
            return price?.ok_or_else(unknown).map(Some);
        }
        Ok(price.unwrap_or_default())
    }
}

/// Returns the class of 1.21 that an endpoint is of.
pub fn class_of(input: &EndpointInput) -> &'static str {
    let is_cpu = input.instance_ids.as_ref().is_some_and(|instances| !instances.is_empty());
    match (input.kind.as_deref() == Some("LB"), is_cpu) {
        (false, false) => "LiveServerless",
        (false, true) => "CpuLiveServerless",
        (true, false) => "LiveLoadBalancer",
        (true, true) => "CpuLiveLoadBalancer",
    }
}

/// What an endpoint costs, in words.
fn cost(input: &EndpointInput, price: Option<f64>) -> String {
    let least = input.workers_min.unwrap_or_default();
    let most = input.workers_max.unwrap_or_default();
    let price = match price {
        Some(price) => format!("${price:.2} per hour for each worker that runs"),
        None => "its workers cost money while they run (Runpod does not say how much)".to_owned(),
    };
    let kept = if least > 0 { format!(", {least} of them always") } else { String::new() };
    format!("up to {most} {}{kept}; {price}", if most == 1 { "worker" } else { "workers" })
}

/// Equal for equal configurations.
fn purpose(input: &EndpointInput) -> String {
    let volumes = serde_json::to_string(&input.volumes).unwrap_or_default();
    digest(&(serde_json::to_string(input).unwrap_or_default() + &volumes))
}

/// Whether Runpod may have done what was asked although its answer is missing.
fn may_have_been_done(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Connection | ErrorKind::DeadlineExceeded | ErrorKind::Unavailable | ErrorKind::Malformed
    )
}

/// Runpod adds `-fb` to names now and then.
fn has_name(endpoint: &RemoteEndpoint, name: &str) -> bool {
    let plain = |name: &str| bare_name(name.trim_end_matches(" -fb")).to_owned();
    endpoint.name == name
        || (endpoint.name.starts_with("live-") == name.starts_with("live-")
            && plain(&endpoint.name) == plain(name))
}

fn failed(verb: &'static str) -> impl Fn(RunpodError) -> RunpodError {
    move |mut error| {
        // Who may not, and what is wrong with the request, are kinds of their own.
        if !matches!(
            error.kind,
            ErrorKind::Authentication | ErrorKind::RateLimited | ErrorKind::Configuration
        ) {
            error.kind = ErrorKind::Provisioning;
        }
        error.message = format!("could not {verb} the endpoint on Runpod: {}", error.message);
        error
    }
}

pub(super) fn closed(reason: &str, name: &str) -> RunpodError {
    RunpodError::new(ErrorKind::Provisioning, format!("`{name}` is not started: {reason}")).at_endpoint(name)
}

fn printable(name: &str) -> String {
    let keep = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    name.chars().take(40).map(keep).collect()
}
