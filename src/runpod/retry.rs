//! What may be repeated, when, and until when.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::error::{ErrorKind, RunpodError};

/// How often a request that did not get through is sent in all.
const TRIES: u32 = 4;

/// Waits of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// How long `/runsync` may be held open.
    pub(super) first_wait: Duration,
    /// The same for a job that may have to be cancelled: its ID is in the answer.
    pub(super) cancellable_wait: Duration,
    /// How long `/status-sync` may be held open.
    pub(super) sync_wait: Duration,
    /// Pause before the first look at a job; each is half as long again as the one before.
    pub(super) first_pause: Duration,
    /// Longest pause between two looks.
    pub(super) most_pause: Duration,
    /// How long after its submission a job may not be known everywhere yet.
    pub(super) young: Duration,
    /// How long trouble with looking at a job is borne.
    pub(super) patience: Duration,
    /// How long an answer may take beyond what was asked for.
    pub(super) answer: Duration,
    /// How long a pause in an answer may be.
    pub(super) silence: Duration,
    /// First pause before a repetition.
    pub(super) backoff: Duration,
    /// Pause between two looks at the workers of an endpoint whose jobs wait; a tenth on this machine.
    pub(super) health: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(20),
            cancellable_wait: Duration::from_secs(1),
            sync_wait: Duration::from_secs(30),
            first_pause: Duration::from_millis(250),
            most_pause: Duration::from_secs(5),
            young: Duration::from_secs(30),
            patience: Duration::from_mins(2),
            answer: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            backoff: Duration::from_millis(250),
            health: Duration::from_secs(30),
        }
    }
}

/// When a call must be over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Option<Instant>,
    whole: Duration,
}

impl Deadline {
    /// Counts from now.
    pub(super) fn after(timeout: Option<Duration>) -> Self {
        let whole = timeout.unwrap_or_default();
        Self { end: timeout.and_then(|timeout| Instant::now().checked_add(timeout)), whole }
    }

    /// Returns what is left; `None` where there is no deadline.
    pub(super) fn left(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Returns whether a pause ends after it.
    pub(super) fn is_before(self, pause: Duration) -> bool {
        self.left().is_some_and(|left| left <= pause)
    }

    /// Waits for `work` no longer than this.
    pub(super) async fn keep<T>(self, work: impl Future<Output = T>) -> Result<T, RunpodError> {
        let Some(end) = self.end else { return Ok(work.await) };
        timeout_at(end, work).await.map_err(|_| self.passed())
    }

    /// Returns the error that says it has passed.
    pub(super) fn passed(self) -> RunpodError {
        let seconds = self.whole.as_secs_f64();
        RunpodError::new(ErrorKind::DeadlineExceeded, format!("not done within the timeout of {seconds} s"))
    }
}

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing of it was sent.
    Unsent,
    /// The server said that it did nothing, and that it may be sent again.
    Refused,
    /// Nobody knows what the server did.
    Unsure,
    /// The server said no.
    Answered,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: RunpodError,
    pub(super) reach: Reach,
}

impl Trouble {
    pub(super) fn new(reach: Reach, error: RunpodError) -> Self {
        Self { error, reach }
    }
}

/// What may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// What the server has not begun: a second job would cost.
    IfNotBegun,
    /// Whatever may go better the next time.
    Always,
}

/// Sends a request until it gets through, or must not be repeated, or the deadline leaves no time.
pub(super) async fn repeat<T, W>(
    repeat: Repeat,
    timing: &Timing,
    deadline: Deadline,
    mut send: impl FnMut() -> W,
) -> Result<T, Trouble>
where
    W: Future<Output = Result<T, Trouble>>,
{
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        let trouble = match send().await {
            Ok(answer) => return Ok(answer),
            Err(trouble) => trouble,
        };
        tries += 1;
        let may_repeat = match trouble.reach {
            Reach::Unsent => tries < TRIES,
            Reach::Refused => begun.elapsed() < timing.patience,
            Reach::Unsure => repeat == Repeat::Always && tries < TRIES,
            Reach::Answered => false,
        };
        let pause = pause_after(&trouble.error, timing, tries);
        // Nobody is held for longer than was asked for, or than this is worth.
        let is_too_long =
            deadline.left().map_or(pause > timing.patience.max(timing.most_pause), |left| left <= pause);
        if !may_repeat || trouble.error.kind == ErrorKind::DeadlineExceeded || is_too_long {
            return Err(trouble);
        }
        tracing::debug!(error = %trouble.error, ?pause, "a request is repeated");
        sleep(pause).await;
    }
}

