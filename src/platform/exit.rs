//! How a worker process ended, in words.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::limits::out_of_memory_kills;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Somebody else reaped it.
    Unknown,
}

impl Exit {
    pub(super) fn from_status(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }

    /// Says it, such as `was killed by SIGSEGV`. `kills_before` is the kernel's count of processes
    /// killed for want of memory when the worker started.
    pub(super) fn describe(self, kills_before: Option<u64>) -> String {
        match self {
            Self::Code(code) => format!("exited with code {code}"),
            Self::Signal(libc::SIGKILL) => {
                let is_oom = kills_before.zip(out_of_memory_kills()).is_some_and(|(then, now)| now > then);
                let why = if is_oom { ", very likely because memory ran out" } else { "" };
                format!("was killed by SIGKILL{why}")
            }
            Self::Signal(signal) => format!("was killed by {}", signal_name(signal)),
            Self::Unknown => "ended".to_owned(),
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_by_signal_names_it() {
        assert_eq!(Exit::Signal(libc::SIGSEGV).describe(None), "was killed by SIGSEGV");
        assert_eq!(Exit::Signal(63).describe(None), "was killed by signal 63");
        assert_eq!(Exit::Code(3).describe(None), "exited with code 3");
    }
}
