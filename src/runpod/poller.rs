//! One task per endpoint looks at all jobs that are waited for, instead of one per job.
//!
//! A few jobs are waited for by requests that the server holds (`/status-sync`); what is beyond that
//! is asked for at growing intervals, so many requests a second and so many at once at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::error::{ErrorKind, RunpodError};
use super::job::{EndpointRef, JobState, Status};
use super::jobs::About;
use super::retry::{Deadline, Reach, Timing, Trouble, pause_after, spread};
use super::watched::{LastSeen, Watch, Watched};

/// Looks at once.
const AT_ONCE: usize = 16;
/// Pause between two looks at an endpoint on average, and how many may come at once after a pause;
/// the documented limit is 2,000 in ten seconds.
const PACE: Duration = Duration::from_micros(6_500);
const BURST: u32 = 300;
/// How often a job is not found before that is believed.
const UNKNOWN: u32 = 5;
/// How many looks in a row fail before the patience's end counts.
const FAILURES: u32 = 5;

/// A job and what was seen of it.
struct Looked {
    watch: Watch,
    pause: Duration,
    unknown: u32,
    failures: u32,
    failing_since: Option<Instant>,
    is_first: bool,
}

/// What a look brought.
struct Seen {
    looked: Looked,
    /// `None` where nobody waits any more.
    state: Option<Result<JobState, Trouble>>,
    /// Whether the server was asked to hold the request.
    was_held: bool,
    took: Duration,
}

impl Client {
    /// Waits until a job has ended.
    pub(super) async fn watch_alone(
        &self,
        about: &About<'_>,
        job: &str,
        since: Option<Instant>,
        status: Option<Status>,
    ) -> Result<JobState, RunpodError> {
        let (reply, answer) = oneshot::channel();
        let seen = Arc::new(Mutex::new(LastSeen { status, trouble: None }));
        let watch = Watch {
            job: job.to_owned(),
            options: about.options.clone(),
            since,
            reply,
            seen: Arc::clone(&seen),
        };
        let watched = self.watched(about.endpoint);
        if watched.add(watch) {
            tokio::spawn(look_after(self.clone(), about.endpoint.clone(), watched));
        }
        let ended =
            about.deadline.keep(answer).await.map_err(|passed| {
                not_ended(job, passed, &seen.lock().unwrap_or_else(PoisonError::into_inner))
            });
        let ended = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => {
                Err(RunpodError::new(ErrorKind::Connection, "the process stopped waiting for jobs"))
            }
            Err(passed) => Err(passed),
        };
        ended.map_err(|error| error.at_endpoint(about.endpoint.name()).about_job(job))
    }
}

/// Says of a job that was waited for long enough what was seen of it last.
fn not_ended(job: &str, mut passed: RunpodError, seen: &LastSeen) -> RunpodError {
    let was = match &seen.status {
        Some(status) => format!("it was last seen `{}`", status.as_str()),
        None => "nothing was seen of it".to_owned(),
    };
    passed.message = format!("job `{job}` has not ended: {}; {was}", passed.message);
    if let Some(trouble) = &seen.trouble {
        passed.message = format!("{}; the last look at it failed: {trouble}", passed.message);
    }
    passed.exchange.last_status = seen.status.as_ref().map(|status| status.as_str().to_owned());
    let hint = match &seen.status {
        Some(Status::InQueue) => "no worker has taken it yet (`health()` counts them)",
        _ => "the job goes on",
    };
    passed.with_hint(format!("{hint}: wait again, with a longer timeout, or cancel it"))
}