/// What the server asked for, else a growing pause.
pub(super) fn pause_after(error: &RunpodError, timing: &Timing, tries: u32) -> Duration {
    let grown = timing.backoff.saturating_mul(1 << tries.saturating_sub(1).min(6)).min(timing.most_pause);
    match error.exchange.retry_after {
        // Many callers were told the same: they do not all come back at once.
        Some(asked) => asked + spread(timing.backoff, 0.0, 1.0),
        None => spread(grown, 0.5, 1.0),
    }
}

/// Returns a time between `from` and `to` times `pause`.
pub(super) fn spread(pause: Duration, from: f64, to: f64) -> Duration {
    pause.mul_f64(from + (to - from) * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rstest::rstest;

    use super::*;

    fn trouble(reach: Reach, retry_after: Option<u64>) -> Trouble {
        let mut error = RunpodError::new(ErrorKind::Unavailable, "no");
        error.exchange.retry_after = retry_after.map(Duration::from_millis);
        Trouble::new(reach, error)
    }

    const FAST: Timing = Timing {
        first_wait: Duration::ZERO,
        cancellable_wait: Duration::ZERO,
        sync_wait: Duration::ZERO,
        first_pause: Duration::ZERO,
        most_pause: Duration::from_millis(2),
        young: Duration::ZERO,
        patience: Duration::from_millis(200),
        answer: Duration::ZERO,
        silence: Duration::ZERO,
        backoff: Duration::from_millis(1),
        health: Duration::from_secs(30),
    };

    async fn tries_of(policy: Repeat, reach: Reach, retry_after: Option<u64>, timeout: Option<u64>) -> u32 {
        let tries = Cell::new(0);
        let deadline = Deadline::after(timeout.map(Duration::from_millis));
        let ended = repeat(policy, &FAST, deadline, || {
            tries.set(tries.get() + 1);
            async move { Err::<(), _>(trouble(reach, retry_after)) }
        });
        assert!(ended.await.is_err());
        tries.get()
    }

    #[rstest]
    #[case(Repeat::IfNotBegun, Reach::Unsure, 1)]
    #[case(Repeat::IfNotBegun, Reach::Answered, 1)]
    #[case(Repeat::IfNotBegun, Reach::Unsent, TRIES)]
    #[case(Repeat::Always, Reach::Unsure, TRIES)]
    #[case(Repeat::Always, Reach::Answered, 1)]
    #[tokio::test]
    async fn repetition_depends_on_how_far_it_came(
        #[case] policy: Repeat,
        #[case] reach: Reach,
        #[case] expected: u32,
    ) {
        assert_eq!(tries_of(policy, reach, None, None).await, expected);
    }

    #[tokio::test]
    async fn refusal_is_repeated_as_long_as_deadline_and_patience_last() {
        let asked_for_more = tries_of(Repeat::IfNotBegun, Reach::Refused, Some(60_000), Some(30_000)).await;
        assert_eq!(asked_for_more, 1);
        let until_patience_ends = tries_of(Repeat::IfNotBegun, Reach::Refused, Some(50), None).await;
        assert!((2..=5).contains(&until_patience_ends), "{until_patience_ends}");
        let without_a_deadline = tries_of(Repeat::IfNotBegun, Reach::Refused, Some(60_000), None).await;
        assert_eq!(without_a_deadline, 1);
    }
}
