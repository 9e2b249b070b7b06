//! The worker API of queue-based endpoints, as `runpod.serverless.start` uses it (`platform.md` 2).
//!
//! Bodies are JSON whatever their Content-Type says. Official workers ask again at once after any
//! answer but 429, so nothing is refused quickly and no request for work is answered early.

mod delivery;
mod result;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};

use self::delivery::deliver;
use self::result::{Sent, read_item, read_result};
use self::worker::KnownWorker;
use super::Platform;
use super::client_api::body::read_body;
use super::client_api::refusal::Refusal;
use super::polling::{News, NotHeld, Poll};
use super::polls::{Answer, Wants};
use super::record::Change;
use crate::wire::message::{ErrorReport, Failure};

/// How long a request for work waits: official workers give up after 90 s.
const HOLD: Duration = Duration::from_secs(25);
/// The most jobs that are handed out at once.
const LARGEST_BATCH: usize = 100;

/// Builds the router.
pub(super) fn router(platform: Arc<Platform>) -> Router {
    Router::new()
        .route("/v2/{endpoint}/job-take/{worker}", only(get(take)))
        .route("/v2/{endpoint}/job-take-batch/{worker}", only(get(take_batch)))
        .route("/v2/{endpoint}/job-stop/{worker}", only(get(stops)))
        .route("/v2/{endpoint}/job-done/{worker}/{job}", only(post(done)))
        .route("/v2/{endpoint}/job-stream/{worker}/{job}", only(post(stream)))
        .route("/v2/{endpoint}/ping/{worker}", only(get(ping)))
        .with_state(platform)
}

fn only(route: MethodRouter<Arc<Platform>>) -> MethodRouter<Arc<Platform>> {
    route.fallback(wrong_method)
}

async fn wrong_method(_worker: KnownWorker) -> Refusal {
    Refusal::from_body(StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "method not allowed" }))
}

async fn take(worker: KnownWorker) -> Response {
    wait(&worker, Wants::Jobs(1), false).await
}

async fn take_batch(worker: KnownWorker) -> Response {
    let asked = worker.parameter("batch_size").and_then(|size| size.parse::<usize>().ok()).unwrap_or(1);
    wait(&worker, Wants::Jobs(asked.clamp(1, LARGEST_BATCH)), true).await
}

async fn stops(worker: KnownWorker) -> Response {
    wait(&worker, Wants::Stops, false).await
}

/// Waits for what a worker asks for.
async fn wait(worker: &KnownWorker, wants: Wants, is_batch: bool) -> Response {
    let holds_jobs = worker.parameter("job_in_progress").is_some_and(|flag| flag != "0");
    let Some(mut poll) = worker.supervisor.open_poll(worker.number, wants, holds_jobs) else {
        return no_content();
    };
    let clock = &worker.supervisor.shared.options.clock;
    let end = clock.sleep_until(clock.now() + poll.hold.unwrap_or(HOLD));
    let answer = tokio::select! {
        biased;
        answer = poll.answered() => answer,
        () = end => poll.give_up(),
    };
    answer_with(worker, poll, answer, is_batch).await
}

async fn answer_with(worker: &KnownWorker, poll: Poll, answer: Answer, is_batch: bool) -> Response {
    drop(poll);
    match answer {
        Answer::Nothing => no_content(),
        // As Runpod answers one whose state is frozen (`platform.md` 4.3).
        Answer::Asleep => Refusal::bad_request("the worker sleeps").into_response(),
        answer => {
            // Before the wait: a client that leaves meanwhile gives back what it was to get.
            let response = deliver(Arc::clone(&worker.supervisor), worker.number, answer, is_batch);
            // A start that is not stored would not count when this process is killed.
            worker.supervisor.settled().await;
            response
        }
    }
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn done(worker: KnownWorker, headers: HeaderMap, body: Body) -> Result<Json<Value>, Refusal> {
    let options = &worker.supervisor.shared.options;
    let job = worker.part("job");
    let body = match read_body(&headers, body, options.result_limit_mib, options.clock.as_ref()).await {
        Ok(body) => body,
        // It ended while it sent this, or sends it again: its end or the next try decides.
        Err(refusal) if refusal.is_unheard() => return Err(refusal),
        Err(refusal) => {
            // The worker drops a result that is refused: the job ends here, not by a time-out.
            let text = format!(
                "the result did not arrive: it may be {} MiB large at most",
                options.result_limit_mib
            );
            let change = Change::Failed(Box::new(ErrorReport::new(Failure::Raised, "", text)), None);
            let _ = worker.supervisor.job_news(worker.number, job, News::End(change, false));
            return Err(refusal);
        }
    };
    match read_result(&body).map_err(Refusal::bad_request)? {
        Sent::Progress(update) => {
            // It may come after the end (`platform.md` 9, 3), and changes nothing then.
            let _ = worker.supervisor.job_news(worker.number, job, News::Progress(update));
        }
        Sent::End { change, stop_pod } => {
            worker.supervisor.job_news(worker.number, job, News::End(change, stop_pod)).map_err(not_held)?;
        }
    }
    // What the worker is told to be done must outlive a crash of this machine.
    options.store.settled().await;
    Ok(Json(json!({})))
}

async fn stream(worker: KnownWorker, headers: HeaderMap, body: Body) -> Result<Json<Value>, Refusal> {
    let options = &worker.supervisor.shared.options;
    let body = read_body(&headers, body, options.result_limit_mib, options.clock.as_ref()).await?;
    let item = read_item(&body).map_err(Refusal::bad_request)?;
    let news = News::Item(item);
    worker.supervisor.job_news(worker.number, worker.part("job"), news).map_err(not_held)?;
    Ok(Json(json!({})))
}

fn not_held(_: NotHeld) -> Refusal {
    Refusal::bad_request("the worker does not hold this job, or no longer")
}

async fn ping(worker: KnownWorker) -> Json<Value> {
    if worker.parameter("status") == Some("unhealthy") {
        let part = |name| worker.parameter(name).filter(|text| !text.is_empty());
        let check = part("check").map_or_else(String::new, |check| format!(" `{check}`"));
        let reason = part("reason").map_or_else(String::new, |reason| format!(": {reason}"));
        worker.supervisor.worker_unhealthy(worker.number, format!("failed its check{check}{reason}"));
    } else {
        let jobs: Vec<&str> = worker.parameter("job_id").unwrap_or_default().split(',').collect();
        worker.supervisor.ping(worker.number, &jobs);
    }
    Json(json!({}))
}
