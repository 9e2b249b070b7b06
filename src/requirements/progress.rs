//! What is told while environments are made.

/// Gets a line for each step of making an environment, from any thread.
pub trait Reporter: Send + Sync {
    /// Something happened that a person should read.
    fn report(&self, progress: &Progress);
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Endpoints that share the environment.
    pub endpoints: Vec<String>,
    /// What kind of line it is.
    pub kind: ProgressKind,
    /// Such as `installing 3 packages: numpy, pandas, six`.
    pub text: String,
}

/// Kind of a [`Progress`] line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    /// A step begins.
    Step,
    /// The environment is there.
    Done,
    /// Worth knowing before it goes on: a large download, a fall-back.
    Notice,
    /// It failed; `text` is the message.
    Failed,
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _progress: &Progress) {}
}
