//! Carries what happens in the platform and in environments to the console.

use std::sync::Arc;

use tokio::sync::watch;

use super::console::{Console, GREEN, Terminal};
use super::describe::Describe;
use crate::platform::{Event, Observer, Platform};
use crate::requirements::progress::{Progress, ProgressKind, Reporter};
use crate::wire::message::ReadyHead;

/// Tells the console, and counts workers that have loaded (or could not).
#[derive(Debug)]
pub struct Teller {
    console: Arc<Console>,
    /// Changes with every worker that has loaded or could not.
    pub(super) changes: watch::Sender<u64>,
}

impl Teller {
    pub(super) fn new(console: Arc<Console>) -> Self {
        Self { console, changes: watch::Sender::new(0) }
    }

    /// One that tells a terminal.
    pub fn on(terminal: Box<dyn Terminal>) -> Arc<Self> {
        Arc::new(Self::new(Arc::new(Console::new(terminal))))
    }
}

impl Describe for Platform {
    fn get(&self, endpoint: &str) -> Option<Arc<ReadyHead>> {
        self.description(endpoint)
    }

    fn warm(&self, endpoint: &str) {
        Platform::warm(self, endpoint);
    }
}

impl Observer for Teller {
    fn event(&self, event: Event) {
        let console = &self.console;
        match event {
            Event::Output { endpoint, job, line, .. } => console.output(&endpoint, job.as_deref(), &line),
            Event::WorkerReady { endpoint, ready, .. } => {
                console.remark(&endpoint, &format!("worker ready, loaded in {} ms", ready.load_ms));
                self.changes.send_modify(|count| *count += 1);
            }
            Event::WorkerFailed { endpoint, reason, .. } => {
                for line in reason.lines() {
                    console.failure(&endpoint, line);
                }
                self.changes.send_modify(|count| *count += 1);
            }
            Event::Note { text } => console.warn_once(&text),
            Event::WorkerStarting { .. } | Event::WorkerStopped { .. } => {}
        }
    }
}

impl Reporter for Teller {
    fn report(&self, progress: &Progress) {
        let endpoints = progress.endpoints.join(", ");
        match progress.kind {
            ProgressKind::Step => self.console.remark(&endpoints, &progress.text),
            ProgressKind::Done => {
                let text = format!("{} {}", self.console.paint(GREEN, "✓"), progress.text);
                self.console.output(&endpoints, None, &text);
            }
            ProgressKind::Notice => self.console.output(&endpoints, None, &progress.text),
            ProgressKind::Failed => {
                for line in progress.text.lines() {
                    self.console.failure(&endpoints, line);
                }
            }
        }
    }
}
