//! The clock of the platform: every wait asks it, so that time-outs are tested without waiting.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::wire::BoxFuture;

/// A moment as time since the Unix epoch, so that it means the same after a restart.
pub type Moment = Duration;

/// Tells and awaits time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the moment now; never earlier than a moment returned before.
    fn now(&self) -> Moment;

    /// Completes at `moment`, at once when it has passed.
    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()>;
}

/// The machine's clock: wall time at creation, then monotonic.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    epoch: Duration,
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { epoch, started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        self.epoch + self.started.elapsed()
    }

    fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(moment.saturating_sub(self.now())))
    }
}

#[cfg(test)]
pub(super) mod manual {
    //! A clock that stands still until a test moves it.

    use super::{BoxFuture, Clock, Duration, Moment};
    use tokio::sync::watch;

    pub(crate) struct ManualClock(watch::Sender<Moment>);

    impl ManualClock {
        pub(crate) fn new() -> Self {
            Self(watch::Sender::new(Duration::from_secs(1_000_000)))
        }

        pub(crate) fn advance(&self, by: Duration) {
            self.0.send_modify(|now| *now += by);
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Moment {
            *self.0.borrow()
        }

        fn sleep_until(&self, moment: Moment) -> BoxFuture<'static, ()> {
            let mut receiver = self.0.subscribe();
            Box::pin(async move {
                if receiver.wait_for(|now| *now >= moment).await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        }
    }
}
