//! Sends each endpoint's calls to where it runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::runpod::backend::LiveBackend;
use crate::wire::BoxFuture;
use crate::wire::backend::{Backend, Call, Health, HttpReply, HttpRequest, JobRequest, JobView, Reply};
use crate::wire::message::ErrorReport;

/// Two backends as one.
pub(super) struct Router {
    pub(super) here: Arc<dyn Backend>,
    pub(super) cloud: Option<Arc<LiveBackend>>,
}

impl Router {
    fn of(&self, endpoint: &str) -> &dyn Backend {
        match &self.cloud {
            Some(cloud) if cloud.has(endpoint) => cloud.as_ref(),
            _ => self.here.as_ref(),
        }
    }
}

impl Backend for Router {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Reply, ErrorReport>> {
        self.of(&call.head.endpoint).call(call)
    }

    fn request<'a>(
        &'a self,
        endpoint: &'a str,
        request: HttpRequest,
    ) -> BoxFuture<'a, Result<HttpReply, ErrorReport>> {
        self.of(endpoint).request(endpoint, request)
    }

    fn submit<'a>(
        &'a self,
        endpoint: &'a str,
        job: JobRequest,
    ) -> BoxFuture<'a, Result<JobView, ErrorReport>> {
        self.of(endpoint).submit(endpoint, job)
    }

    fn wait<'a>(&'a self, endpoint: &'a str, job: &'a str, wait: Duration) -> BoxFuture<'a, Option<JobView>> {
        self.of(endpoint).wait(endpoint, job, wait)
    }

    fn status<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        self.of(endpoint).status(endpoint, job)
    }

    fn cancel<'a>(&'a self, endpoint: &'a str, job: &'a str) -> BoxFuture<'a, Option<JobView>> {
        self.of(endpoint).cancel(endpoint, job)
    }

    fn retry<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Option<JobView>, ErrorReport>> {
        self.of(endpoint).retry(endpoint, job)
    }

    fn purge<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<u64>> {
        self.of(endpoint).purge(endpoint)
    }

    fn recent<'a>(&'a self, endpoint: &'a str, limit: usize) -> BoxFuture<'a, Option<Vec<JobView>>> {
        self.of(endpoint).recent(endpoint, limit)
    }

    fn stream<'a>(
        &'a self,
        endpoint: &'a str,
        job: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Option<(JobView, Vec<Bytes>)>> {
        self.of(endpoint).stream(endpoint, job, wait)
    }

    fn health<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Option<Health>> {
        self.of(endpoint).health(endpoint)
    }
}
