//! The one place that writes to the terminal.

use std::error::Error;
use std::io::{self, IsTerminal, Write};

/// Hands out stdout (data) and stderr (everything else), with or without colour.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    color: bool,
}

impl Printer {
    /// A printer for this process: colour only on a terminal, never with `NO_COLOR`.
    pub fn new() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: io::stderr().is_terminal() && !forbidden }
    }

    /// Whether messages are coloured.
    pub fn has_color(self) -> bool {
        self.color
    }

    /// How many columns the terminal has that messages go to; `None` where they go elsewhere.
    pub fn width(self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Writes data to stdout, with a final newline.
    pub fn data(self, text: &str) {
        // A closed pipe is the reader's choice, not an error.
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    /// Writes a message to stderr, with a final newline.
    pub fn message(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Asks the person at the terminal; `None` where there is none, or the answer never comes.
    pub fn ask(self, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let _ = write!(io::stderr().lock(), "{question}");
        let mut answer = String::new();
        let length = io::stdin().read_line(&mut answer).ok()?;
        (length > 0).then_some(answer)
    }

    /// Writes `error: …` to stderr.
    pub fn error(self, text: &str) {
        let label = if self.color { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
        self.message(&format!("{label}: {text}"));
    }

    /// Writes `hint: …` to stderr, after a blank line.
    pub fn hint(self, text: &str) {
        let label = if self.color { "\u{1b}[1;36mhint\u{1b}[0m" } else { "hint" };
        self.message(&format!("\n{label}: {text}"));
    }
}

impl Printer {
    /// Writes an error with what caused it, and what to do about it.
    pub fn failure(self, error: &dyn Error, hint: Option<&str>) {
        self.error(&error.to_string());
        let mut cause = error.source();
        while let Some(source) = cause {
            self.message(&format!("  caused by: {source}"));
            cause = source.source();
        }
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }
}

impl Default for Printer {
    fn default() -> Self {
        Self::new()
    }
}
