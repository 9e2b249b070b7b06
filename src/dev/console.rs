//! What the person at the terminal reads.
//!
//! One line per request, one per line that a worker writes, and nothing twice. Everything goes
//! through a [`Terminal`], so that this room knows no stream and tests read plain text.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use super::queue::JobNote;

/// Where lines go.
pub trait Terminal: Send + Sync + 'static {
    /// Writes text and a newline.
    fn line(&self, text: &str);
    /// Whether colour may be used.
    fn has_color(&self) -> bool;
    /// Asks a person; `None` where nobody is there.
    fn ask(&self, question: &str) -> Option<String> {
        let _ = question;
        None
    }
    /// How many columns it has; `None` where it is no terminal.
    fn width(&self) -> Option<usize> {
        None
    }
}

/// The console of one server.
pub(super) struct Console {
    terminal: Arc<dyn Terminal>,
    said: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Console").finish_non_exhaustive()
    }
}

pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();

impl Console {
    /// A console that writes to `terminal`.
    pub(super) fn new(terminal: Box<dyn Terminal>) -> Self {
        Self { terminal: terminal.into(), said: Mutex::default() }
    }

    /// Writes text as it is.
    pub(super) fn line(&self, text: &str) {
        self.terminal.line(text);
    }

    /// Whether colour may be used.
    pub(super) fn has_color(&self) -> bool {
        self.terminal.has_color()
    }

    /// Asks a person; `None` where nobody is there. Signals are heard meanwhile.
    pub(super) async fn ask(&self, question: &str) -> Option<String> {
        let (terminal, question) = (Arc::clone(&self.terminal), question.to_owned());
        tokio::task::spawn_blocking(move || terminal.ask(&question)).await.ok().flatten()
    }

    /// How many columns the terminal has; `None` where lines may be of any length.
    pub(super) fn width(&self) -> Option<usize> {
        self.terminal.width()
    }

    /// Paints text where colour may be used.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if self.terminal.has_color() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Writes a remark, dimmed.
    pub(super) fn note(&self, text: &str) {
        self.line(&format!("  {}", self.paint(DIM, text)));
    }

    /// Writes a warning.
    pub(super) fn warn(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint(YELLOW, "!")));
    }

    /// Writes a success.
    pub(super) fn done(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint(GREEN, "✓")));
    }

    /// Writes a warning unless the same one was written before.
    pub(super) fn warn_once(&self, text: &str) {
        if self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
            self.warn(text);
        }
    }

    /// Writes a line that a worker wrote, after its endpoint's name and its job.
    pub(super) fn output(&self, endpoint: &str, job: Option<&str>, line: &str) {
        let job = job.map(|job| format!(" {}", self.paint(DIM, short(job)))).unwrap_or_default();
        self.line(&format!("{}{job} {} {line}", self.paint(CYAN, endpoint), self.paint(DIM, "│")));
    }

    /// Writes a dimmed remark about an endpoint.
    pub(super) fn remark(&self, endpoint: &str, text: &str) {
        self.output(endpoint, None, &self.paint(DIM, text));
    }

    /// Writes a line of what went wrong with an endpoint.
    pub(super) fn failure(&self, endpoint: &str, line: &str) {
        self.line(&format!("{} {} {line}", self.paint(RED, endpoint), self.paint(DIM, "│")));
    }

    fn request(&self, request: &RequestLog) {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let took = duration_text(request.started.elapsed());
        let (status, style) = match (request.status, &request.job.failed) {
            (None, _) => ("gone".to_owned(), YELLOW),
            (Some(status), Some(_)) if status < 400 => (format!("{status} FAILED"), RED),
            (Some(status), _) if status >= 500 => (status.to_string(), RED),
            (Some(status), _) if status >= 400 => (status.to_string(), YELLOW),
            (Some(status), _) => (status.to_string(), GREEN),
        };
        let mut line = format!(
            "{} {} {}  {} {}",
            self.paint(DIM, &time),
            request.method,
            request.path,
            self.paint(style, &status),
            self.paint(DIM, &took),
        );
        if !request.job.id.is_empty() {
            line.push_str(&self.paint(DIM, &format!("  {}", short(&request.job.id))));
        }
        if let Some(queued) = request.job.queued_ms.filter(|queued| *queued > 1000) {
            line.push_str(
                &self.paint(DIM, &format!("  queued {}", duration_text(Duration::from_millis(queued)))),
            );
        }
        if let Some(failed) = &request.job.failed {
            let _ = write!(line, "\n         {}", self.paint(DIM, failed.lines().next().unwrap_or_default()));
        }
        self.line(&line);
    }
}

/// Writes a request's line when the request is over, however it ends.
#[derive(Debug)]
pub(super) struct RequestLog {
    console: Arc<Console>,
    in_flight: Arc<AtomicUsize>,
    started: Instant,
    method: String,
    path: String,
    /// Status; `None` when the client went away before there was one.
    pub(super) status: Option<u16>,
    /// The job behind it.
    pub(super) job: JobNote,
    /// Whether a line is written at all.
    pub(super) is_shown: bool,
}

impl RequestLog {
    /// Begins to time a request, and counts it among those in flight until it is over.
    pub(super) fn new(
        console: Arc<Console>,
        in_flight: &Arc<AtomicUsize>,
        method: &http::Method,
        path: &str,
    ) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            console,
            in_flight: Arc::clone(in_flight),
            started: Instant::now(),
            method: method.as_str().to_owned(),
            path: printable(path),
            status: None,
            job: JobNote::default(),
            is_shown: true,
        }
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_shown {
            self.console.request(self);
        }
    }
}

/// The first eight characters of a job's ID, without `sync-`.
fn short(job: &str) -> &str {
    let job = job.strip_prefix("sync-").unwrap_or(job);
    job.get(..8).unwrap_or(job)
}

/// `12ms`, `1.2s`, `3m 4s`.
pub(super) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{:.1}s", duration.as_secs_f64()),
        _ => format!("{}m {}s", millis / 60_000, millis % 60_000 / 1000),
    }
}

/// Text from a client without control characters, so that it cannot steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
