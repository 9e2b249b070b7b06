//! Calls whose job is cancelled when nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::job::{CallOptions, EndpointRef, JobState};
use super::jobs::About;
use super::retry::Deadline;
use super::unhealthy::with_state;
use super::watched::Watched;
use crate::wire::payload::Payload;

/// Cancellations of an endpoint on their way at once.
const AT_ONCE: usize = 20;
/// How long one of them is tried.
const TRIED: Duration = Duration::from_mins(1);

/// A job that is cancelled when this is dropped.
struct Wanted {
    client: Client,
    endpoint: EndpointRef,
    job: String,
    runtime: Handle,
    is_over: bool,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let watched = self.client.watched(&self.endpoint);
        if watched.discard(std::mem::take(&mut self.job)) {
            self.runtime.spawn(cancel_all(self.client.clone(), self.endpoint.clone(), watched));
        }
    }
}

impl Client {
    /// Makes a call whose job is cancelled where it is dropped, or its deadline passes. The job's
    /// ID is read to the end of that, since without it nothing can be cancelled.
    pub(super) async fn call_with_care(
        &self,
        about: &About<'_>,
        payload: &Payload,
        begun: Instant,
    ) -> Result<JobState, RunpodError> {
        let (reply, answer) = oneshot::channel();
        let runtime = Handle::current();
        let submission = submit(
            self.clone(),
            about.endpoint.clone(),
            payload.clone(),
            about.options.clone(),
            about.deadline,
            reply,
        );
        runtime.spawn(submission);
        let late = |mut passed: RunpodError| {
            passed.message.push_str("; the job may have been accepted, it is cancelled then");
            passed.at_endpoint(about.endpoint.name())
        };
        let submitted = about.deadline.keep(answer).await.map_err(late)?;
        let ended = || RunpodError::new(ErrorKind::Connection, "the process stopped waiting for jobs");
        let (state, mut wanted) = submitted.map_err(|_| ended())??;
        let state = if state.status.is_terminal() {
            state
        } else {
            let ended = self.watch(about, &state.id, Some(begun)).await;
            if matches!(&ended, Err(error) if error.kind == ErrorKind::JobNotFound) {
                wanted.is_over = true;
            }
            ended.map_err(|error| with_state(error, &state))?
        };
        wanted.is_over = true;
        Ok(state)
    }
}

type Submitted = Result<(JobState, Wanted), RunpodError>;

async fn submit(
    client: Client,
    endpoint: EndpointRef,
    payload: Payload,
    options: CallOptions,
    deadline: Deadline,
    reply: oneshot::Sender<Submitted>,
) {
    let is_abandoned = || reply.is_closed();
    let about = About {
        endpoint: &endpoint,
        options: &options,
        deadline: Deadline::after(None),
        repeats: deadline,
        is_abandoned: Some(&is_abandoned),
    };
    let submitted = client.submit_first(&about, &payload, client.shared.timing.cancellable_wait).await;
    drop(payload);
    let submitted = submitted.map(|state| {
        let wanted = Wanted {
            client: client.clone(),
            endpoint: endpoint.clone(),
            job: state.id.clone(),
            runtime: Handle::current(),
            is_over: state.status.is_terminal(),
        };
        (state, wanted)
    });
    // Where nobody waits any more, this drops what was submitted.
    let _ = reply.send(submitted);
}

/// Cancels an endpoint's jobs that nobody wants, until there are none.
async fn cancel_all(client: Client, endpoint: EndpointRef, watched: Arc<Watched>) {
    let mut duty = watched.duty(false);
    let options = CallOptions { timeout: Some(TRIED), ..CallOptions::default() };
    let mut cancelling = FuturesUnordered::new();
    loop {
        let room = AT_ONCE - cancelling.len();
        for job in watched.take_unwanted(&mut duty, room, !cancelling.is_empty()) {
            let (client, endpoint, options) = (&client, &endpoint, &options);
            cancelling.push(async move {
                match client.cancel(endpoint, &job, options).await {
                    Ok(_) => tracing::debug!(job, "cancelled"),
                    Err(error) => tracing::warn!(job, %error, "a job that nobody waits for is not cancelled"),
                }
            });
        }
        if duty.is_done() {
            return;
        }
        cancelling.next().await;
    }
}
