//! Calls of a project's endpoints that run on Runpod, as [`Backend`].
//!
//! An endpoint is made at its first call, and the function's source travels with each call: what a
//! file says now is what runs.

mod answer;
mod items;
mod route;
mod source;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64_simd::STANDARD;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub use source::Remote;

use self::answer::{decoded, job_view, report, response, result_of};
use self::items::Items;
use self::source::Packed;
use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::job::{CallOptions, EndpointRef, JobState, Output};
use super::live::{Provision as _, Provisioner};
use crate::endpoint::JobStatus;
use crate::wire::BoxFuture;
use crate::wire::backend::{Backend, Call, Health, HttpReply, HttpRequest, JobRequest, JobView, Reply};
use crate::wire::function::FunctionRequest;
use crate::wire::message::{ErrorReport, Failure, Input};

/// Jobs whose last state is remembered.
const REMEMBERED: usize = 1000;
/// Items of a call from Python that wait for their reader.
const ITEMS_AHEAD: usize = 64;

/// The endpoints of one run that are on Runpod.
pub struct LiveBackend {
    client: Client,
    provisioner: Provisioner,
    remote: ArcSwap<Remote>,
    jobs: Mutex<Jobs>,
    /// Why calls end now, once they do.
    stopped: watch::Sender<Option<String>>,
    /// Changes with whatever may start a worker.
    used: watch::Sender<u64>,
}

#[derive(Default)]
struct Jobs {
    order: VecDeque<String>,
    known: HashMap<String, Job>,
}

#[derive(Clone)]
struct Job {
    endpoint: String,
    id: String,
    view: JobView,
    items: Arc<Items>,
    /// Whether its function yields items.
    is_generator: bool,
}

