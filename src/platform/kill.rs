//! Kills a worker's process group, never one that took over its number.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Kills one worker's process group.
#[derive(Debug, Default)]
pub(super) struct KillSwitch {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<Pid>,
    was_killed: bool,
    followed: Option<Arc<KillSwitch>>,
}

impl KillSwitch {
    /// Kills the group now, or as soon as it exists.
    pub(super) fn kill(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.was_killed = true;
        kill(state.pid);
        if let Some(other) = &state.followed {
            other.kill();
        }
    }

    /// Stops the group until [`KillSwitch::thaw`]; returns whether there is one that could be.
    pub(super) fn freeze(&self) -> bool {
        self.signal(Signal::STOP)
    }

    /// Lets a stopped group go on.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = state.pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok());
        let followed = state.followed.as_ref().is_some_and(|other| other.signal(signal));
        own || followed
    }

    /// Asks the group's leader to end; one that does not exist yet is killed.
    pub(super) fn terminate(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.pid {
            // One that has ended is reaped soon.
            Some(pid) => drop(kill_process(pid, Signal::TERM)),
            None => state.was_killed = true,
        }
    }

    /// The group's leader, while it is known to be there.
    pub(super) fn pid(&self) -> Option<u32> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// Says which group it is.
    pub(super) fn attach(&self, pid: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if state.was_killed {
            kill(state.pid);
        }
    }

    /// Kills what `other` kills: a process that was started ahead brings its own switch.
    pub(super) fn follow(&self, other: &Arc<KillSwitch>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.was_killed {
            other.kill();
        }
        state.followed = Some(Arc::clone(other));
    }

    /// Kills what is left of the group and reaps its leader by `reap`, both while the number is
    /// still the leader's; kills nothing afterwards.
    pub(super) fn reaped<T>(&self, reap: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        kill(state.pid.take());
        reap()
    }
}

fn kill(pid: Option<Pid>) {
    if let Some(pid) = pid {
        // A group that is gone already is what we want.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
