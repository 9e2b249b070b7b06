//! One piece of work for all that want it at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::Live;
use crate::runpod::error::{ErrorKind, RunpodError};

type Outcome = Result<Live, RunpodError>;

/// What is under way, by name.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: Mutex<HashMap<String, Flight>>,
}

#[derive(Debug, Clone)]
struct Flight {
    number: u64,
    /// What it is for: another configuration has to wait for its end.
    purpose: String,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

impl Flights {
    /// Joins the work on `name` with this purpose, or begins it. It goes on when nobody waits any
    /// more: what Runpod was asked for must be written down.
    pub(super) async fn join<F>(&self, name: &str, purpose: &str, work: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut work = Some(work);
        loop {
            let (flight, is_mine) = self.find_or_begin(name, purpose, &mut work)?;
            let outcome = flight.outcome.clone().await;
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            if flights.get(name).is_some_and(|known| known.number == flight.number) {
                flights.remove(name);
            }
            if is_mine || flight.purpose == purpose {
                return outcome;
            }
        }
    }

    fn find_or_begin<F>(
        &self,
        name: &str,
        purpose: &str,
        work: &mut Option<impl FnOnce() -> F>,
    ) -> Result<(Flight, bool), RunpodError>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let interrupted = || {
            let text = "provisioning was interrupted: the process is ending";
            RunpodError::new(ErrorKind::Provisioning, text)
        };
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.outcome.peek().is_none());
        if let Some(flight) = flights.get(name) {
            return Ok((flight.clone(), false));
        }
        let task = tokio::spawn(work.take().ok_or_else(interrupted)?());
        let outcome = async move { task.await.unwrap_or_else(|_| Err(interrupted())) };
        let flight = Flight {
            number: fastrand::u64(..),
            purpose: purpose.to_owned(),
            outcome: outcome.boxed().shared(),
        };
        flights.insert(name.to_owned(), flight.clone());
        Ok((flight, true))
    }

    /// Waits until nothing is under way.
    pub(super) async fn landed(&self) {
        loop {
            let flight = {
                let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
                flights.values().find(|flight| flight.outcome.peek().is_none()).cloned()
            };
            match flight {
                Some(flight) => drop(flight.outcome.await),
                None => return,
            }
        }
    }
}
