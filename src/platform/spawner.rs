//! Starts worker processes, all from one thread that lives as long as the process.
//!
//! The parent-death signal follows the *thread* that spawned a child, so a worker started from a
//! pool thread would die with that thread. The spawner is kept per process ID: a forked child
//! makes its own.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use tokio::sync::oneshot;

use super::exit::Exit;
use super::guardian;
use super::kill::KillSwitch;

/// Variable that names the worker's end of the socket pair.
pub(super) const SOCKET_VARIABLE: &str = "FLASH_WORKER_FD";

/// A process to start.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// The whole environment: nothing is inherited.
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) directory: Option<PathBuf>,
    /// The worker's end of the socket pair, where it has one.
    pub(super) socket: Option<OwnedFd>,
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    /// How it ended, once it was reaped.
    pub(super) exit: oneshot::Receiver<Exit>,
}

struct Request {
    launch: Launch,
    switch: Arc<KillSwitch>,
    reply: oneshot::Sender<io::Result<Started>>,
}

static SPAWNER: Mutex<Option<(u32, mpsc::Sender<Request>)>> = Mutex::new(None);

/// Starts a process in its own group; `switch` kills that group from then on.
pub(super) async fn spawn(launch: Launch, switch: Arc<KillSwitch>) -> io::Result<Started> {
    let (reply, started) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts workers is gone");
    sender()?.send(Request { launch, switch, reply }).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

fn sender() -> io::Result<mpsc::Sender<Request>> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if let Some((owner, sender)) = &*spawner
        && *owner == pid
    {
        return Ok(sender.clone());
    }
    let (sender, requests) = mpsc::channel::<Request>();
    thread::Builder::new().name("flash-spawner".to_owned()).spawn(move || {
        for request in requests {
            let started = start(request.launch, &request.switch);
            if let Err(Ok(_)) = request.reply.send(started) {
                request.switch.kill();
            }
        }
    })?;
    *spawner = Some((pid, sender.clone()));
    Ok(sender)
}

fn start(launch: Launch, switch: &Arc<KillSwitch>) -> io::Result<Started> {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.arguments)
        .env_clear()
        .envs(launch.variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = &launch.directory {
        command.current_dir(directory);
    }
    if let Some(socket) = &launch.socket {
        command.env(SOCKET_VARIABLE, socket.as_raw_fd().to_string());
    }
    let is_command = launch.socket.is_none();
    prepare_child(&mut command, launch.socket.as_ref().map(AsRawFd::as_raw_fd));
    let mut child = command.spawn()?;
    drop(launch.socket);
    let pid = child.id();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    switch.attach(pid);
    // Our own worker program ends with its socket; what a command started would stay.
    if is_command && let Err(error) = guardian::guard(pid) {
        tracing::warn!(%error, "workers may outlive this process if it is killed");
    }
    let (sender, exit) = oneshot::channel();
    let reaper = Arc::clone(switch);
    thread::Builder::new().name("flash-reaper".to_owned()).stack_size(64 << 10).spawn(move || {
        let _ = sender.send(reap(child, &reaper));
    })?;
    Ok(Started { stdout, stderr, exit })
}

/// Waits for the process, kills what it left in its group while its ID cannot be reused, reaps it.
fn reap(mut child: Child, switch: &KillSwitch) -> Exit {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
    }
    switch.reaped(|| {
        guardian::forget(child.id());
        match child.wait() {
            Ok(status) => Exit::from_status(status),
            Err(_) => Exit::Unknown,
        }
    })
}

/// Between fork and exec: only this socket stays open, and the child dies with its parent.
#[expect(unsafe_code, reason = "a hook between fork and exec")]
fn prepare_child(command: &mut Command, socket: Option<i32>) {
    let parent = std::process::id();
    let hook = move || {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            // Descriptors that a library left inheritable would keep another worker's socket or a
            // listener alive. Older kernels lack the call; Rust's and Python's own are closed anyway.
            // SAFETY: plain system call without pointers.
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
            set_parent_process_death_signal(Some(Signal::KILL))?;
            let now = getppid().map(|pid| pid.as_raw_nonzero().get());
            if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        // SAFETY: `socket` is owned by the parent's `Launch` until the spawn returned; plain
        // system call without pointers.
        if let Some(socket) = socket
            && unsafe { libc::fcntl(socket, libc::F_SETFD, 0) } < 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the hook makes system calls only: no allocation, no lock, nothing of the parent's
    // memory but the numbers that it owns.
    unsafe { command.pre_exec(hook) };
}
