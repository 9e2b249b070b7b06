//! Tests of the stores: both do the same, and the durable one survives.

mod folder;
mod full;
mod killed;
mod measure;
mod same;

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::endpoint::JobStatus;
use crate::platform::store::folder::open;
use crate::wire::backend::JobRequest;

fn request(input: &str) -> JobRequest {
    JobRequest {
        callable: String::new(),
        input: Bytes::copy_from_slice(input.as_bytes()),
        sync: false,
        execution_timeout: None,
        ttl: None,
        low_priority: false,
        webhook: None,
        s3_config: None,
    }
}

fn record(id: &str, request: JobRequest, now: Moment) -> JobRecord {
    JobRecord::new(id.to_owned(), "f".to_owned(), request, now)
}

fn started() -> Change {
    Change::Started { worker: "w1".to_owned() }
}

fn seconds(count: u64) -> Moment {
    Duration::from_secs(count)
}
