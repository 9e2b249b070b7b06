//! Calls of live load-balanced endpoints: one `POST /execute`, no job (`wire.md` 2.1).

use bytes::Bytes;
use reqwest::Method;

use super::balanced::{WHOLE, WORKER, reach_of};
use super::client::Client;
use super::dial::send;
use super::error::{ErrorKind, RunpodError};
use super::job::{CallOptions, JobState, Output, Status};
use super::jobs::check_size;
use super::refusal::unanswered;
use super::retry::{Deadline, Reach, Repeat, Trouble, repeat};
use crate::wire::limits::Route;
use crate::wire::payload::Payload;

const HINT: &str = "only a live load-balanced endpoint takes functions; a deployed one has its own routes";

impl Client {
    /// Sends a function to a live load-balanced endpoint and returns what its worker answers, as the
    /// output of a state without a job.
    ///
    /// Where no worker is ready, Runpod holds the request for two minutes and then refuses it; it is
    /// sent again then, as often as `options.timeout` allows, by default within 8 minutes. It is
    /// never sent again where a worker may have begun. Dropping the call ends its connection, by
    /// which the worker learns that nobody waits.
    ///
    /// # Errors
    /// By [`ErrorKind`], where there is no answer of a worker.
    pub async fn execute(
        &self,
        endpoint: &str,
        payload: &Payload,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        check_size(payload, Route::Balanced).map_err(|error| error.at_endpoint(endpoint))?;
        let deadline = Deadline::after(Some(options.timeout.unwrap_or(WHOLE)));
        let sent = repeat(Repeat::IfNotBegun, &self.shared.timing, deadline, || async {
            let executed = deadline.keep(self.execute_once(endpoint, payload, options, deadline)).await;
            executed.map_err(|passed| Trouble::new(Reach::Unsure, passed))?
        });
        sent.await.map_err(|Trouble { mut error, reach }| {
            if reach == Reach::Unsure && error.kind != ErrorKind::Malformed {
                error.message.push_str("; the call may have begun, so it was not sent again");
            }
            error.at_endpoint(endpoint)
        })
    }

    async fn execute_once(
        &self,
        endpoint: &str,
        payload: &Payload,
        options: &CallOptions,
        deadline: Deadline,
    ) -> Result<JobState, Trouble> {
        let wrong = |error: RunpodError| Trouble::new(Reach::Answered, error);
        let host = self.urls.balanced(endpoint).map_err(wrong)?;
        let url = format!("{}/execute", host.base);
        let mut sending = self.prepare(Method::POST, &url).map_err(wrong)?;
        if let Some(host) = host.host {
            sending = sending.header("Host", host);
        }
        let about = |mut trouble: Trouble| {
            trouble.error.exchange.request = Some(format!("POST {url}"));
            trouble
        };
        let sending =
            sending.header("Content-Type", "application/json").body(reqwest::Body::wrap(payload.body()));
        let response = send(sending).await.map_err(|error| about(unanswered(&error)))?;
        if !response.status().is_success() {
            let (status, is_of_worker) = (response.status(), response.headers().contains_key(WORKER));
            let mut trouble = self.refused(false, response).await;
            trouble.reach = Reach::Answered;
            if !is_of_worker {
                trouble.reach = reach_of(status.as_u16(), &trouble.error).unwrap_or(Reach::Answered);
            } else if matches!(status.as_u16(), 404 | 405) {
                trouble.error.kind = ErrorKind::InvalidRequest;
                "this endpoint's workers run no functions that are sent to them"
                    .clone_into(&mut trouble.error.message);
                trouble.error.hint = Some(HINT.to_owned());
            }
            return Err(about(trouble));
        }
        let answer = self.read(response, deadline).await.map_err(about)?;
        let request_id = answer.request_id.clone();
        let broke = |error: RunpodError| about(Trouble::new(Reach::Unsure, error));
        let mut state = match (&options.large, &answer.rest) {
            (Some(large), Some(_)) => large.read(answer.pieces()).await.map_err(broke)?,
            _ => bare(answer.whole().await.map_err(about)?),
        };
        state.request_id = request_id;
        Ok(state)
    }
}

/// A worker's answer as the state of a job that has ended.
pub(crate) fn bare(answer: Bytes) -> JobState {
    JobState {
        id: String::new(),
        status: Status::Completed,
        delay_ms: None,
        execution_ms: None,
        worker: None,
        output: Output::Json(answer.clone()),
        error: None,
        retries: None,
        request_id: None,
        raw: answer,
    }
}