impl std::fmt::Debug for LiveBackend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LiveBackend").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl LiveBackend {
    /// Makes a backend without endpoints; [`LiveBackend::apply`] gives it some.
    pub fn new(client: Client, provisioner: Provisioner, remote: Remote) -> Arc<Self> {
        Arc::new(Self {
            client,
            provisioner,
            remote: ArcSwap::from_pointee(remote),
            jobs: Mutex::default(),
            stopped: watch::Sender::new(None),
            used: watch::Sender::new(0),
        })
    }

    /// Ships another state of the project from the next call on.
    pub fn apply(&self, remote: Remote) {
        self.remote.store(Arc::new(remote));
    }

    /// Returns the declared names and IDs of the endpoints that this run uses.
    pub fn in_use(&self) -> Vec<(String, String)> {
        let remote = self.remote.load();
        let names = remote.names();
        names.filter_map(|name| Some((name.to_owned(), self.id_in_use(name)?))).collect()
    }

    /// Whether an endpoint runs on Runpod.
    pub fn has(&self, endpoint: &str) -> bool {
        self.remote.load().has(endpoint)
    }

    /// Ends all calls, and refuses others.
    pub fn stop(&self, reason: &str) {
        self.stopped.send_replace(Some(reason.to_owned()));
    }

    /// Returns what changes with whatever may start a worker: a call, an endpoint that was made.
    pub fn used(&self) -> watch::Receiver<u64> {
        self.used.subscribe()
    }

    /// Returns what provisions the endpoints.
    pub fn provisioner(&self) -> &Provisioner {
        &self.provisioner
    }

    /// Returns how many workers of an endpoint cost money now: those that start, wait or run.
    ///
    /// # Errors
    /// Where Runpod does not say.
    pub async fn workers(&self, id: &str) -> Result<u64, RunpodError> {
        let options = CallOptions { timeout: Some(Duration::from_secs(20)), ..CallOptions::default() };
        let text = self.client.health(&EndpointRef::Id(id.to_owned()), &options).await?;
        let health = answer::health(&text);
        Ok(health.workers_idle + health.workers_initializing + health.workers_running)
    }

    /// Makes an endpoint that is declared, before its first call.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub async fn provision(&self, endpoint: &str) -> Result<String, RunpodError> {
        let input = self.remote.load().input(endpoint)?;
        let live = self.provisioner.ensure(&input).await?;
        if live.is_new {
            self.used.send_modify(|count| *count += 1);
        }
        Ok(live.id)
    }

    /// Makes the endpoint of a call and those that its code calls; returns their IDs by name.
    async fn ready(&self, endpoint: &str, callable: &str) -> Result<HashMap<String, String>, RunpodError> {
        let remote = self.remote.load_full();
        let names = remote.reached(endpoint, callable)?;
        let made = names.into_iter().map(|name| async {
            let id = self.provision(&name).await?;
            Ok::<_, RunpodError>((name, id))
        });
        futures_util::future::try_join_all(made).await.map(|ids| ids.into_iter().collect())
    }

    /// Runs `work` until it ends, or calls have to.
    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, RunpodError>>,
    ) -> Result<T, RunpodError> {
        let mut stopped = self.stopped.subscribe();
        let ended = |reason: &watch::Receiver<Option<String>>| {
            let reason = reason.borrow().clone().unwrap_or_default();
            RunpodError::new(ErrorKind::JobCancelled, reason)
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(Option::is_some) => Err(ended(&self.stopped.subscribe())),
            result = work => result,
        }
    }

    /// Sends what `make` makes to an endpoint; one that Runpod no longer has is made again, once.
    async fn send<T, F>(
        &self,
        endpoint: &str,
        callable: &str,
        make: impl Fn(&Remote, &HashMap<String, String>) -> Result<FunctionRequest, RunpodError>,
        send: impl Fn(EndpointRef, FunctionRequest) -> F,
    ) -> Result<(String, T), RunpodError>
    where
        F: Future<Output = Result<T, RunpodError>>,
    {
        let work = async {
            let mut is_second = false;
            loop {
                let ids = self.ready(endpoint, callable).await?;
                let id = ids.get(endpoint).cloned().unwrap_or_default();
                let request = make(&self.remote.load_full(), &ids)?;
                self.used.send_modify(|count| *count += 1);
                match send(EndpointRef::Id(id.clone()), request).await {
                    // Nothing was accepted.
                    Err(error) if error.kind == ErrorKind::NotFound && !is_second => {
                        is_second = true;
                        if let Ok(input) = self.remote.load().input(endpoint) {
                            self.provisioner.forget(&input.name);
                        }
                    }
                    result => return result.map(|result| (id, result)),
                }
            }
        };
        self.unless_stopped(work).await
    }

    /// The ID of an endpoint that this run uses already: asking about one must not make it.
    fn id_in_use(&self, endpoint: &str) -> Option<String> {
        let name = self.remote.load().input(endpoint).ok()?.name;
        let in_use = self.provisioner.in_use().ok()?;
        in_use.into_iter().find(|tracked| tracked.name == name)?.id
    }

    /// Remembers a job that was submitted.
    fn remember(&self, endpoint: &str, id: &str, view: &JobView, is_generator: bool) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (endpoint, id) = (endpoint.to_owned(), id.to_owned());
        let job = Job { endpoint, id, view: view.clone(), items: Arc::default(), is_generator };
        if jobs.known.insert(view.id.clone(), job).is_none() {
            jobs.order.push_back(view.id.clone());
            if jobs.order.len() > REMEMBERED
                && let Some(oldest) = jobs.order.pop_front()
            {
                jobs.known.remove(&oldest);
            }
        }
    }

    /// Remembers a job's state.
    fn note(&self, view: &JobView) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.known.get_mut(&view.id) {
            job.view = view.clone();
        }
    }

    fn known(&self, endpoint: &str, job: &str) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.known.get(job).filter(|known| known.endpoint == endpoint).cloned()
    }

    /// Asks Runpod about a job; while it does not answer, the last known state with the reason.
    async fn ask<F>(&self, endpoint: &str, job: &str, ask: impl FnOnce(EndpointRef) -> F) -> Option<JobView>
    where
        F: Future<Output = Result<JobState, RunpodError>>,
    {
        let known = self.known(endpoint, job)?;
        if known.view.status.is_terminal() {
            return Some(known.view);
        }
        let view = match self.unless_stopped(ask(EndpointRef::Id(known.id.clone()))).await {
            Ok(state) => job_view(state),
            Err(error) if error.kind == ErrorKind::JobNotFound => return None,
            Err(error) if error.kind == ErrorKind::DeadlineExceeded => return Some(known.view),
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::JobCancelled | ErrorKind::Authentication | ErrorKind::NotFound
                ) =>
            {
                JobView { status: JobStatus::Failed, error: Some(report(&error)), ..known.view }
            }
            Err(error) => JobView { waiting_for: Some(error.to_string()), ..known.view },
        };
        self.note(&view);
        Some(view)
    }

    async fn call_function(&self, call: Call) -> Result<Reply, RunpodError> {
        let Input::Python { constructor, function } = &call.head.input else {
            return Err(RunpodError::new(ErrorKind::InvalidRequest, "only calls from Python are taken here"));
        };
        if function.is_some() {
            let text = "a function without a file cannot be called on Runpod from a worker of this machine";
            return Err(RunpodError::new(ErrorKind::Shipment, text));
        }
        let is_stream = call.head.stream;
        let (endpoint, callable) = (call.head.endpoint.as_str(), call.head.callable.as_str());
        let start = constructor.as_ref().map_or(0, |constructor| constructor.start);
        let packed = Packed { buffers: call.buffers, constructor_start: start, is_stream };
        let make = |remote: &Remote, ids: &HashMap<String, String>| {
            remote.packed_call(endpoint, callable, &packed, ids)
        };
        if is_stream {
            let (id, state) = self
                .send(endpoint, callable, make, |id, request| async move {
                    self.client.run(&id, &request.into_job(), &CallOptions::default()).await
                })
                .await?;
            let (sender, receiver) = mpsc::channel(ITEMS_AHEAD);
            let mut stopped = self.stopped.subscribe();
            let stopped = async move {
                // The sender lives as long as the run.
                let _ = stopped.wait_for(Option::is_some).await;
                stopped.borrow().clone().unwrap_or_default()
            };
            let client = self.client.clone();
            tokio::spawn(items::pass_on(client, EndpointRef::Id(id), state.id, sender, stopped));
            return Ok(Reply::Stream(receiver));
        }
        let (_, state) = self
            .send(endpoint, callable, make, |id, request| async move {
                let payload = request.into_job();
                let options = CallOptions { cancel_when_dropped: true, ..CallOptions::default() };
                self.client.call(&id, &payload, &options).await
            })
            .await?;
        let Output::Json(text) = result_of(state)? else {
            return Err(RunpodError::new(ErrorKind::Malformed, "the worker answered nothing"));
        };
        Ok(Reply::Value(vec![decoded(&response(&text)?)?]))
    }
}

