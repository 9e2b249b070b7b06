//! Jobs of queue-based endpoints: submit, wait, look, cancel (`platform.md` 1).

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use tokio::time::Instant;

use super::answer::id_within;
pub(crate) use super::answer::state;
use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::exchange::{Answer, Ask};
use super::job::{CallOptions, EndpointRef, JobState};
use super::parcel::Parcel;
use super::retry::{Deadline, Reach, Repeat, Trouble, repeat};
use super::unhealthy::with_state;
use crate::wire::limits::{self, LimitError, Route};
use crate::wire::payload::Payload;

/// What `/run` takes; `/runsync` takes twice as much.
const RUN_LIMIT: u64 = 10 << 20;
/// The shortest wait that `/runsync` knows.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// A request about jobs, but for its path.
pub(super) struct About<'a> {
    pub(super) endpoint: &'a EndpointRef,
    pub(super) options: &'a CallOptions,
    pub(super) deadline: Deadline,
    /// Until when it may be repeated, which is the deadline but where the answer is read beyond it.
    pub(super) repeats: Deadline,
}

impl Client {
    /// Submits a job by `/run` and returns its state then. Never repeated where it may have been
    /// accepted.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn run(
        &self,
        endpoint: &EndpointRef,
        payload: &Payload,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let about = About::new(endpoint, options);
        let parcel = checked(endpoint, payload, Route::Run)?;
        let _at_end = parcel.given_up_at_end();
        self.submit(&about, &parcel, "run", Duration::ZERO).await
    }

    /// Submits a job by `/runsync` and returns its state when it has ended, or Runpod ends the wait:
    /// after `wait`, else after 90 s. Never repeated where it may have been accepted.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn run_sync(
        &self,
        endpoint: &EndpointRef,
        payload: &Payload,
        wait: Option<Duration>,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let about = About::new(endpoint, options);
        let path = wait.map_or_else(|| "runsync".to_owned(), sync_path);
        let held = wait.unwrap_or(Duration::from_secs(90)).clamp(LEAST_WAIT, Duration::from_mins(5));
        let parcel = checked(endpoint, payload, Route::RunSync)?;
        let _at_end = parcel.given_up_at_end();
        self.submit(&about, &parcel, &path, held).await
    }

    /// Submits a job and waits for its end: the one way for calls of functions.
    ///
    /// `/runsync` first, which answers quick jobs in one exchange, then what all calls of the
    /// endpoint share. `options.timeout` is for the whole of it.
    ///
    /// # Errors
    /// By [`ErrorKind`]. A job that ended badly is no error here, see [`JobState::into_result`].
    pub async fn call(
        &self,
        endpoint: &EndpointRef,
        payload: &Payload,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let about = About::new(endpoint, options);
        let begun = Instant::now();
        let parcel = checked(endpoint, payload, Route::RunSync)?;
        if options.cancel_when_dropped {
            return self.call_with_care(&about, parcel, begun).await;
        }
        let at_end = parcel.given_up_at_end();
        let state = self.submit_first(&about, &parcel, self.shared.timing.first_wait).await?;
        drop(at_end);
        if state.status.is_terminal() {
            return Ok(state);
        }
        let ended = self.watch(&about, &state.id, Some(begun), Some(state.status.clone())).await;
        ended.map_err(|error| with_state(error, &state))
    }

    /// Returns a job's state.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn status(
        &self,
        endpoint: &EndpointRef,
        job: &str,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let about = About::new(endpoint, options);
        let timing = &self.shared.timing;
        // The ID of a new job may not be known everywhere yet.
        let mut unknown = 0;
        loop {
            let path = format!("status/{}", urlencoding::encode(job));
            let found = repeat(Repeat::Always, timing, about.deadline, || {
                self.job(&about, &Method::GET, &path, Some(job), None, Duration::ZERO)
            });
            let error = match found.await {
                Ok(state) => return Ok(state),
                Err(trouble) => trouble.error,
            };
            unknown += 1;
            let is_young = self.watched(endpoint).is_young(job, timing.young);
            let pause = timing.backoff * unknown;
            if error.kind != ErrorKind::JobNotFound
                || !is_young
                || unknown > 5
                || about.deadline.is_before(pause)
            {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits for a job's end, together with everything else that is waited for at the endpoint.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn wait(
        &self,
        endpoint: &EndpointRef,
        job: &str,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let since = self.watched(endpoint).submitted(job);
        self.watch(&About::new(endpoint, options), job, since, None).await
    }

    /// Cancels a job; one that has ended stays as it is.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn cancel(
        &self,
        endpoint: &EndpointRef,
        job: &str,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let about = About::new(endpoint, options);
        let path = format!("cancel/{}", urlencoding::encode(job));
        let watched = self.watched(endpoint);
        let cancelled = async {
            let _permit = watched.cancelling.acquire().await;
            repeat(Repeat::Always, &self.shared.timing, about.deadline, || {
                self.job(&about, &Method::POST, &path, Some(job), None, Duration::ZERO)
            })
            .await
        };
        about.deadline.keep(cancelled).await?.map_err(|trouble| trouble.error)
    }

    /// Puts a job that failed or timed out into the queue again, with the same ID and input.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn retry(
        &self,
        endpoint: &EndpointRef,
        job: &str,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let about = About::new(endpoint, options);
        let path = format!("retry/{}", urlencoding::encode(job));
        repeat(Repeat::IfNotBegun, &self.shared.timing, about.deadline, || {
            self.job(&about, &Method::POST, &path, Some(job), None, Duration::ZERO)
        })
        .await
        .map_err(|trouble| trouble.error)
    }

    /// Drops what waits in the queue; returns Runpod's answer as JSON text.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn purge_queue(
        &self,
        endpoint: &EndpointRef,
        options: &CallOptions,
    ) -> Result<Bytes, RunpodError> {
        self.look(endpoint, &Method::POST, "purge-queue", options).await
    }

    /// Returns counters of jobs and workers as JSON text.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn health(&self, endpoint: &EndpointRef, options: &CallOptions) -> Result<Bytes, RunpodError> {
        self.look(endpoint, &Method::GET, "health", options).await
    }

    /// Returns the jobs that came last as JSON text.
    ///
    /// # Errors
    /// By [`ErrorKind`].
    pub async fn requests(
        &self,
        endpoint: &EndpointRef,
        options: &CallOptions,
    ) -> Result<Bytes, RunpodError> {
        self.look(endpoint, &Method::GET, "requests", options).await
    }

    async fn look(
        &self,
        endpoint: &EndpointRef,
        method: &Method,
        path: &str,
        options: &CallOptions,
    ) -> Result<Bytes, RunpodError> {
        let about = About::new(endpoint, options);
        repeat(Repeat::Always, &self.shared.timing, about.deadline, || async {
            let body = self.answer(&about, method, path, None, None, Duration::ZERO).await?.whole().await?;
            match serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
                Ok(_) => Ok(body),
                Err(error) => {
                    let error = super::answer::malformed(&body, &error.to_string());
                    Err(Trouble::new(Reach::Unsure, error.at_endpoint(endpoint.name())))
                }
            }
        })
        .await
        .map_err(|trouble| trouble.error)
    }

    /// Submits a job so that its end is known as early as possible without holding too many
    /// requests open.
    pub(super) async fn submit_first(
        &self,
        about: &About<'_>,
        parcel: &Parcel,
        wait: Duration,
    ) -> Result<JobState, RunpodError> {
        if let Ok(_held) = self.shared.held.try_acquire() {
            // The answer has the job's ID: it must come before the deadline.
            let held = |left: Duration| wait.min(left.mul_f64(0.9));
            let wait = about.repeats.left().map_or(wait, held).max(LEAST_WAIT);
            return self.submit(about, parcel, &sync_path(wait), wait).await;
        }
        // Deployed apps are known to take `/runsync`; a large body must go there.
        let must_be_sync = matches!(about.endpoint, EndpointRef::Deployed { .. }) || parcel.len() > RUN_LIMIT;
        if must_be_sync {
            return self.submit(about, parcel, &sync_path(LEAST_WAIT), LEAST_WAIT).await;
        }
        self.submit(about, parcel, "run", Duration::ZERO).await
    }

    async fn submit(
        &self,
        about: &About<'_>,
        parcel: &Parcel,
        path: &str,
        held: Duration,
    ) -> Result<JobState, RunpodError> {
        let sent = repeat(Repeat::IfNotBegun, &self.shared.timing, about.repeats, || {
            self.job(about, &Method::POST, path, None, Some(parcel), held)
        });
        match sent.await {
            Ok(state) => {
                if !state.status.is_terminal() {
                    self.watched(about.endpoint).note(&state.id);
                }
                Ok(state)
            }
            Err(Trouble { mut error, reach }) => {
                if reach == Reach::Unsure {
                    error.message.push_str("; the job may have been accepted, so it was not submitted again");
                    let hint =
                        || "look at `requests()` of the endpoint before you submit it again".to_owned();
                    error.hint = error.hint.or_else(|| Some(hint()));
                }
                Err(error)
            }
        }
    }

    /// Sends a request whose answer is a job's state.
    pub(super) async fn job(
        &self,
        about: &About<'_>,
        method: &Method,
        path: &str,
        job: Option<&str>,
        parcel: Option<&Parcel>,
        held: Duration,
    ) -> Result<JobState, Trouble> {
        let answer = self.answer(about, method, path, job, parcel, held).await?;
        let request_id = answer.request_id.clone();
        let read = if let (Some(large), Some(_)) = (&about.options.large, &answer.rest) {
            if let (Some(parcel), Some(id)) = (parcel, id_within(&answer.body)) {
                parcel.accepted_as(id);
            }
            about.deadline.keep(large.read(answer.pieces())).await
        } else {
            Ok(state(answer.whole().await?, job))
        };
        let mut state = read.and_then(|state| state).map_err(|mut error| {
            error.exchange.endpoint = Some(about.endpoint.name().to_owned());
            error.exchange.job = error.exchange.job.take().or_else(|| job.map(ToOwned::to_owned));
            error.exchange.request_id.clone_from(&request_id);
            Trouble::new(Reach::Unsure, error)
        })?;
        state.request_id = request_id;
        Ok(state)
    }

    pub(super) async fn answer(
        &self,
        about: &About<'_>,
        method: &Method,
        path: &str,
        job: Option<&str>,
        parcel: Option<&Parcel>,
        held: Duration,
    ) -> Result<Answer, Trouble> {
        let ask = Ask {
            method,
            endpoint: about.endpoint,
            path,
            job,
            parcel,
            headers: &about.options.headers,
            held,
            deadline: about.deadline,
        };
        let mut permit = None;
        if held.is_zero() {
            let brief = about.deadline.keep(self.shared.brief.acquire()).await;
            permit = Some(brief.map_err(|passed| Trouble::new(Reach::Unsent, passed))?);
        }
        // Boxed: what waits for a permit, however many they are, is small.
        let answer = Box::pin(self.exchange(&ask)).await;
        drop(permit);
        answer
    }
}

