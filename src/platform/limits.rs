//! What the machine bears: workers are capped by cores and free memory.

use std::fs;
use std::thread::available_parallelism;

const WORKER_BYTES: u64 = 256 << 20;
/// Free memory below which no worker sleeps.
const PLENTY: u64 = 4 * WORKER_BYTES;

/// The most workers this machine runs at once, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    most: usize,
    is_fixed: bool,
    plenty: u64,
}

impl Machine {
    /// `most` workers, or twice the cores (at least four) when `None`.
    pub(super) fn new(most: Option<usize>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { most: most.unwrap_or_else(|| (2 * cores).max(4)), is_fixed: most.is_some(), plenty: PLENTY }
    }

    /// The most workers that start or work at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Says why no further worker may start beside `running` ones; `None` when it may.
    pub(super) fn refusal(&self, running: usize) -> Option<String> {
        if running >= self.most {
            let why = if self.is_fixed { "the limit that was set" } else { "what its cores bear" };
            return Some(format!(
                "no more than {} workers work on this machine at once ({why}); further calls wait",
                self.most
            ));
        }
        match available_memory() {
            Some(free) if free < WORKER_BYTES => Some(format!(
                "only {} MiB of memory are free: no further worker starts beside the {running} that run",
                free >> 20
            )),
            _ => None,
        }
    }

    /// Whether memory is too scarce to be kept by those who do nothing.
    pub(super) fn is_short_of_memory(&self) -> bool {
        available_memory().is_some_and(|free| free < self.plenty)
    }
}

/// Bytes that may still be used: the machine's, or what the control group leaves.
fn available_memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text));
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .zip(number("/sys/fs/cgroup/memory.current"))
        .map(|(most, used)| most.saturating_sub(used));
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group.saturating_add(reclaimable()))),
        (machine, group) => machine.or(group),
    }
}

/// Page cache counts as used in a control group, but gives way.
fn reclaimable() -> u64 {
    let Ok(text) = fs::read_to_string("/sys/fs/cgroup/memory.stat") else { return 0 };
    text.lines().filter_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok()).sum()
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// How often the kernel killed a process for want of memory, where it says so.
pub(super) fn out_of_memory_kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_with_available_line_gives_bytes() {
        let text = "MemTotal:       24689764 kB\nMemAvailable:     1024 kB\n";
        assert_eq!(parse_meminfo(text), Some(1 << 20));
        assert_eq!(parse_meminfo("MemTotal: 3 kB\n"), None);
    }

    #[test]
    fn machine_at_its_limit_refuses_with_the_number() {
        let machine = Machine::new(Some(2));
        assert!(machine.refusal(2).is_some_and(|text| text.contains("2 workers")));
    }
}
