//! What waits for a worker, in order, and what runs on one.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::balance::{Affinity, Granted};
use super::clock::Moment;
use super::store::{JobStore, WaitingJob};
use crate::wire::backend::{Call, HttpReply, HttpRequest, Reply};
use crate::wire::message::ErrorReport;

/// Where a call's result goes.
pub(super) type ReplySender<T> = oneshot::Sender<Result<T, ErrorReport>>;

/// Something a worker is to do.
#[derive(Debug)]
pub(super) struct Work {
    /// Call ID on the wire; rises in the order of arrival.
    pub(super) key: u64,
    /// Since when it waits.
    pub(super) since: Moment,
    pub(super) kind: WorkKind,
}

#[derive(Debug)]
pub(super) enum WorkKind {
    /// A stored job.
    Job { id: String, low_priority: bool },
    /// A call of this process tree.
    Call { call: Box<Call>, reply: ReplySender<Reply> },
    /// A request to a load-balanced endpoint; it waits until `give_up` at most.
    Http { request: Box<HttpRequest>, reply: ReplySender<HttpReply>, affinity: Affinity, give_up: Moment },
    /// A place on a worker that listens, for a request that does not go through here.
    Lease { reply: ReplySender<Granted>, affinity: Affinity, give_up: Moment },
}

impl Work {
    /// Whether it asks for more workers.
    fn is_asking(&self) -> bool {
        !matches!(self.kind, WorkKind::Job { low_priority: true, .. })
    }
}

/// Stored jobs that the queue holds at most; the others wait in the store alone.
const WINDOW: usize = 1000;
/// The store is read again when the queue holds fewer stored jobs than this.
const LOW: usize = 250;

/// Work that waits, first in, first out.
///
/// Of the stored jobs it holds only the first ones, however many wait: the store knows their order
/// and their number.
pub(super) struct Queue {
    endpoint: String,
    store: Arc<dyn JobStore>,
    items: VecDeque<Work>,
    /// The stored jobs among them.
    jobs: HashSet<String>,
    /// Items that ask for a worker, the longest waiting first.
    asking: BTreeSet<(Moment, u64)>,
    /// Calls and requests among those.
    asking_calls: usize,
    /// Whether no stored job waits but those that are here.
    is_complete: bool,
    /// Whether stored jobs are kept for the next start.
    is_held: bool,
    next_key: u64,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("endpoint", &self.endpoint)
            .field("items", &self.items.len())
            .field("jobs", &self.jobs.len())
            .field("is_complete", &self.is_complete)
            .field("oldest_asking", &self.oldest_asking())
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// The queue of an endpoint, with the jobs that the store holds.
    pub(super) fn new(endpoint: String, store: Arc<dyn JobStore>) -> Self {
        let mut queue = Self {
            endpoint,
            store,
            items: VecDeque::new(),
            jobs: HashSet::new(),
            asking: BTreeSet::new(),
            asking_calls: 0,
            is_complete: false,
            is_held: false,
            next_key: 1,
        };
        queue.refill();
        queue
    }

