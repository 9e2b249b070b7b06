//! Ties the worker process to its parent: it must never outlive it.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};

use super::error::WorkerError;

/// Memory pressure kills a worker before the server (-1000 to 1000, higher dies first).
#[cfg(target_os = "linux")]
const OOM_SCORE: &str = "500";

/// Makes this process the kernel's first choice under memory pressure and asks for a kill signal
/// when the thread that spawned it ends. Best effort: containers may forbid either.
pub fn prepare() {
    #[cfg(target_os = "linux")]
    {
        let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    }
}

/// Starts the thread that kills this process's group once the parent has closed its end.
///
/// It needs neither the interpreter nor the reader, so that user code which holds the
/// interpreter's lock for ever dies with its parent, too.
///
/// # Errors
/// [`WorkerError::Process`] when the thread cannot be started.
pub fn start_watchdog(socket: Arc<UnixStream>) -> Result<(), WorkerError> {
    std::thread::Builder::new()
        .name("flash-watchdog".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            wait_for_hangup(&socket);
            end_with_parent();
        })
        .map_err(WorkerError::Process)?;
    Ok(())
}

fn wait_for_hangup(socket: &UnixStream) {
    loop {
        // No event is asked for: data stays for the reader, a hang-up is always reported.
        let mut descriptors = [PollFd::new(socket, PollFlags::empty())];
        match poll(&mut descriptors, None) {
            Ok(_) => {
                let seen = descriptors[0].revents();
                if seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Kills this process's group: its parent is gone.
pub fn end_with_parent() {
    let own = getpid();
    // A worker that was not given a group of its own must not take its parent's along.
    if getpgrp() == own && kill_process_group(own, Signal::KILL).is_ok() {
        return;
    }
    let _ = kill_process(own, Signal::KILL);
}