impl<'a> About<'a> {
    pub(super) fn new(endpoint: &'a EndpointRef, options: &'a CallOptions) -> Self {
        let deadline = Deadline::after(options.timeout);
        Self { endpoint, options, deadline, repeats: deadline }
    }
}

fn sync_path(wait: Duration) -> String {
    format!("runsync?wait={}", wait.as_millis())
}

/// Checks a body, and makes it ready to be sent.
fn checked(endpoint: &EndpointRef, payload: &Payload, route: Route) -> Result<Parcel, RunpodError> {
    check_size(payload, route).map_err(|error| error.at_endpoint(endpoint.name()))?;
    Ok(Parcel::new(payload))
}

/// Checks a body before anything is sent.
///
/// # Errors
/// [`ErrorKind::PayloadTooLarge`] where it is over the route's limit, [`ErrorKind::Configuration`] where the setting is no number.
pub fn check_size(payload: &Payload, route: Route) -> Result<(), RunpodError> {
    limits::check(payload, route).map_err(|error| {
        let kind = match error {
            LimitError::Setting { .. } => ErrorKind::Configuration,
            LimitError::TooLarge { .. } => ErrorKind::PayloadTooLarge,
        };
        RunpodError::new(kind, error.to_string()).with_hint(error.hint())
    })
}
