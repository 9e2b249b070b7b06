//! Ends what is left of commands when this process is killed.
//!
//! The parent-death signal reaches a command's own process alone; what that started, such as the
//! official worker's process that pings for ever (`platform.md` 9, 40), would go on. A small shell
//! waits for the end of a pipe that this process holds, and kills the groups it was told of. It is
//! in a group of its own: signals of the terminal do not reach it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::ends::End;

/// Keeps the groups that it reads as `+ 7` and forgets those that it reads as `- 7`; kills what it
/// still knows at the end of its input. Nothing but what every shell has built in.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT
groups=' '
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

/// The shell that waits, with the groups that it knows.
struct Guardian {
    /// The process that it guards: a forked child starts its own.
    owner: u32,
    pipe: Option<ChildStdin>,
    /// Goes before the pipe does: a forked child must not keep it open.
    end: Option<End>,
    shell: Child,
}

impl Guardian {
    fn tell(&mut self, sign: char, group: u32) -> io::Result<()> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        // One write: a line is never torn.
        pipe.write_all(format!("{sign} {group}\n").as_bytes())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end = None;
        // Its groups go on to be guarded, by the next one.
        let _ = self.shell.kill();
        self.pipe = None;
        let _ = self.shell.wait();
    }
}

#[derive(Default)]
struct Guarded {
    guardian: Option<Guardian>,
    groups: BTreeSet<u32>,
}

static GUARDED: Mutex<Option<Guarded>> = Mutex::new(None);

/// Has a process group killed when this process ends before [`forget`].
pub(super) fn guard(group: u32) -> io::Result<()> {
    let mut guarded = GUARDED.lock().unwrap_or_else(PoisonError::into_inner);
    let guarded = guarded.get_or_insert_default();
    let is_own = guarded.guardian.as_ref().is_some_and(|guardian| guardian.owner == std::process::id());
    if !is_own {
        // What was inherited by a fork is the parent's, and its pipe was given up.
        std::mem::forget(guarded.guardian.take());
        guarded.groups.clear();
    }
    guarded.groups.insert(group);
    if tell(guarded, '+', group).is_ok() {
        return Ok(());
    }
    // There is none yet, or somebody killed it: a new one learns of all groups.
    let mut guardian = start()?;
    for group in &guarded.groups {
        guardian.tell('+', *group)?;
    }
    guarded.guardian = Some(guardian);
    Ok(())
}

/// The group is gone, or its number is about to be free again.
pub(super) fn forget(group: u32) {
    let mut guarded = GUARDED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guarded) = guarded.as_mut()
        && guarded.groups.remove(&group)
    {
        // One that was killed knows no group; the next start makes another.
        let _ = tell(guarded, '-', group);
    }
}

fn tell(guarded: &mut Guarded, sign: char, group: u32) -> io::Result<()> {
    match &mut guarded.guardian {
        Some(guardian) => guardian.tell(sign, group),
        None => Err(io::ErrorKind::NotConnected.into()),
    }
}

fn start() -> io::Result<Guardian> {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let end = Some(End::new(&pipe));
    Ok(Guardian { owner: std::process::id(), pipe: Some(pipe), end, shell })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    /// A process group of two, and a pipe whose end says that both are gone.
    fn group() -> (Child, std::process::ChildStdout) {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & echo up; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 3]).unwrap();
        (child, stdout)
    }

    #[test]
    fn group_that_is_known_at_the_end_of_the_pipe_is_killed_and_others_are_not() {
        let (mut kept, _) = group();
        let (mut ended, mut pipe) = group();
        let mut guardian = start().unwrap();
        for (sign, group) in [('+', kept.id()), ('+', ended.id()), ('-', kept.id())] {
            guardian.tell(sign, group).unwrap();
        }
        // What the end of this process does: the pipe closes.
        guardian.pipe = None;
        guardian.shell.wait().unwrap();
        let asked = Instant::now();
        assert_eq!(pipe.read(&mut [0; 8]).unwrap(), 0);
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert!(!ended.wait().unwrap().success());
        assert!(kept.try_wait().unwrap().is_none(), "a group that was forgotten was killed");
        let leader = rustix::process::Pid::from_child(&kept);
        rustix::process::kill_process_group(leader, rustix::process::Signal::KILL).unwrap();
        kept.wait().unwrap();
    }
}
