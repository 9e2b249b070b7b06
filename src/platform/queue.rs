//! What waits for a worker, in order, and what runs on one.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::clock::Moment;
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
    Http { request: Box<HttpRequest>, reply: ReplySender<HttpReply>, give_up: Moment },
}

impl Work {
    /// Whether it asks for more workers.
    fn is_asking(&self) -> bool {
        !matches!(self.kind, WorkKind::Job { low_priority: true, .. })
    }
}

/// Work that waits, first in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Work>,
    /// Those that ask for a worker, the longest waiting first.
    asking: BTreeSet<(Moment, u64)>,
}

impl Queue {
    fn note(&mut self, work: &Work) {
        if work.is_asking() {
            self.asking.insert((work.since, work.key));
        }
    }

    pub(super) fn push_back(&mut self, work: Work) {
        self.note(&work);
        self.items.push_back(work);
    }

    /// Puts back what a lost worker held, before everything else.
    pub(super) fn push_front(&mut self, work: Work) {
        self.note(&work);
        self.items.push_front(work);
    }

    pub(super) fn pop_front(&mut self) -> Option<Work> {
        let work = self.items.pop_front()?;
        self.asking.remove(&(work.since, work.key));
        Some(work)
    }

    pub(super) fn front(&self) -> Option<&Work> {
        self.items.front()
    }

    /// Removes the first item that `is_it` accepts.
    pub(super) fn remove(&mut self, is_it: impl Fn(&Work) -> bool) -> Option<Work> {
        let index = self.items.iter().position(is_it)?;
        let work = self.items.remove(index)?;
        self.asking.remove(&(work.since, work.key));
        Some(work)
    }

    /// Removes all items that `is_it` accepts.
    pub(super) fn take(&mut self, is_it: impl Fn(&Work) -> bool) -> Vec<Work> {
        let (taken, kept): (Vec<_>, Vec<_>) = self.items.drain(..).partition(is_it);
        self.items = kept.into();
        for work in &taken {
            self.asking.remove(&(work.since, work.key));
        }
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items ask for a worker.
    pub(super) fn asking(&self) -> usize {
        self.asking.len()
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
    /// Nobody any more.
    Nobody,
}
