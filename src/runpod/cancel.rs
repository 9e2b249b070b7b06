//! Calls whose job is cancelled when nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::job::{CallOptions, EndpointRef, JobState};
use super::jobs::About;
use super::parcel::Parcel;
use super::retry::Deadline;
use super::unhealthy::with_state;
use super::watched::Watched;

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
    /// The process waits for this at its end.
    _care: TaskTrackerToken,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let watched = self.client.watched(&self.endpoint);
        if watched.discard(std::mem::take(&mut self.job)) {
            let cancelling = cancel_all(self.client.clone(), self.endpoint.clone(), watched);
            self.runtime.spawn(self.client.shared.care.track_future(cancelling));
        }
    }
}

impl Client {
    /// Makes a call whose job is cancelled where it is dropped, or its deadline passes, or the
    /// process ends. The job's ID is read to the end of that, since without it nothing can be
    /// cancelled; a body that is still on its way is taken back.
    pub(super) async fn call_with_care(
        &self,
        about: &About<'_>,
        parcel: Parcel,
        begun: Instant,
    ) -> Result<JobState, RunpodError> {
        let ending = self.shared.ending.clone();
        if ending.is_cancelled() {
            return Err(ended());
        }
        let (reply, answer) = oneshot::channel();
        let runtime = Handle::current();
        let submission = submit(
            self.clone(),
            about.endpoint.clone(),
            parcel.clone(),
            about.options.clone(),
            about.deadline,
            reply,
        );
        runtime.spawn(self.shared.care.track_future(submission));
        let late = |mut passed: RunpodError| {
            let is_taken_back = parcel.give_up();
            passed.message.push_str(if is_taken_back {
                "; nothing was submitted"
            } else {
                "; the job may have been accepted, it is cancelled then"
            });
            passed.at_endpoint(about.endpoint.name())
        };
        let submitted = tokio::select! {
            submitted = about.deadline.keep(answer) => submitted.map_err(late)?,
            () = ending.cancelled() => return Err(ended()),
        };
        let (state, mut wanted) = submitted.map_err(|_| ended())??;
        let state = if state.status.is_terminal() {
            state
        } else {
            let ended = tokio::select! {
                ended = self.watch(about, &state.id, Some(begun), Some(state.status.clone())) => ended,
                () = ending.cancelled() => return Err(ended()),
            };
            match &ended {
                Err(error) if error.kind == ErrorKind::JobNotFound => wanted.is_over = true,
                _ => {}
            }
            ended.map_err(|error| {
                let mut error = with_state(error, &state);
                if error.kind == ErrorKind::DeadlineExceeded {
                    error.message.push_str("; it is cancelled");
                    error.hint =
                        Some("give it a longer timeout, or submit it by `run()` and wait later".to_owned());
                }
                error
            })?
        };
        wanted.is_over = true;
        Ok(state)
    }

    /// Ends the calls whose jobs go with them, and waits until those jobs are cancelled. No such call
    /// can be made from now on: the process is ending.
    pub async fn end(&self) {
        self.shared.ending.cancel();
        self.shared.care.close();
        self.shared.care.wait().await;
    }
}

fn ended() -> RunpodError {
    RunpodError::new(ErrorKind::Connection, "the program is ending: it waits for no more jobs")
}

type Submitted = Result<(JobState, Wanted), RunpodError>;

async fn submit(
    client: Client,
    endpoint: EndpointRef,
    parcel: Parcel,
    options: CallOptions,
    deadline: Deadline,
    mut reply: oneshot::Sender<Submitted>,
) {
    let about =
        About { endpoint: &endpoint, options: &options, deadline: Deadline::after(None), repeats: deadline };
    let wanted = |job: String, is_over: bool| Wanted {
        client: client.clone(),
        endpoint: endpoint.clone(),
        job,
        runtime: Handle::current(),
        is_over,
        _care: client.shared.care.token(),
    };
    let wait = client.shared.timing.cancellable_wait;
    let submitted = tokio::select! {
        biased;
        submitted = client.submit_first(&about, &parcel, wait) => submitted,
        accepted = parcel.taken_back(reply.closed()) => {
            drop(accepted.map(|job| wanted(job, false)));
            return;
        }
    };
    let submitted = submitted.map(|state| {
        let wanted = wanted(state.id.clone(), state.status.is_terminal());
        (state, wanted)
    });
    drop(parcel);
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
