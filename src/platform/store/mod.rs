//! Where jobs are kept: a trait, the store in memory, and the one on disk.
//!
//! Nothing else knows which store it is. Reads and changes are quick and synchronous; accepting is
//! a future, so that a durable store can group commits: accepted means stored. A change counts for
//! the next call at once, and must be shown to nobody outside before [`JobStore::settled`].

mod delivery;
mod documents;
mod folder;
mod live;
mod memory;
mod recover;
mod rows;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

use bytes::Bytes;
use tokio::sync::watch;

use super::clock::Moment;
use super::error::StoreError;
use super::record::{Change, JobRecord};
use crate::wire::BoxFuture;
pub use delivery::Delivery;
pub use documents::{DocumentStore, MemoryDocuments};
pub use folder::{FolderLock, StateFolder, open};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// Jobs that are forgotten at a time, so that many do not hold up everything else.
const EXPIRED: usize = 500;

/// A job that waits, as the queue needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingJob {
    /// Job ID.
    pub id: String,
    /// Whether it asks for no further worker.
    pub low_priority: bool,
    /// When it was accepted.
    pub accepted: Moment,
}

/// How many jobs of an endpoint wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// All.
    pub all: usize,
    /// Those that ask for a worker (low-priority ones do not).
    pub asking: usize,
}

/// What happened to the jobs of an endpoint since it was first served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Finished with an output.
    pub completed: u64,
    /// Failed or timed out.
    pub failed: u64,
    /// Went back to the queue because their workers were lost.
    pub retried: u64,
}

impl Counts {
    /// Counts a change that brought a job to where it is.
    pub(in crate::platform) fn add(&mut self, change: &Change) {
        match change {
            Change::Completed(_) => self.completed += 1,
            Change::Failed(..) | Change::TimedOut(_) => self.failed += 1,
            Change::Requeued => self.retried += 1,
            Change::Started { .. }
            | Change::HandedBack
            | Change::Progress(_)
            | Change::Cancelled
            | Change::Retried => {}
        }
    }
}

/// Keeps jobs.
pub trait JobStore: Send + Sync + 'static {
    /// Returns whether jobs outlive the process.
    fn is_durable(&self) -> bool;

    /// Stores a new job; when this completes, it is accepted.
    fn accept(&self, job: JobRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Completes once every change made before it is stored: nothing else may be shown to clients.
    fn settled(&self) -> BoxFuture<'static, ()>;

    /// Returns a job with its input, `None` when there is none (any more).
    fn get(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError>;

    /// Returns a job, perhaps without its input: for all who do not hand it to a worker.
    fn look(&self, endpoint: &str, id: &str) -> Result<Option<JobRecord>, StoreError>;

    /// Applies a change and returns the job after it, perhaps without its input. A job that ends
    /// and has a webhook gets its [`Delivery`] with the same stroke.
    fn change(&self, endpoint: &str, id: &str, change: Change, now: Moment) -> Result<JobRecord, StoreError>;

    /// Applies a change without output (a failure, or the cancelling) to all waiting jobs of an
    /// endpoint and returns how many there were.
    fn end_waiting(&self, endpoint: &str, change: &Change, now: Moment) -> Result<u64, StoreError>;

    /// Adds an item that the job yielded (JSON text).
    fn push_item(&self, endpoint: &str, id: &str, item: Bytes) -> Result<(), StoreError>;

    /// Takes the items that were not taken yet.
    fn take_items(&self, endpoint: &str, id: &str) -> Result<Vec<Bytes>, StoreError>;

    /// Lets a job be forgotten at `moment`, unless it would be sooner anyway.
    fn shorten_life(&self, endpoint: &str, id: &str, moment: Moment) -> Result<(), StoreError>;

    /// Returns the first `most` waiting jobs in the order they are to run.
    fn waiting(&self, endpoint: &str, most: usize) -> Result<Vec<WaitingJob>, StoreError>;

    /// Returns how many jobs wait; quick however many there are.
    fn depth(&self, endpoint: &str) -> Depth;

    /// Returns what happened to the endpoint's jobs so far.
    fn counts(&self, endpoint: &str) -> Counts;

    /// Returns the jobs that were accepted last, the newest first, perhaps without their inputs
    /// and outputs.
    fn recent(&self, endpoint: &str, most: usize) -> Result<Vec<JobRecord>, StoreError>;

    /// Forgets some jobs whose time has come and returns them, perhaps none; there may be more as
    /// long as [`Self::next_expiry`] is not later than `now`.
    fn expire(&self, endpoint: &str, now: Moment) -> Result<Vec<JobRecord>, StoreError>;

    /// Returns when the next job may have to be forgotten.
    fn next_expiry(&self, endpoint: &str) -> Option<Moment>;

    /// Returns stored deliveries that are due at `now`, the oldest first, `most` at most.
    fn deliveries(&self, now: Moment, most: usize) -> Result<Vec<Delivery>, StoreError>;

    /// Returns when the next delivery is due.
    fn next_delivery(&self) -> Option<Moment>;

    /// Changes whenever there is a new delivery.
    fn delivery_news(&self) -> watch::Receiver<u64>;

    /// A delivery was tried `attempts` times in vain; it is due again at `due`.
    fn delivery_failed(&self, id: &str, attempts: u32, due: Moment) -> Result<(), StoreError>;

    /// A delivery has arrived, or is given up.
    fn delivery_done(&self, id: &str) -> Result<(), StoreError>;
}
