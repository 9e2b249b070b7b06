//! Reads a project, and reads it again when files changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::analysis::{Analysis, Inspected};
use super::config::error;
use super::diagnostic::{Diagnostic, Severity, Span};
use super::ignore;
use super::model::Project;
use super::settings;
use super::source::{self, Source};

/// Reads a project; keeps what it read, so that a change costs only the files that changed.
#[derive(Debug)]
pub struct Reader {
    root: PathBuf,
    python: PathBuf,
    sources: BTreeMap<PathBuf, Arc<Source>>,
    /// What imported files answered, by file and the content of all that they import.
    inspected: Inspected,
}

impl Reader {
    /// A reader of the project at `root`; `python` imports files that cannot be read statically.
    pub fn new(root: impl AsRef<Path>, python: PathBuf) -> Self {
        let root = root.as_ref();
        let absolute = std::fs::canonicalize(root)
            .or_else(|_| std::path::absolute(root))
            .unwrap_or_else(|_| root.to_owned());
        Self { root: absolute, python, sources: BTreeMap::new(), inspected: Inspected::new() }
    }

    /// Reads everything.
    pub fn read(&mut self) -> Project {
        self.sources.clear();
        self.refresh(&|_| true)
    }

    /// Reads `changed` files (absolute, or relative to the root) again, and notices new and
    /// deleted ones; of all others, what was read before is kept.
    pub fn update(&mut self, changed: &[PathBuf]) -> Project {
        let changed: Vec<PathBuf> = changed
            .iter()
            .map(|path| path.strip_prefix(&self.root).map_or_else(|_| path.clone(), Path::to_owned))
            .collect();
        self.refresh(&|path| changed.iter().any(|changed| path.starts_with(changed)))
    }

    fn refresh(&mut self, is_changed: &dyn Fn(&Path) -> bool) -> Project {
        let listing = ignore::list(&self.root, true);
        let mut problems: Vec<Diagnostic> = listing
            .problems
            .into_iter()
            .map(|(file, reason)| {
                let mut problem = error(
                    "unreadable-path",
                    format!("`{}` is left out: {reason}", file.display()),
                    Span { file, start: 0, end: 0 },
                    "",
                    None,
                );
                problem.severity = Severity::Warning;
                problem
            })
            .collect();
        let mut kept = BTreeMap::new();
        let mut wanted = Vec::new();
        let mut had_endpoints = HashSet::new();
        for path in listing.files {
            if path.to_str().is_none() {
                let message = format!("`{}` is left out: its name is not UTF-8", path.display());
                let mut problem = error(
                    "file-name",
                    message,
                    Span { file: path, start: 0, end: 0 },
                    "",
                    Some("rename it".to_owned()),
                );
                problem.severity = Severity::Warning;
                problems.push(problem);
                continue;
            }
            match self.sources.remove(&path) {
                Some(source) if !is_changed(&path) => {
                    kept.insert(path, source);
                }
                before => {
                    if before.is_some_and(|before| before.mentions) {
                        had_endpoints.insert(path.clone());
                    }
                    wanted.push(path);
                }
            }
        }
        kept.extend(
            source::load_all(&self.root, &wanted, &had_endpoints)
                .into_iter()
                .map(|source| (source.path.clone(), source)),
        );
        self.sources = kept;
        let environment = settings::environment(&self.root);
        let settings = settings::read(&self.root, &environment);
        problems.extend(settings.problems);
        let mut inspected = std::mem::take(&mut self.inspected);
        let known: BTreeSet<PathBuf> = self.sources.keys().cloned().collect();
        inspected.retain(|file, _| known.contains(file));
        let analysis = Analysis {
            root: &self.root,
            python: &self.python,
            sources: &self.sources,
            environment: &environment,
            inspected: Mutex::new(inspected),
        };
        let read = source::with_deep_stack(|| {
            let (files, found) = analysis.run();
            (files, found, analysis.inspected.into_inner().unwrap_or_else(PoisonError::into_inner))
        });
        let (files, found, inspected) = read.unwrap_or_else(|| {
            let problem = Diagnostic {
                severity: Severity::Error,
                rule: "internal",
                message: "the project could not be read: this is a mistake in `flash` itself".to_owned(),
                primary: None,
                secondary: Vec::new(),
                hint: Some("please report it, with the lines above this one".to_owned()),
            };
            (Vec::new(), vec![problem], Inspected::new())
        });
        self.inspected = inspected;
        problems.extend(found);
        problems.sort_by(|left, right| place(left).cmp(&place(right)));
        problems.dedup();
        Project {
            root: self.root.clone(),
            app: settings.app,
            files,
            diagnostics: problems,
            requirements: settings.requirements,
        }
    }
}

fn place(diagnostic: &Diagnostic) -> Option<(&Path, usize)> {
    diagnostic.primary.as_ref().map(|label| (label.span.file.as_path(), label.span.start))
}
