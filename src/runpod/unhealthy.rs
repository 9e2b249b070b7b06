//! Ends waits that cannot end well: no worker of the endpoint can run anything.
//!
//! Runpod keeps jobs of such an endpoint in the queue, for a day. Who waits looks at `/health` from
//! time to time, all that wait at one endpoint together.

use std::future::Future;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::balanced::{BalancedRequest, HttpAnswer};
use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::job::{CallOptions, EndpointRef, JobState, Status};
use super::jobs::About;
use super::urls::is_loopback;

/// How often in a row the workers must be found unhealthy: one may be about to be replaced.
const BELIEVED: u32 = 2;
/// How long a look may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What was seen of an endpoint's workers.
#[derive(Default)]
pub(super) struct Looks {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    when: Option<Instant>,
    in_a_row: u32,
    reason: String,
}

#[derive(Deserialize)]
struct Health {
    workers: Workers,
}

#[derive(Deserialize)]
struct Workers {
    unhealthy: u64,
    #[serde(default)]
    idle: u64,
    #[serde(default)]
    initializing: u64,
    #[serde(default)]
    ready: u64,
    #[serde(default)]
    running: u64,
    #[serde(default)]
    throttled: u64,
}

impl Workers {
    fn are_hopeless(&self) -> bool {
        let others = self.idle + self.initializing + self.ready + self.running + self.throttled;
        self.unhealthy > 0 && others == 0
    }
}

/// Workers of an endpoint, in the words of REST v2.
#[derive(Deserialize)]
struct Listed {
    workers: Vec<ListedWorker>,
}

#[derive(Deserialize)]
struct ListedWorker {
    reason: Option<String>,
}

/// Why a job waits: the local platform tells.
#[derive(Deserialize)]
struct Waiting {
    #[serde(rename = "waitingFor")]
    waiting_for: Option<String>,
}

impl Client {
    /// Waits until a job has ended, or cannot.
    pub(super) async fn watch(
        &self,
        about: &About<'_>,
        job: &str,
        since: Option<Instant>,
        status: Option<Status>,
    ) -> Result<JobState, RunpodError> {
        let ended = self.watch_alone(about, job, since, status);
        let ended = self.unless_unhealthy(about.endpoint, Some(job), ended).await;
        ended.map_err(|error| error.at_endpoint(about.endpoint.name()).about_job(job))
    }

    /// Sends a request to a load-balanced endpoint and returns the answer, whatever its status.
    ///
    /// Repeated only where no worker has seen it, or the method is idempotent and Runpod, not the
    /// application, failed.
    ///
    /// # Errors
    /// By [`ErrorKind`], where there is no answer.
    pub async fn request(&self, request: &BalancedRequest) -> Result<HttpAnswer, RunpodError> {
        let answered =
            self.unless_unhealthy(&request.endpoint, None, Box::pin(self.request_alone(request))).await;
        answered.map_err(|error| error.at_endpoint(request.endpoint.name()))
    }

    /// Does `work`, which waits for a worker, unless no worker can do anything.
    pub(super) async fn unless_unhealthy<T>(
        &self,
        endpoint: &EndpointRef,
        job: Option<&str>,
        work: impl Future<Output = Result<T, RunpodError>>,
    ) -> Result<T, RunpodError> {
        let done = tokio::select! {
            biased;
            done = work => done,
            // Most waits end long before: it must not make each of them larger.
            reason = Box::pin(self.hopeless(endpoint, job)) => Err(unhealthy(&reason, job)),
        };
        done.map_err(|error| self.explained(endpoint, error))
    }

