//! How often an endpoint may be asked: requests in the last ten seconds, and requests at once, for
//! each operation (`platform.md` 1.11).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::refusal::Refusal;
use crate::platform::clock::Moment;
use crate::platform::options::RateLimits;
use crate::platform::supervisor::Supervisor;

/// The span that requests are counted over.
const WINDOW: Duration = Duration::from_secs(10);
/// How much of an operation's limit one worker is worth: an endpoint with more workers than this
/// may be asked more. Runpod does not tell its figure.
const WORKERS_FOR_LIMIT: usize = 20;
/// When to come again where too much is asked at once: something ends at any moment.
const SOON: Duration = Duration::from_secs(1);

/// Something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Run,
    RunSync,
    Status,
    StatusSync,
    Stream,
    Cancel,
    Purge,
    Requests,
    OpenAi,
}

const OPERATIONS: usize = 9;

impl Operation {
    /// Requests in a window and, where that is limited, at once.
    fn limits(self) -> (usize, Option<usize>) {
        match self {
            Self::Run => (1000, Some(200)),
            Self::RunSync | Self::Status | Self::StatusSync | Self::Stream | Self::OpenAi => {
                (2000, Some(400))
            }
            Self::Cancel => (100, Some(20)),
            Self::Purge => (2, None),
            Self::Requests => (10, Some(2)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::RunSync => "runsync",
            Self::Status => "status",
            Self::StatusSync => "status-sync",
            Self::Stream => "stream",
            Self::Cancel => "cancel",
            Self::Purge => "purge-queue",
            Self::Requests => "requests",
            Self::OpenAi => "openai",
        }
    }
}

/// What an endpoint was asked lately.
#[derive(Debug, Default)]
pub(in crate::platform) struct Rates(Mutex<[Recent; OPERATIONS]>);

#[derive(Debug, Default)]
struct Recent {
    /// When requests of the last window were let in.
    came: VecDeque<Moment>,
    inside: usize,
}

/// A request that was let in; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<(Arc<Supervisor>, Operation)>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((supervisor, operation)) = &self.0 {
            supervisor.rates.lock()[*operation as usize].inside -= 1;
        }
    }
}

impl Rates {
    fn lock(&self) -> MutexGuard<'_, [Recent; OPERATIONS]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a request in, or refuses it with 429.
pub(super) fn enter(supervisor: &Arc<Supervisor>, operation: Operation) -> Result<Permit, Refusal> {
    if supervisor.shared.options.rate_limits == RateLimits::Off {
        return Ok(Permit(None));
    }
    let now = supervisor.now();
    let (most, at_once) = operation.limits();
    let workers = supervisor.lock().workers.len();
    let raised = |limit: usize| limit.max(limit * workers / WORKERS_FOR_LIMIT);
    let mut recent = supervisor.rates.lock();
    let recent = &mut recent[operation as usize];
    while recent.came.front().is_some_and(|came| *came + WINDOW <= now) {
        recent.came.pop_front();
    }
    if let Some(limit) = at_once.map(raised)
        && recent.inside >= limit
    {
        let text = format!("rate limit exceeded: {} takes {limit} requests at once", operation.name());
        return Err(Refusal::rate_limited(text, SOON));
    }
    let limit = raised(most);
    if recent.came.len() >= limit {
        let text = format!("rate limit exceeded: {} takes {limit} requests in 10 seconds", operation.name());
        let free = recent.came.front().map_or(WINDOW, |oldest| (*oldest + WINDOW).saturating_sub(now));
        return Err(Refusal::rate_limited(text, free));
    }
    recent.came.push_back(now);
    recent.inside += 1;
    Ok(Permit(Some((Arc::clone(supervisor), operation))))
}
