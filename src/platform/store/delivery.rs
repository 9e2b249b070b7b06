//! A webhook that is still to be called.

use bytes::Bytes;

use crate::platform::clock::Moment;
use crate::platform::record::JobRecord;
use crate::wire::job::status_json;

/// A finished job that its webhook is still to be told of.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// ID, the same for every attempt and after a restart.
    pub id: String,
    /// Endpoint.
    pub endpoint: String,
    /// Job ID.
    pub job: String,
    /// Where it goes.
    pub url: String,
    /// The job's status object (`platform.md` 1.8).
    pub body: Bytes,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried next.
    pub due: Moment,
}

impl std::fmt::Debug for Delivery {
    // The URL may carry a secret, and the body is the user's.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("id", &self.id)
            .field("job", &self.job)
            .field("attempts", &self.attempts)
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// The delivery that a job asks for by the state it has reached.
    pub(in crate::platform) fn of(job: &JobRecord, now: Moment) -> Option<Self> {
        let url = job.request.webhook.clone().filter(|_| job.status.is_terminal())?;
        Some(Self {
            id: uuid::Uuid::now_v7().to_string(),
            endpoint: job.endpoint.clone(),
            job: job.id.clone(),
            url,
            body: status_json(&job.view()).into(),
            attempts: 0,
            due: now,
        })
    }
}