    /// Returns, with the reason, once the workers were found unhealthy often enough.
    async fn hopeless(&self, endpoint: &EndpointRef, job: Option<&str>) -> String {
        let pause =
            if self.shared.is_here { self.shared.timing.health / 10 } else { self.shared.timing.health };
        let begun = Instant::now();
        // Most calls end before.
        sleep(pause / 3).await;
        let watched = self.watched(endpoint);
        // What was seen before may have been mended, which is why somebody asks again.
        let is_over = |seen: &Seen| seen.in_a_row >= BELIEVED && seen.when.is_some_and(|when| when > begun);
        loop {
            let mut seen = watched.looks.seen.lock().await;
            let age = seen.when.map(|when| when.elapsed());
            if !is_over(&seen) && age.is_none_or(|age| age >= pause) {
                let reason = self.look_at_workers(endpoint, job).await;
                let is_old = age.is_some_and(|age| age > pause * 3);
                let before = if is_old { 0 } else { seen.in_a_row };
                *seen = Seen {
                    when: Some(Instant::now()),
                    in_a_row: reason.as_ref().map_or(0, |_| before + 1),
                    reason: reason.unwrap_or_default(),
                };
            }
            if is_over(&seen) {
                return seen.reason.clone();
            }
            drop(seen);
            sleep(pause).await;
        }
    }

    /// Returns why no worker can do anything, where that is so.
    async fn look_at_workers(&self, endpoint: &EndpointRef, job: Option<&str>) -> Option<String> {
        let options = CallOptions { timeout: Some(TIMEOUT), ..CallOptions::default() };
        // An endpoint that does not tell is given the benefit of the doubt.
        let text = self.health(endpoint, &options).await.ok()?;
        let workers = serde_json::from_slice::<Health>(&text).ok()?.workers;
        if !workers.are_hopeless() {
            return None;
        }
        let reason = match job {
            Some(job) => {
                let state = self.status(endpoint, job, &options).await;
                state.ok().as_ref().and_then(waiting_for)
            }
            None => self.reason_here(endpoint).await,
        };
        let count = workers.unhealthy;
        let what = match count {
            1 => "its worker is unhealthy".to_owned(),
            _ => format!("all its {count} workers are unhealthy"),
        };
        Some(reason.map_or_else(|| what.clone(), |reason| format!("{what}: {reason}")))
    }

    /// Returns what the list of workers says of an unhealthy one; Runpod's own has no reasons.
    async fn reason_here(&self, endpoint: &EndpointRef) -> Option<String> {
        let EndpointRef::Id(id) = endpoint else { return None };
        let url = reqwest::Url::parse(&self.urls.api).ok().filter(is_loopback)?;
        let url = url.join(&format!("/v2/serverless/{}/workers", urlencoding::encode(id))).ok()?;
        let request = self.prepare(Method::GET, url.as_str()).ok()?.timeout(TIMEOUT);
        let text = request.send().await.ok()?.bytes().await.ok()?;
        let listed: Listed = serde_json::from_slice(&text).ok()?;
        listed.workers.into_iter().find_map(|worker| worker.reason)
    }

    /// Adds to a passed deadline what is known of the workers.
    fn explained(&self, endpoint: &EndpointRef, mut error: RunpodError) -> RunpodError {
        if error.kind == ErrorKind::DeadlineExceeded
            && let Ok(seen) = self.watched(endpoint).looks.seen.try_lock()
            && seen.in_a_row > 0
        {
            error.message = format!("{}; {}", error.message, seen.reason);
        }
        error
    }
}

/// Adds to a passed deadline what the last known state of the job says.
pub(super) fn with_state(mut error: RunpodError, state: &JobState) -> RunpodError {
    if error.kind == ErrorKind::DeadlineExceeded
        && let Some(why) = waiting_for(state).filter(|why| !error.message.contains(why))
    {
        error.message = format!("{}; it waits: {why}", error.message);
    }
    error
}

fn waiting_for(state: &JobState) -> Option<String> {
    serde_json::from_slice::<Waiting>(&state.raw).ok()?.waiting_for
}

fn unhealthy(reason: &str, job: Option<&str>) -> RunpodError {
    let what = job.map_or_else(|| "the request".to_owned(), |job| format!("job `{job}`"));
    RunpodError::new(ErrorKind::Unavailable, format!("{what} cannot be run: {reason}")).with_hint(
        "look at the logs of its workers; what stays in the queue runs when one of them is well again",
    )
}
