//! Located findings about a user's project.

use std::path::PathBuf;

/// A byte range in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// File, relative to the project root.
    pub file: PathBuf,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The endpoint or file is left out.
    Error,
    /// Worth knowing.
    Warning,
}

/// A span with what to say beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// Text beside the underline; may be empty.
    pub text: String,
}

/// One finding: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Severity.
    pub severity: Severity,
    /// Rule, such as `duplicate-endpoint`.
    pub rule: &'static str,
    /// One line, lower case, without a final period.
    pub message: String,
    /// Where it is; `None` only where no file can be named.
    pub primary: Option<Label>,
    /// Other places that matter.
    pub secondary: Vec<Label>,
    /// What to do.
    pub hint: Option<String>,
}
