//! [`Backend`] for the platform: calls and requests that wait here, and jobs that are stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::error::StoreError;
use super::nested::check_chain;
use super::queue::WorkKind;
use super::record::JobRecord;
use super::supervisor::{Supervisor, stopping_report};
use super::{Platform, balance, record};
use crate::endpoint::EndpointKind;
use crate::wire::BoxFuture;
use crate::wire::backend::{Backend, Call, Health, HttpReply, HttpRequest, JobRequest, JobView, Reply};
use crate::wire::message::{ErrorReport, Failure};

/// The report for a job that is not accepted because it cannot be stored.
fn not_stored(error: &StoreError) -> ErrorReport {
    let failure = match error {
        StoreError::Full => Failure::StorageFull,
        _ => Failure::Internal,
    };
    ErrorReport::new(failure, "StoreError", format!("the job was not stored: {error}"))
}

/// Cancels a call whose future is dropped.
struct Abandon(Option<(Arc<Supervisor>, u64)>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some((supervisor, key)) = self.0.take() {
            supervisor.abandon(key);
        }
    }
}

/// Queues work and waits for its result.
async fn ask<T>(
    supervisor: Arc<Supervisor>,
    work: impl FnOnce(oneshot::Sender<Result<T, ErrorReport>>) -> WorkKind,
) -> Result<T, ErrorReport> {
    let (reply, answer) = oneshot::channel();
    let key = supervisor.enqueue(work(reply));
    let name = supervisor.name.clone();
    let mut guard = Abandon(Some((supervisor, key)));
    let result = answer.await;
    guard.0 = None;
    match result {
        Ok(result) => result,
        Err(_) => Err(stopping_report(&name, false)),
    }
}

impl Backend for Platform {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, ErrorReport>> {
        Box::pin(async move {
            let supervisor = self.known(&call.head.endpoint).map_err(|report| *report)?;
            check_chain(&call.head.chain, &call.head.endpoint).map_err(|report| *report)?;
            ask(supervisor, |reply| WorkKind::Call { call: Box::new(call), reply }).await
        })
    }

    fn request<'a>(
        &'a self,
        endpoint: &'a str,
        request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpReply, ErrorReport>> {
        Box::pin(async move {
            let supervisor = self.known(endpoint).map_err(|report| *report)?;
            if supervisor.lock().spec.kind != EndpointKind::LoadBalanced {
                let text = format!("endpoint `{endpoint}` has a queue, not routes");
                return Err(ErrorReport::new(Failure::NotFound, "NotFoundError", text));
            }
            let affinity = balance::affinity_of(&request.head);
            let give_up = supervisor.patience(&affinity);
            let request = Box::new(request);
            ask(supervisor, |reply| WorkKind::Http { request, reply, affinity, give_up }).await
        })
    }

    fn submit<'a>(
        &'a self,
        endpoint: &'a str,
        job: JobRequest,
    ) -> BoxFuture<'a, Result<JobView, ErrorReport>> {
        Box::pin(async move {
            let supervisor = self.known(endpoint).map_err(|report| *report)?;
            if supervisor.lock().spec.kind == EndpointKind::LoadBalanced {
                let text = format!("endpoint `{endpoint}` is load-balanced: it has routes, not a queue");
                return Err(ErrorReport::new(Failure::NotFound, "NotFoundError", text));
            }
            if self.shared.is_shutting_down() {
                return Err(stopping_report(endpoint, false));
            }
            let id = record::new_id(job.sync);
            let low_priority = job.low_priority;
            let record = JobRecord::new(id.clone(), endpoint.to_owned(), job, supervisor.now());
            let accepted = record.view();
            let (store, queue) = (Arc::clone(&self.shared.options.store), Arc::clone(&supervisor));
            let work = WorkKind::Job { id: id.clone(), low_priority };
            // A client that hangs up now must not leave a job that is stored and not queued.
            let accepting = self.shared.handle.spawn(async move {
                store.accept(record).await?;
                queue.enqueue(work);
                Ok(())
            });
            let closed = |_| Err(StoreError::Failed { reason: "the server stops".to_owned() });
            accepting.await.unwrap_or_else(closed).map_err(|error| not_stored(&error))?;
            // A worker may have it already; that is told once it is stored.
            Ok(supervisor.waiting(accepted))
        })
    }

    fn wait<'a>(&'a self, endpoint: &'a str, job: &'a str, wait: Duration) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move {
            let supervisor = self.endpoint(endpoint)?;
            let clock = &self.shared.options.clock;
            let mut end = clock.sleep_until(clock.now().saturating_add(wait));
            let view = loop {
                let (view, changed) = supervisor.watch(job)?;
                let Some(changed) = changed else { break view };
                tokio::select! {
                    () = changed => {}
                    () = &mut end => break supervisor.status(job)?,
                }
            };
            supervisor.settled().await;
            Some(view)
        })
    }

    fn status<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move {
            let supervisor = self.endpoint(endpoint)?;
            let view = supervisor.status(job);
            supervisor.settled().await;
            view
        })
    }

    fn cancel<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        Box::pin(async move {
            let supervisor = self.endpoint(endpoint)?;
            let view = supervisor.cancel(job);
            supervisor.settled().await;
            view
        })
    }

    fn retry<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Option<JobView>, ErrorReport>> {
        Box::pin(async move {
            let Some(supervisor) = self.endpoint(endpoint) else { return Ok(None) };
            let view = supervisor.retry(job).map_err(|report| *report);
            supervisor.settled().await;
            view
        })
    }

    fn purge<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move {
            let supervisor = self.endpoint(endpoint)?;
            let ended = supervisor.purge();
            supervisor.settled().await;
            Some(ended)
        })
    }

    fn recent<'a>(&'a self, endpoint: &'a str, limit: usize) -> BoxFuture<'a, Option<Vec<JobView>>> {
        Box::pin(async move {
            let supervisor = self.endpoint(endpoint)?;
            let views = supervisor.recent(limit);
            supervisor.settled().await;
            Some(views)
        })
    }

    fn stream<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Option<(JobView, Vec<Bytes>)>> {
        Box::pin(async move {
            let supervisor = self.endpoint(endpoint)?;
            let clock = &self.shared.options.clock;
            let mut end = clock.sleep_until(clock.now().saturating_add(wait));
            let answer = loop {
                let (view, changed) = supervisor.watch(job)?;
                let items = self.shared.options.store.take_items(endpoint, job).ok()?;
                let Some(changed) = changed else { break (view, items) };
                if !items.is_empty() {
                    break (view, items);
                }
                tokio::select! {
                    () = changed => {}
                    () = &mut end => break (supervisor.status(job)?, Vec::new()),
                }
            };
            supervisor.settled().await;
            Some(answer)
        })
    }

    fn health<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<Health>> {
        Box::pin(async move { Some(self.endpoint(endpoint)?.health()) })
    }
}
