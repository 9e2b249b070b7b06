//! Removes endpoints: those of a run that ends, and those that a killed run left.

use futures_util::future::join_all;

use super::owner::{Liveness, Run};
use super::provision::Provisioner;
use super::state::{State, Tracked};
use crate::runpod::error::RunpodError;

/// What became of an endpoint that was to be removed.
#[derive(Debug)]
pub enum Removal {
    /// It is gone.
    Done,
    /// Another run uses it; its process ID.
    Shared(u32),
    /// It is still there, and still tracked.
    Failed(RunpodError),
}

impl Provisioner {
    /// Makes nothing any more, and says why to those that ask; waits for what is under way.
    pub async fn close(&self, reason: &str) {
        self.inner.ready().closed.get_or_insert_with(|| reason.to_owned());
        self.inner.flights.landed().await;
    }

    /// Returns temporary endpoints of this control plane that no living run uses.
    ///
    /// # Errors
    /// Where the tracked ones cannot be read.
    pub fn left_behind(&self) -> Result<Vec<Tracked>, RunpodError> {
        let state = self.inner.store.load()?;
        let is_left = |tracked: &Tracked| tracked.api == self.inner.options.api && tracked.is_left_behind();
        Ok(state.endpoints.into_iter().filter(is_left).collect())
    }

    /// Returns the temporary endpoints that this run still holds.
    ///
    /// # Errors
    /// Where the tracked ones cannot be read.
    pub fn own(&self) -> Result<Vec<Tracked>, RunpodError> {
        let run = &self.inner.run.id;
        let is_own =
            |tracked: &Tracked| tracked.is_temporary && tracked.runs.iter().any(|other| other.id == *run);
        Ok(self.inner.store.load()?.endpoints.into_iter().filter(is_own).collect())
    }

    /// Removes the endpoints that this run made or took over, unless another run uses them.
    ///
    /// # Errors
    /// Where the tracked ones cannot be read or written; each endpoint has its own outcome.
    pub async fn remove_own(&self) -> Result<Vec<(Tracked, Removal)>, RunpodError> {
        let run = &self.inner.run;
        let (mine, shared) = self.inner.store.update(|state| {
            let (mut mine, mut shared) = (Vec::new(), Vec::new());
            for tracked in &mut state.endpoints {
                if !tracked.is_temporary || tracked.runs.iter().all(|other| other.id != run.id) {
                    continue;
                }
                let other = tracked
                    .runs
                    .iter()
                    .find(|other| other.id != run.id && other.liveness() != Liveness::Gone)
                    .map(|other| other.pid);
                match other {
                    Some(pid) => {
                        tracked.runs.retain(|other| other.id != run.id);
                        shared.push((tracked.clone(), Removal::Shared(pid)));
                    }
                    None => mine.push(tracked.clone()),
                }
            }
            (mine, shared)
        })?;
        let mut removed = self.remove(mine).await?;
        removed.extend(shared);
        Ok(removed)
    }

    /// Lets those that this process uses and that are kept have no workers; the next run gives them
    /// back what their configuration says.
    ///
    /// # Errors
    /// As [`Provisioner::remove_own`].
    pub async fn pause_kept(&self) -> Result<Vec<(Tracked, Removal)>, RunpodError> {
        let kept: Vec<Tracked> = self.in_use()?.into_iter().filter(|tracked| !tracked.is_temporary).collect();
        let outcomes = join_all(kept.into_iter().map(|mut tracked| async {
            let removal = match self.pause(&mut tracked).await {
                Ok(()) => Removal::Done,
                Err(error) => Removal::Failed(error),
            };
            (tracked, removal)
        }))
        .await;
        self.inner.store.update(|state| {
            for (tracked, removal) in &outcomes {
                if matches!(removal, Removal::Done) {
                    state.put(tracked.clone());
                }
            }
        })?;
        Ok(outcomes)
    }

    async fn pause(&self, tracked: &mut Tracked) -> Result<(), RunpodError> {
        let control = &self.inner.options.control;
        let input = self.inner.ready().inputs.get(&tracked.name).cloned();
        let (Some(id), Some(mut input)) = (&tracked.id, input) else { return Ok(()) };
        let Some(existing) = control.endpoint(id).await? else { return Ok(()) };
        input.workers_min = Some(0);
        input.workers_max = Some(0);
        control.update_endpoint(&existing, &input, tracked.config.as_ref()).await?;
        tracked.config = Some(self.inner.store.load()?.kept(&input));
        Ok(())
    }

    /// Removes endpoints.
    ///
    /// # Errors
    /// As [`Provisioner::remove_own`].
    pub async fn remove(&self, endpoints: Vec<Tracked>) -> Result<Vec<(Tracked, Removal)>, RunpodError> {
        let outcomes = join_all(endpoints.into_iter().map(|tracked| async {
            let removal = self.remove_one(&tracked).await.unwrap_or_else(Removal::Failed);
            // Written down at once: one that hangs must not leave the others tracked.
            match removal {
                Removal::Done => self.inner.store.update(|state| state.drop(&tracked))?,
                Removal::Shared(_) => self.inner.store.update(|state| self.let_go(state, &tracked))?,
                Removal::Failed(_) => {}
            }
            Ok((tracked, removal))
        }))
        .await;
        outcomes.into_iter().collect()
    }

    /// Notes that this run does not use an endpoint any more.
    fn let_go(&self, state: &mut State, tracked: &Tracked) {
        for known in state.endpoints.iter_mut().filter(|known| known.is_same(tracked)) {
            known.runs.retain(|run| run.id != self.inner.run.id);
        }
    }

    async fn remove_one(&self, tracked: &Tracked) -> Result<Removal, RunpodError> {
        // Who is about to use it waits until it is gone, or is seen here.
        let _lock = self.inner.lock(&tracked.name).await?;
        let state = self.inner.store.load()?;
        let known = state.find(&tracked.api, &tracked.class, &tracked.name);
        let is_used = |run: &&Run| run.id != self.inner.run.id && run.liveness() == Liveness::Alive;
        if let Some(other) = known.and_then(|known| known.runs.iter().find(is_used)) {
            return Ok(Removal::Shared(other.pid));
        }
        let id = match &tracked.id {
            Some(id) => Some(id.clone()),
            None => self.inner.find_made(tracked).await?.map(|made| made.id),
        };
        if let Some(id) = id {
            // One that is gone already is as good.
            self.inner.options.control.delete_endpoint(&id).await?;
        }
        self.forget(&tracked.name);
        Ok(Removal::Done)
    }
}
