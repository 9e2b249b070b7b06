//! What all endpoints of a platform share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::Platform;
use super::claims::{Claim, Claims};
use super::event::{Event, Observer};
use super::limits::Machine;
use super::logs::{LogKeeper, Logs};
use super::options::PlatformOptions;
use super::process::Process;

/// How far the platform's shutdown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shutdown {
    /// None.
    Not,
    /// What runs is finished, nothing new is taken.
    Finishing,
    /// Everything is killed.
    Killing,
}

pub(super) struct Shared {
    pub(super) options: PlatformOptions,
    pub(super) observer: Arc<dyn Observer>,
    /// What workers printed.
    pub(super) logs: Arc<Logs>,
    pub(super) handle: Handle,
    pub(super) machine: Machine,
    /// Told when a worker has less to do: another endpoint may start one.
    pub(super) capacity: Notify,
    pub(super) shutdown: watch::Sender<Shutdown>,
    /// Worker processes, spare ones included.
    pub(super) alive: watch::Sender<usize>,
    /// What all endpoints have and want of it.
    pub(super) claims: Claims,
    /// Whether some endpoint is load-balanced: the spare worker then loads what serves routes, too.
    pub(super) has_routes: AtomicBool,
    pub(super) spare: Mutex<Option<Process>>,
    pub(super) platform: Weak<Platform>,
    notes: Mutex<Vec<String>>,
    /// Where workers reach this server, once it listens.
    base_url: Mutex<Option<String>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        options: PlatformOptions,
        observer: Arc<dyn Observer>,
        handle: Handle,
        platform: Weak<Platform>,
    ) -> Self {
        let logs = Arc::new(Logs::new(Arc::clone(&options.clock)));
        Self {
            machine: Machine::new(options.max_workers),
            options,
            observer: Arc::new(LogKeeper { logs: Arc::clone(&logs), next: observer }),
            logs,
            handle,
            capacity: Notify::new(),
            shutdown: watch::Sender::new(Shutdown::Not),
            alive: watch::Sender::new(0),
            claims: Claims::default(),
            has_routes: AtomicBool::new(false),
            spare: Mutex::new(None),
            platform,
            notes: Mutex::new(Vec::new()),
            base_url: Mutex::new(None),
        }
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        *self.shutdown.borrow() != Shutdown::Not
    }

    /// Where workers reach this server (`http://127.0.0.1:8888`); `None` until it listens.
    pub(super) fn base_url(&self) -> Option<String> {
        self.base_url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_base_url(&self, url: String) {
        *self.base_url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    /// An endpoint's workers became more or less active, or throttled; those that wait for the
    /// machine are told when there may be room.
    pub(super) fn report(&self, claimant: u64, claim: Claim) {
        if self.claims.update(claimant, claim) {
            self.capacity.notify_waiters();
        }
    }

    /// Tells the observer something of this `kind` once.
    pub(super) fn note_once(&self, kind: &str, text: impl FnOnce() -> String) {
        {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            if notes.iter().any(|said| said == kind) {
                return;
            }
            notes.push(kind.to_owned());
        }
        self.observer.event(Event::Note { text: text() });
    }
}

/// Counts one up while it lives.
#[derive(Debug)]
pub(super) struct Counted(watch::Sender<usize>);

impl Counted {
    pub(super) fn new(counter: &watch::Sender<usize>) -> Self {
        counter.send_modify(|count| *count += 1);
        Self(counter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