impl Backend for LiveBackend {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, ErrorReport>> {
        Box::pin(async move { self.call_function(call).await.map_err(|error| report(&error)) })
    }

    fn request<'a>(
        &'a self,
        endpoint: &'a str,
        request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpReply, ErrorReport>> {
        Box::pin(async move {
            let found = {
                let remote = self.remote.load();
                let declared = &remote.get(endpoint).map_err(|error| report(&error))?.declared;
                route::resolve(declared, &request.head)
            };
            let found = match found {
                Ok(found) => found,
                Err(refusal) => return Ok(refusal),
            };
            let make = |remote: &Remote, ids: &HashMap<String, String>| {
                remote.http_call(endpoint, &found, &request, ids)
            };
            let sent = self
                .send(endpoint, &found.callable, make, |id, request| async move {
                    route::execute(&self.client, id, request.into_execute()).await
                })
                .await;
            match sent.and_then(|(_, answer)| route::answered(&answer)) {
                Ok(reply) => Ok(reply),
                Err(error) if error.kind == ErrorKind::PayloadTooLarge => {
                    Ok(route::refusal(413, &error.message, &[]))
                }
                Err(error) => Err(report(&error)),
            }
        })
    }

    fn submit<'a>(
        &'a self,
        endpoint: &'a str,
        job: JobRequest,
    ) -> BoxFuture<'a, Result<JobView, ErrorReport>> {
        Box::pin(async move {
            let make = |remote: &Remote, ids: &HashMap<String, String>| {
                remote.json_call(endpoint, &job.callable, &job.input, ids)
            };
            let options = &answer::options(&job);
            let (id, state) = self
                .send(endpoint, &job.callable, make, |id, request| async move {
                    let payload = answer::with_options(request.into_job(), options);
                    self.client.run(&id, &payload, &CallOptions::default()).await
                })
                .await
                .map_err(|error| report(&error))?;
            let view = job_view(state);
            let is_generator = self.remote.load().is_generator(endpoint, &job.callable);
            self.remember(endpoint, &id, &view, is_generator);
            Ok(view)
        })
    }

    fn wait<'a>(&'a self, endpoint: &'a str, job: &'a str, wait: Duration) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move {
            let options = CallOptions { timeout: Some(wait), ..CallOptions::default() };
            self.ask(endpoint, job, |id| async move { self.client.wait(&id, job, &options).await }).await
        })
    }

    fn status<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move {
            let options = CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
            self.ask(endpoint, job, |id| async move { self.client.status(&id, job, &options).await }).await
        })
    }

    fn cancel<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move {
            let options = CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
            let asking =
                self.ask(endpoint, job, |id| async move { self.client.cancel(&id, job, &options).await });
            Box::pin(asking).await
        })
    }

    fn retry<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Option<JobView>, ErrorReport>> {
        Box::pin(async move {
            let Some(known) = self.known(endpoint, job) else { return Ok(None) };
            let id = EndpointRef::Id(known.id.clone());
            self.used.send_modify(|count| *count += 1);
            let options = CallOptions::default();
            let state = self.unless_stopped(self.client.retry(&id, job, &options)).await;
            let view = job_view(state.map_err(|error| report(&error))?);
            self.remember(endpoint, &known.id, &view, known.is_generator);
            Ok(Some(view))
        })
    }

    fn purge<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move {
            let id = self.id_in_use(endpoint)?;
            let text = self.client.purge_queue(&EndpointRef::Id(id), &CallOptions::default()).await.ok()?;
            let answer: serde_json::Value = serde_json::from_slice(&text).ok()?;
            Some(answer["removed"].as_u64().unwrap_or_default())
        })
    }

    fn recent<'a>(&'a self, endpoint: &'a str, limit: usize) -> BoxFuture<'a, Option<Vec<JobView>>> {
        Box::pin(async move {
            let ids: Vec<String> = {
                let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                let newest = jobs.order.iter().rev().filter_map(|id| Some((id, jobs.known.get(id)?)));
                let of_endpoint = newest.filter(|(_, job)| job.endpoint == endpoint);
                of_endpoint.take(limit).map(|(id, _)| id.clone()).collect()
            };
            // What is finished is known; outputs may be large, and are not listed.
            let views = futures_util::future::join_all(ids.iter().map(|id| self.status(endpoint, id))).await;
            Some(views.into_iter().flatten().map(|view| JobView { output: None, ..view }).collect())
        })
    }

    fn stream<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Option<(JobView, Vec<Bytes>)>> {
        Box::pin(async move {
            let known = self.known(endpoint, job)?;
            let reference = EndpointRef::Id(known.id.clone());
            let asking = Arc::clone(&known.items).ask(self.client.clone(), reference, job.to_owned());
            // It goes on when nobody waits any more: Runpod gives each item once.
            let _ = tokio::time::timeout(wait, tokio::spawn(asking)).await;
            let (mut items, is_over) = known.items.take();
            let view = self.status(endpoint, job).await?;
            if is_over
                && items.is_empty()
                && known.is_generator
                && let Some(output) = &view.output
            {
                items = known.items.take_output(output);
            }
            Some((view, items))
        })
    }

    fn health<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<Health>> {
        Box::pin(async move {
            let Some(id) = self.id_in_use(endpoint) else { return Some(Health::default()) };
            let text = self.client.health(&EndpointRef::Id(id), &CallOptions::default()).await.ok()?;
            Some(answer::health(&text))
        })
    }
}

/// Decodes base64.
fn base64(text: &str) -> Result<Bytes, RunpodError> {
    STANDARD.decode_to_vec(text).map(Bytes::from).map_err(|error| {
        RunpodError::new(ErrorKind::Malformed, format!("the worker's result is no base64: {error}"))
    })
}

/// A failure that no exception of the user's stands behind.
fn plain(failure: Failure, error: &RunpodError) -> ErrorReport {
    let mut made = ErrorReport::new(failure, "", error.message.clone());
    made.hint.clone_from(&error.hint);
    made
}