    /// Returns a key for work; keys rise.
    pub(super) fn take_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }

    /// Reads waiting jobs from the store once few are left.
    fn refill(&mut self) {
        if self.is_complete || self.is_held || self.jobs.len() >= LOW {
            return;
        }
        let waiting = match self.store.waiting(&self.endpoint, WINDOW) {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(endpoint = self.endpoint, %error, "waiting jobs could not be read");
                return;
            }
        };
        self.is_complete = waiting.len() < WINDOW;
        for WaitingJob { id, low_priority, accepted } in waiting {
            if !self.jobs.contains(&id) {
                let key = self.take_key();
                let work = Work { key, since: accepted, kind: WorkKind::Job { id, low_priority } };
                self.note(&work);
                self.items.push_back(work);
            }
        }
    }

    fn note(&mut self, work: &Work) {
        if work.is_asking() {
            self.asking.insert((work.since, work.key));
        }
        match &work.kind {
            WorkKind::Job { id, .. } => drop(self.jobs.insert(id.clone())),
            _ => self.asking_calls += 1,
        }
    }

    fn forget(&mut self, work: &Work) {
        self.asking.remove(&(work.since, work.key));
        match &work.kind {
            WorkKind::Job { id, .. } => drop(self.jobs.remove(id)),
            _ => self.asking_calls -= 1,
        }
    }

    /// Whether a stored job is here already, or is left to the store.
    fn is_left_out(&mut self, work: &Work) -> bool {
        let WorkKind::Job { id, .. } = &work.kind else { return false };
        if !self.jobs.contains(id) && self.jobs.len() >= WINDOW {
            self.is_complete = false;
        }
        self.is_held || !self.is_complete || self.jobs.contains(id)
    }

    pub(super) fn push_back(&mut self, work: Work) {
        if !self.is_left_out(&work) {
            self.note(&work);
            self.items.push_back(work);
        }
        self.refill();
    }

    /// Puts back what a lost worker held, before everything else.
    pub(super) fn push_front(&mut self, work: Work) {
        let is_known =
            matches!(&work.kind, WorkKind::Job { id, .. } if self.is_held || self.jobs.contains(id));
        if !is_known {
            self.note(&work);
            self.items.push_front(work);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Work> {
        // Before: what is taken here still waits in the store.
        self.refill();
        let work = self.items.pop_front()?;
        self.forget(&work);
        Some(work)
    }

    /// Returns what waits here, the first first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Work> {
        self.items.iter()
    }

    /// Removes the first item that `is_it` accepts.
    pub(super) fn remove(&mut self, is_it: impl Fn(&Work) -> bool) -> Option<Work> {
        let index = self.items.iter().position(is_it)?;
        let work = self.items.remove(index)?;
        self.forget(&work);
        self.refill();
        Some(work)
    }

    /// Removes a stored job, if it is here; the store has let go of it already.
    pub(super) fn remove_job(&mut self, job: &str) -> Option<Work> {
        if !self.jobs.contains(job) {
            return None;
        }
        self.remove(|work| matches!(&work.kind, WorkKind::Job { id, .. } if id == job))
    }

    /// Removes all calls and requests that `is_it` accepts; stored jobs are the store's.
    pub(super) fn take_calls(&mut self, is_it: impl Fn(&Work) -> bool) -> Vec<Work> {
        let (taken, kept): (Vec<_>, Vec<_>) =
            self.items.drain(..).partition(|work| !matches!(work.kind, WorkKind::Job { .. }) && is_it(work));
        self.items = kept.into();
        for work in &taken {
            self.forget(work);
        }
        taken
    }

    /// Lets go of all stored jobs: the store has ended them.
    pub(super) fn clear_jobs(&mut self) {
        let (jobs, kept): (Vec<_>, Vec<_>) =
            self.items.drain(..).partition(|work| matches!(work.kind, WorkKind::Job { .. }));
        self.items = kept.into();
        for work in &jobs {
            self.forget(work);
        }
        self.refill();
    }

    /// Leaves stored jobs to the next start: none is given to a worker any more.
    pub(super) fn hold_jobs(&mut self) {
        if !self.is_held {
            self.is_held = true;
            self.clear_jobs();
        }
    }

    /// How much waits: what is here, and the jobs that only the store holds.
    pub(super) fn len(&self) -> usize {
        self.asking_calls + self.store.depth(&self.endpoint).all
    }

    /// Whether nothing is to be given to a worker.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items ask for a worker.
    pub(super) fn asking(&self) -> usize {
        let jobs = if self.is_held { 0 } else { self.store.depth(&self.endpoint).asking };
        self.asking_calls + jobs
    }

    /// Since when the oldest of those waits.
    pub(super) fn oldest_asking(&self) -> Option<Moment> {
        self.asking.first().map(|(since, _)| *since)
    }
}

/// Work on a worker.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) target: Target,
    /// When it has run too long.
    pub(super) deadline: Option<Moment>,
    /// How long it may run.
    pub(super) limit: Duration,
    /// Set once nobody waits for it: it holds its place until the worker answers or is killed.
    pub(super) abandoned: Option<Abandoned>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Abandoned {
    pub(super) kill_at: Moment,
    /// A call that ran too long costs the worker even when it holds others.
    pub(super) is_timeout: bool,
}

