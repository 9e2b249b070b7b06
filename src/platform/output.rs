//! What workers print: lines of bounded length, the last ones kept for the error of a crash.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::logs::{LogSource, WorkerLog};

const MAX_LINE: usize = 64 << 10;
const KEPT_LINES: usize = 50;
const KEPT_BYTES: usize = 16 << 10;

/// The last lines of a worker, and its log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: Mutex<VecDeque<String>>,
    log: Option<Arc<WorkerLog>>,
}

impl Tail {
    /// A tail whose lines are logged too.
    pub(super) fn logged(log: Option<Arc<WorkerLog>>) -> Self {
        Self { lines: Mutex::default(), log }
    }

    /// Keeps a line, dropping the oldest beyond the limit.
    pub(super) fn push(&self, line: &str) {
        if let Some(log) = &self.log {
            log.push(LogSource::Container, line);
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line.to_owned());
        let mut bytes: usize = lines.iter().map(String::len).sum();
        while lines.len() > KEPT_LINES || (bytes > KEPT_BYTES && lines.len() > 1) {
            bytes -= lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// Returns the lines kept, joined.
    pub(super) fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Calls `line` with each line until end of file. A line longer than 64 KiB comes in pieces;
/// bytes that are not UTF-8 are replaced.
pub(super) async fn read_lines(reader: impl AsyncRead + Unpin, mut line: impl FnMut(String)) {
    let mut reader = BufReader::new(reader);
    let mut pending = Vec::new();
    loop {
        let (used, is_end) = match reader.fill_buf().await {
            Ok([]) | Err(_) => (0, true),
            Ok(bytes) => {
                let mut start = 0;
                for (index, byte) in bytes.iter().enumerate() {
                    if *byte == b'\n' {
                        pending.extend_from_slice(&bytes[start..index]);
                        start = index + 1;
                        line(take_text(&mut pending));
                    }
                }
                pending.extend_from_slice(&bytes[start..]);
                (bytes.len(), false)
            }
        };
        reader.consume(used);
        if (is_end && !pending.is_empty()) || pending.len() >= MAX_LINE {
            line(take_text(&mut pending));
        }
        if is_end {
            return;
        }
    }
}

fn take_text(pending: &mut Vec<u8>) -> String {
    if pending.last() == Some(&b'\r') {
        pending.pop();
    }
    let text = String::from_utf8_lossy(pending).into_owned();
    pending.clear();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(text: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(text, |line| lines.push(line)).await;
        lines
    }

    #[tokio::test]
    async fn lines_without_final_newline_are_all_read() {
        assert_eq!(lines_of(b"a\r\n\nb").await, ["a", "", "b"]);
        assert_eq!(lines_of(b"").await, Vec::<String>::new());
        assert_eq!(lines_of(b"\xff\n").await, ["\u{fffd}"]);
    }

    #[tokio::test]
    async fn line_without_end_comes_in_bounded_pieces() {
        let lines = lines_of(&vec![b'x'; 200 << 10]).await;
        assert!(lines.len() >= 3, "{}", lines.len());
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE + (8 << 10)));
        assert_eq!(lines.iter().map(String::len).sum::<usize>(), 200 << 10);
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        let tail = Tail::default();
        for number in 0..80 {
            tail.push(&number.to_string());
        }
        assert!(tail.text().starts_with("30\n") && tail.text().ends_with("\n79"));
    }
}
