//! Items of a job while it runs (`/stream`).

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::Method;
use tokio::time::{Instant, sleep};

use super::answer::items;
use super::client::Client;
use super::error::RunpodError;
use super::job::{CallOptions, EndpointRef, Status};
use super::jobs::About;
use super::retry::{Reach, Repeat, Trouble, repeat};

/// How long a server may hold a request until there is an item; the exact limit is not documented.
const HELD: Duration = Duration::from_mins(1);
/// An answer without items that comes sooner than this was not held.
const SOON: Duration = Duration::from_millis(100);

/// Where a stream is.
enum Place {
    Running(std::vec::IntoIter<Bytes>, Option<Status>),
    Over,
}

impl Client {
    /// Returns a job's items as JSON texts, as they come. Where the job does not end `COMPLETED`,
    /// the last thing is an error that says how it ended.
    ///
    /// Each item is given once by the server: where a connection breaks while it answers, items may
    /// be lost, and the stream ends with an error instead of going on with a gap.
    pub fn stream(
        &self,
        endpoint: EndpointRef,
        job: String,
        options: CallOptions,
    ) -> impl Stream<Item = Result<Bytes, RunpodError>> + Send + use<> {
        let client = self.clone();
        let first = Place::Running(Vec::new().into_iter(), None);
        let deadline = About::new(&endpoint, &options).deadline;
        stream::unfold((client, endpoint, job, options, first), move |state| async move {
            let (client, endpoint, job, options, place) = state;
            let Place::Running(mut ready, mut ended) = place else { return None };
            let about = About { deadline, repeats: deadline, ..About::new(&endpoint, &options) };
            loop {
                if let Some(item) = ready.next() {
                    let place = Place::Running(ready, ended);
                    return Some((Ok(item), (client, endpoint, job, options, place)));
                }
                if let Some(status) = ended {
                    if status == Status::Completed {
                        return None;
                    }
                    let error = client.how_it_ended(&about, &job, status).await;
                    return Some((Err(error), (client, endpoint, job, options, Place::Over)));
                }
                let next = client.next_items(&about, &job);
                let (status, items) = match client.unless_unhealthy(&endpoint, Some(&job), next).await {
                    Ok(found) => found,
                    Err(error) => return Some((Err(error), (client, endpoint, job, options, Place::Over))),
                };
                if items.is_empty() {
                    ended = Some(status);
                }
                ready = items.into_iter();
            }
        })
    }

    /// Takes the items that a job has yielded since they were last taken, as JSON texts, and its
    /// status; waits for one as long as the server does. What is taken and dropped is lost.
    ///
    /// # Errors
    /// By [`super::ErrorKind`].
    pub async fn items(
        &self,
        endpoint: &EndpointRef,
        job: &str,
        options: &CallOptions,
    ) -> Result<(Status, Vec<Bytes>), RunpodError> {
        self.ask_for_items(&About::new(endpoint, options), job).await
    }

    /// Asks until there are items, or the end without any.
    async fn next_items(&self, about: &About<'_>, job: &str) -> Result<(Status, Vec<Bytes>), RunpodError> {
        loop {
            let asked = Instant::now();
            let (status, items) = self.ask_for_items(about, job).await?;
            if !items.is_empty() || status.is_terminal() {
                return Ok((status, items));
            }
            if asked.elapsed() < SOON {
                sleep(SOON).await;
            }
        }
    }

    async fn ask_for_items(&self, about: &About<'_>, job: &str) -> Result<(Status, Vec<Bytes>), RunpodError> {
        let path = format!("stream/{}", urlencoding::encode(job));
        let timing = &self.shared.timing;
        let asked = repeat(Repeat::IfNotBegun, timing, about.deadline, || async {
            let answer = self.answer(about, &Method::GET, &path, Some(job), None, HELD).await;
            let answer = answer.map_err(|trouble| {
                // A server that says that it failed has given no items.
                let has_answered = trouble.error.exchange.status.is_some() && trouble.reach == Reach::Unsure;
                if has_answered { Trouble::new(Reach::Unsent, trouble.error) } else { trouble }
            })?;
            let request_id = answer.request_id.clone();
            let body = answer.whole().await?;
            items(&body).map_err(|mut error| {
                error.exchange.request_id = request_id;
                Trouble::new(Reach::Unsure, error)
            })
        });
        asked.await.map_err(|Trouble { mut error, reach }| {
            if reach == Reach::Unsure {
                error.message.push_str("; items may be lost");
            }
            error.at_endpoint(about.endpoint.name()).about_job(job)
        })
    }

    async fn how_it_ended(&self, about: &About<'_>, job: &str, status: Status) -> RunpodError {
        // The stream does not tell the error.
        let left = about.deadline.left();
        let options =
            CallOptions { timeout: left, headers: about.options.headers.clone(), ..CallOptions::default() };
        let state = match self.status(about.endpoint, job, &options).await {
            Ok(state) if state.status.is_terminal() => state,
            _ => {
                let text = serde_json::json!({ "id": job, "status": status.as_str() }).to_string();
                match super::answer::state(text.into(), Some(job)) {
                    Ok(state) => state,
                    Err(error) => return error,
                }
            }
        };
        match state.into_result() {
            Err(error) => error.at_endpoint(about.endpoint.name()),
            Ok(_) => super::answer::malformed(b"", "its status changed after its end"),
        }
    }
}
