//! Which run made an endpoint, and whether that run still lives.

use std::fs;

use serde::{Deserialize, Serialize};

/// A run of `flash run`, known again after its end: process IDs come back, start times do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// ID of the run.
    pub id: String,
    /// Process ID.
    pub pid: u32,
    /// When the process started, as its system says it; empty where that is not known.
    pub started: String,
    /// Host name.
    pub host: String,
}

/// What is known of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its process runs.
    Alive,
    /// Its process is gone.
    Gone,
    /// It is on another machine, or in another container: it cannot be asked.
    Elsewhere,
}

impl Run {
    /// This process, as a new run.
    pub fn new() -> Self {
        let pid = std::process::id();
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            pid,
            started: started(pid).unwrap_or_default(),
            host: host(),
        }
    }

    /// Returns whether the run lives.
    pub fn liveness(&self) -> Liveness {
        if self.host != host() {
            return Liveness::Elsewhere;
        }
        let is_alive = match started(self.pid) {
            Some(started) => self.started.is_empty() || started == self.started,
            None => !cfg!(target_os = "linux") && exists(self.pid),
        };
        if is_alive { Liveness::Alive } else { Liveness::Gone }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// The boot and the clock ticks since then, where `/proc` says them and the process is no zombie.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}:{}", boot.trim(), fields.get(19)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_run_lives_and_one_with_another_start_does_not() {
        let run = Run::new();
        assert_eq!(run.liveness(), Liveness::Alive);
        if cfg!(target_os = "linux") {
            let other = Run { started: "another".to_owned(), ..run.clone() };
            assert_eq!(other.liveness(), Liveness::Gone);
        }
        assert_eq!(Run { host: "elsewhere.example".to_owned(), ..run }.liveness(), Liveness::Elsewhere);
    }
}