/// Looks at an endpoint's jobs until none is waited for.
async fn look_after(client: Client, endpoint: EndpointRef, watched: Arc<Watched>) {
    let mut duty = watched.duty(true);
    let timing = client.shared.timing;
    let pace = if client.shared.is_here { Duration::ZERO } else { PACE };
    // Sorted by when to look next; the number keeps equal times apart.
    let mut waiting: BTreeMap<(Instant, u64), Looked> = BTreeMap::new();
    let mut looking: FuturesUnordered<BoxFuture<'_, Seen>> = FuturesUnordered::new();
    let mut brief = 0;
    let mut number = 0;
    let mut next_slot = Instant::now();
    let mut resumed = next_slot;
    loop {
        for watch in watched.take(&mut duty, waiting.is_empty() && looking.is_empty()) {
            number += 1;
            waiting.insert((Instant::now(), number), Looked::new(watch, &timing));
        }
        if duty.is_done() {
            return;
        }
        let now = Instant::now();
        next_slot = next_slot.max(now.checked_sub(pace * BURST).unwrap_or(now));
        let mut wake = (resumed > now).then_some(resumed);
        while resumed <= now
            && let Some(entry) = waiting.first_entry()
        {
            let due = entry.key().0;
            if due > now {
                wake = Some(due);
                break;
            }
            if entry.get().watch.reply.is_closed() {
                entry.remove();
                continue;
            }
            let held = watched
                .has_sync()
                .then(|| Arc::clone(&client.shared.held).try_acquire_owned().ok())
                .flatten();
            if let Some(held) = held {
                let mut looked = entry.remove();
                looked.is_first = false;
                looking.push(Box::pin(look(&client, &endpoint, &watched, looked, Some(held))));
                continue;
            }
            if entry.get().is_first {
                // It has only just been submitted.
                let mut looked = entry.remove();
                number += 1;
                let due = now + looked.next_pause(&timing);
                waiting.insert((due, number), looked);
                continue;
            }
            if brief >= AT_ONCE || next_slot > now {
                wake = (brief < AT_ONCE).then_some(next_slot);
                break;
            }
            brief += 1;
            next_slot += pace;
            looking.push(Box::pin(look(&client, &endpoint, &watched, entry.remove(), None)));
        }
        let alarm = async {
            match wake {
                Some(wake) => sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(seen) = looking.next(), if !looking.is_empty() => {
                brief -= usize::from(!seen.was_held);
                if let Some((looked, pause)) = settle(seen, &timing, &mut resumed) {
                    number += 1;
                    waiting.insert((Instant::now() + pause, number), looked);
                }
            }
            () = alarm => {}
            () = watched.arrived.notified() => {}
        }
    }
}

/// Asks for a job's state, unless whoever waits for it goes away meanwhile.
async fn look(
    client: &Client,
    endpoint: &EndpointRef,
    watched: &Watched,
    mut looked: Looked,
    held: Option<OwnedSemaphorePermit>,
) -> Seen {
    let begun = Instant::now();
    let Watch { job, options, reply, .. } = &mut looked.watch;
    let about = About { endpoint, options, deadline: Deadline::after(None), repeats: Deadline::after(None) };
    let id = urlencoding::encode(job);
    let plain = format!("status/{id}");
    let look = async {
        if held.is_none() {
            return client.job(&about, &Method::GET, &plain, Some(job), None, Duration::ZERO).await;
        }
        let wait = client.shared.timing.sync_wait;
        let path = format!("status-sync/{id}?wait={}", wait.as_millis());
        let found = client.job(&about, &Method::GET, &path, Some(job), None, wait).await;
        match found {
            Err(trouble)
                if trouble.reach == Reach::Answered && trouble.error.kind != ErrorKind::Authentication =>
            {
                // It is not documented: where there is no such route, the plain one counts.
                let found = client.job(&about, &Method::GET, &plain, Some(job), None, Duration::ZERO).await;
                if found.is_ok() {
                    watched.set_no_sync();
                }
                found
            }
            found => found,
        }
    };
    let state = tokio::select! {
        biased;
        state = look => Some(state),
        () = reply.closed() => None,
    };
    Seen { looked, state, was_held: held.is_some(), took: begun.elapsed() }
}

/// Tells whoever waits where there is something to tell; else returns when to look again.
fn settle(seen: Seen, timing: &Timing, resumed: &mut Instant) -> Option<(Looked, Duration)> {
    let Seen { mut looked, state, was_held, took } = seen;
    let trouble = match state? {
        Ok(state) if state.status.is_terminal() => {
            let _ = looked.watch.reply.send(Ok(state));
            return None;
        }
        Ok(state) => {
            looked.unknown = 0;
            looked.failures = 0;
            looked.failing_since = None;
            looked.tell(LastSeen { status: Some(state.status), trouble: None });
            // A server that held the request as it was asked to may be asked again at once.
            let was_long = was_held && took >= timing.sync_wait / 2;
            let pause = if was_long { Duration::ZERO } else { looked.next_pause(timing) };
            return Some((looked, pause));
        }
        Err(trouble) => trouble,
    };
    let mut pause = looked.next_pause(timing);
    let is_over = match (trouble.reach, trouble.error.kind) {
        (Reach::Answered, ErrorKind::JobNotFound) => {
            looked.unknown += 1;
            let is_old = looked.watch.since.is_some_and(|since| since.elapsed() > timing.young);
            is_old || looked.unknown >= UNKNOWN
        }
        (Reach::Answered, _) => true,
        _ => {
            looked.failures += 1;
            let since = *looked.failing_since.get_or_insert_with(Instant::now);
            if trouble.reach == Reach::Refused {
                pause = pause.max(pause_after(&trouble.error, timing, looked.failures));
                *resumed = (*resumed).max(Instant::now() + pause);
            }
            looked.failures >= FAILURES && since.elapsed() > timing.patience
        }
    };
    if is_over {
        let _ = looked.watch.reply.send(Err(trouble.error));
        return None;
    }
    let status = looked.seen().status.take();
    looked.tell(LastSeen { status, trouble: Some(trouble.error.message) });
    Some((looked, pause))
}

impl Looked {
    fn new(watch: Watch, timing: &Timing) -> Self {
        let pause = timing.first_pause;
        Self { watch, pause, unknown: 0, failures: 0, failing_since: None, is_first: true }
    }

    /// Returns the pause before the next look, which grows by half each time.
    fn next_pause(&mut self, timing: &Timing) -> Duration {
        self.is_first = false;
        let pause = self.pause;
        self.pause = pause.mul_f64(1.5).min(timing.most_pause);
        spread(pause, 0.8, 1.2)
    }

    fn seen(&self) -> MutexGuard<'_, LastSeen> {
        self.watch.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a note for whoever stops waiting.
    fn tell(&self, seen: LastSeen) {
        *self.seen() = seen;
    }
}
