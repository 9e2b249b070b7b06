//! What workers printed lately, kept a while after their end, for those who ask by HTTP
//! (`platform.md` 5.3, 5.4).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::Notify;

use super::clock::{Clock, Moment};
use super::event::{Event, Observer};

/// Lines that are kept of one worker.
const KEPT_LINES: usize = 1000;
/// Bytes that are kept of one worker.
const KEPT_BYTES: usize = 256 << 10;
/// Workers that are kept after their end.
const KEPT_ENDED: usize = 100;
/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_mins(30);

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// The worker's process.
    Container,
    /// The platform, about the worker.
    System,
}

impl LogSource {
    /// Returns its name in the APIs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::System => "system",
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Rises by one with each line of a worker, from 1.
    pub number: u64,
    /// When it came.
    pub at: Moment,
    /// Who said it.
    pub source: LogSource,
    /// The line, without its newline.
    pub text: String,
}

impl LogLine {
    /// Returns when it came, in RFC 3339.
    pub fn timestamp(&self) -> String {
        let nanoseconds = i128::try_from(self.at.as_nanos()).unwrap_or(i128::MAX);
        let at = jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or(jiff::Timestamp::MAX);
        format!("{at:.6}")
    }
}

/// The lines of one worker.
pub struct WorkerLog {
    endpoint: String,
    clock: Arc<dyn Clock>,
    lines: Mutex<Lines>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
    last: u64,
    ended: Option<Moment>,
}

impl std::fmt::Debug for WorkerLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WorkerLog").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl WorkerLog {
    /// The worker's endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the worker has ended: no line follows.
    pub fn is_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Returns the kept lines with a higher number than `after`, the oldest first.
    pub fn lines(&self, after: u64) -> Vec<LogLine> {
        self.lock().kept.iter().filter(|line| line.number > after).cloned().collect()
    }

    /// Yields the kept lines after that number, then new ones as they come, until the worker ends.
    pub fn follow(self: Arc<Self>, after: u64) -> impl Stream<Item = Vec<LogLine>> + Send + 'static {
        futures_util::stream::unfold((self, after), |(log, after)| async move {
            loop {
                let news = log.news.notified();
                let is_ended = log.is_ended();
                let lines = log.lines(after);
                if let Some(last) = lines.last().map(|line| line.number) {
                    drop(news);
                    return Some((lines, (log, last)));
                }
                if is_ended {
                    return None;
                }
                news.await;
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, dropping the oldest beyond the limits.
    pub(super) fn push(&self, source: LogSource, text: &str) {
        let mut lines = self.lock();
        lines.last += 1;
        let line = LogLine { number: lines.last, at: self.clock.now(), source, text: text.to_owned() };
        lines.bytes += text.len();
        lines.kept.push_back(line);
        while lines.kept.len() > KEPT_LINES || (lines.bytes > KEPT_BYTES && lines.kept.len() > 1) {
            let dropped = lines.kept.pop_front().map_or(0, |line| line.text.len());
            lines.bytes -= dropped;
        }
        drop(lines);
        self.news.notify_waiters();
    }

    fn end(&self) {
        let now = self.clock.now();
        self.lock().ended.get_or_insert(now);
        self.news.notify_waiters();
    }
}

/// The logs of all workers.
pub(super) struct Logs {
    clock: Arc<dyn Clock>,
    workers: Mutex<HashMap<String, Arc<WorkerLog>>>,
}

impl Logs {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, workers: Mutex::default() }
    }

    /// Returns a worker's log.
    pub(super) fn get(&self, worker: &str) -> Option<Arc<WorkerLog>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).get(worker).cloned()
    }

    fn open(&self, endpoint: &str, worker: &str) -> Arc<WorkerLog> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut workers);
        let log = workers.entry(worker.to_owned()).or_insert_with(|| {
            Arc::new(WorkerLog {
                endpoint: endpoint.to_owned(),
                clock: Arc::clone(&self.clock),
                lines: Mutex::default(),
                news: Notify::new(),
            })
        });
        Arc::clone(log)
    }

    /// Forgets workers that ended long ago, and the first of too many.
    fn forget(&self, workers: &mut HashMap<String, Arc<WorkerLog>>) {
        let now = self.clock.now();
        let mut ended: Vec<(Moment, String)> =
            workers.iter().filter_map(|(worker, log)| Some((log.lock().ended?, worker.clone()))).collect();
        ended.sort_unstable();
        let too_many = ended.len().saturating_sub(KEPT_ENDED);
        for (index, (at, worker)) in ended.into_iter().enumerate() {
            if index < too_many || at + KEPT_FOR <= now {
                workers.remove(&worker);
            }
        }
    }
}

/// Notes what happens to workers, and passes it on.
pub(super) struct LogKeeper {
    pub(super) logs: Arc<Logs>,
    pub(super) next: Arc<dyn Observer>,
}

impl Observer for LogKeeper {
    fn event(&self, event: Event) {
        let note = |endpoint: &str, worker: &str, text: &str| {
            let log = self.logs.open(endpoint, worker);
            text.lines().for_each(|line| log.push(LogSource::System, line));
            log
        };
        match &event {
            Event::WorkerStarting { endpoint, worker } => {
                note(endpoint, worker, "the worker is starting");
            }
            Event::WorkerReady { endpoint, worker, .. } => {
                note(endpoint, worker, "the worker is ready");
            }
            Event::WorkerFailed { endpoint, worker, reason } => {
                note(endpoint, worker, &format!("the worker {reason}")).end();
            }
            Event::WorkerStopped { endpoint, worker } => {
                note(endpoint, worker, "the worker has stopped").end();
            }
            Event::Output { .. } | Event::Note { .. } => {}
        }
        self.next.event(event);
    }
}
