//! Runs installers so that they never outlive `flash`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::EnvironmentError;

/// Waits for a line; at the end of its input instead, it ends the process group `$1`.
///
/// The signal that a process gets when its parent dies would reach `uv` but not the builds that
/// `uv` started.
const WATCH: &str = r#"trap "" HUP INT TERM; read -r _ || kill -s KILL -- "-$1""#;

/// Processes under way, so that they can be ended when `flash` stops.
#[derive(Debug, Default)]
pub struct Children {
    state: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    groups: BTreeSet<u32>,
    is_closed: bool,
}

/// How a process ended, and what it wrote.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Children {
    /// Ends all that runs, and starts nothing any more.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_closed = true;
        for group in &state.groups {
            kill_group(*group);
        }
    }

    /// Runs a program to its end, in a process group of its own that is ended when `flash` stops or
    /// is killed.
    pub fn run(&self, command: &mut Command, input: &str) -> Result<Finished, EnvironmentError> {
        let path = command.get_program().to_owned();
        let failed = |source| EnvironmentError::Start { path: path.clone().into(), source };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Err(EnvironmentError::Interrupted);
        }
        let mut child = command.spawn().map_err(failed)?;
        let group = child.id();
        state.groups.insert(group);
        drop(state);
        let watch = Watch::start(group);

        if let Some(mut stdin) = child.stdin.take() {
            // A failure before it has read everything is told by its exit status.
            let _ = stdin.write_all(input.as_bytes());
        }
        let (stdout, stderr) = read_both(child.stdout.take(), child.stderr.take());
        // Whose group is not reaped is nobody else's: until then it may be ended by its number.
        drop(watch);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.wait().map_err(failed)?;
        state.groups.remove(&group);
        if state.is_closed && !status.success() {
            return Err(EnvironmentError::Interrupted);
        }
        Ok(Finished { status, stdout, stderr })
    }
}

/// A process that ends a group when this one dies without having dropped the watch.
struct Watch {
    child: Child,
    line: Option<ChildStdin>,
}

impl Watch {
    /// Nothing where there is no shell: then a killed `flash` may leave an installer to its end.
    fn start(group: u32) -> Option<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", WATCH, "flash-install", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()?;
        let line = child.stdin.take();
        Some(Self { child, line })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut line) = self.line.take() {
            // If it is gone, there is nobody to tell.
            let _ = line.write_all(b"done\n");
        }
        let _ = self.child.wait();
    }
}

fn kill_group(group: u32) {
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Reads both streams to their end, without either blocking the other.
fn read_both(stdout: Option<impl Read + Send>, stderr: Option<impl Read + Send>) -> (String, String) {
    fn read(stream: Option<impl Read>) -> String {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before a broken pipe is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
    std::thread::scope(|scope| {
        let errors = scope.spawn(|| read(stderr));
        let output = read(stdout);
        (output, errors.join().unwrap_or_default())
    })
}
