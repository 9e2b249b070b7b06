//! Jobs of queue-based endpoints: submit, wait, look, cancel (`platform.md` 1).

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::job::{CallOptions, EndpointRef, JobState, Output, Status};
use crate::wire::payload::Payload;

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
        self.job(Method::POST, endpoint, "run", Some(payload), options).await
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
        self.job(Method::GET, endpoint, &format!("status/{job}"), None, options).await
    }

    async fn job(
        &self,
        method: Method,
        endpoint: &EndpointRef,
        path: &str,
        payload: Option<&Payload>,
        options: &CallOptions,
    ) -> Result<JobState, RunpodError> {
        let id = match endpoint {
            EndpointRef::Id(id) => id.as_str(),
            EndpointRef::Deployed { .. } => "flash",
        };
        let mut request = self.http.request(method, format!("{}/{id}/{path}", self.urls.endpoints));
        if let EndpointRef::Deployed { app, environment, endpoint } = endpoint {
            request = request
                .header("X-Flash-App", app)
                .header("X-Flash-Environment", environment)
                .header("X-Flash-Endpoint", endpoint);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.reveal());
        }
        if let Some(payload) = payload {
            request =
                request.header("Content-Type", "application/json").body(reqwest::Body::wrap(payload.body()));
        }
        for (name, value) in &options.headers {
            request = request.header(name, value);
        }
        let broken = |error: reqwest::Error| RunpodError::new(ErrorKind::Connection, error.to_string());
        let answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(broken)?;
        if !status.is_success() {
            return Err(RunpodError::new(ErrorKind::Unavailable, format!("Runpod answered {status}")));
        }
        state(body)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    id: String,
    status: String,
    delay_time: Option<i64>,
    execution_time: Option<i64>,
    worker_id: Option<String>,
    output: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    retries: Option<i64>,
}

/// Reads the answer to a request about a job.
pub(crate) fn state(body: Bytes) -> Result<JobState, RunpodError> {
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|error| RunpodError::new(ErrorKind::Malformed, error.to_string()))?;
    Ok(JobState {
        id: answer.id,
        status: Status::parse(&answer.status),
        delay_ms: answer.delay_time,
        execution_ms: answer.execution_time,
        worker: answer.worker_id,
        output: answer.output.map_or(Output::None, |output| Output::Json(output.get().to_owned().into())),
        error: answer.error,
        retries: answer.retries,
        request_id: None,
        raw: body,
    })
}