/// Where the answer goes.
#[derive(Debug)]
pub(super) enum Target {
    /// A stored job, with the items it has yielded.
    Job { id: String, items: Vec<Bytes> },
    /// A caller that waits.
    Call(ReplySender<Reply>),
    /// A caller that reads items.
    Stream(mpsc::Sender<Result<Vec<Bytes>, ErrorReport>>, oneshot::Sender<()>),
    /// An HTTP client that waits for the head.
    Http(ReplySender<HttpReply>),
    /// An HTTP client that reads the body.
    Body(mpsc::Sender<Result<Bytes, ErrorReport>>, oneshot::Sender<()>),
    /// A request that its proxy carries.
    Lease,
    /// Nobody any more.
    Nobody,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::record::{Change, JobRecord};
    use crate::platform::store::MemoryStore;
    use crate::wire::backend::JobRequest;

    fn accept(store: &MemoryStore, id: &str, low_priority: bool) {
        let request = JobRequest {
            callable: String::new(),
            input: Bytes::from_static(b"1"),
            sync: false,
            execution_timeout: None,
            ttl: None,
            low_priority,
            webhook: None,
            s3_config: None,
        };
        let job = JobRecord::new(id.to_owned(), "f".to_owned(), request, Duration::from_secs(1));
        drop(store.accept(job));
    }

    fn job(queue: &mut Queue, id: &str) -> Work {
        let kind = WorkKind::Job { id: id.to_owned(), low_priority: false };
        Work { key: queue.take_key(), since: Duration::from_secs(1), kind }
    }

    fn id_of(work: &Work) -> &str {
        match &work.kind {
            WorkKind::Job { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn queue_of_many_jobs_holds_a_window_and_keeps_their_order() {
        let store = Arc::new(MemoryStore::default());
        let all: Vec<String> = (0..5000).map(|number| format!("j{number:04}")).collect();
        for id in &all[..3000] {
            accept(&store, id, false);
        }
        let mut queue = Queue::new("f".to_owned(), Arc::clone(&store) as Arc<dyn JobStore>);
        for id in &all[3000..] {
            accept(&store, id, false);
            let work = job(&mut queue, id);
            queue.push_back(work);
        }
        assert_eq!((queue.len(), queue.asking()), (5000, 5000));
        let mut seen = Vec::new();
        while let Some(work) = queue.pop_front() {
            assert!(queue.items.len() <= WINDOW);
            let started = Change::Started { worker: "w".to_owned() };
            store.change("f", id_of(&work), started, Duration::from_secs(2)).unwrap();
            seen.push(id_of(&work).to_owned());
        }
        assert_eq!(seen, all);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn queue_with_a_job_put_back_serves_it_first_and_once() {
        let store = Arc::new(MemoryStore::default());
        for number in 0..2000 {
            accept(&store, &format!("j{number:04}"), number % 2 == 1);
        }
        let mut queue = Queue::new("f".to_owned(), Arc::clone(&store) as Arc<dyn JobStore>);
        assert_eq!((queue.len(), queue.asking()), (2000, 1000));
        let first = queue.pop_front().unwrap();
        store.change("f", "j0000", Change::Started { worker: "w".to_owned() }, Duration::ZERO).unwrap();
        store.change("f", "j0000", Change::Requeued, Duration::ZERO).unwrap();
        queue.push_front(first);
        let mut seen = Vec::new();
        while let Some(work) = queue.pop_front() {
            store.change("f", id_of(&work), Change::Cancelled, Duration::ZERO).unwrap();
            seen.push(id_of(&work).to_owned());
        }
        assert_eq!((seen[0].as_str(), seen.len()), ("j0000", 2000));
    }

    #[test]
    fn queue_held_for_the_next_start_gives_no_job_away() {
        let store = Arc::new(MemoryStore::default());
        accept(&store, "a", false);
        let mut queue = Queue::new("f".to_owned(), Arc::clone(&store) as Arc<dyn JobStore>);
        queue.hold_jobs();
        let late = job(&mut queue, "b");
        queue.push_back(late);
        assert!(queue.is_empty() && queue.pop_front().is_none());
        assert_eq!((queue.len(), queue.asking()), (1, 0));
    }
}
