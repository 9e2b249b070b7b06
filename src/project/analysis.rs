//! From files as read to a project: endpoints, closures, and all that is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::checks;
use super::config::{error, span};
use super::declarations::{self, Declarations, Draft};
use super::diagnostic::{Diagnostic, Label};
use super::dynamic::{self, Answer, InspectError};
use super::evaluate::{Binding, Unknown};
use super::facts::{Evaluator, Facts};
use super::imports::{self, ModuleIndex};
use super::model::ProjectFile;
use super::secrets::Secrets;
use super::source::Source;
use super::tree::{ExprKind, Node, Range, StmtKind, Tree, walk, walk_stmt};

/// How long importing one file may take, unless `FLASH_IMPORT_TIMEOUT` (seconds) says otherwise.
const IMPORT_LIMIT: Duration = Duration::from_secs(30);

/// What imported files answered, by file and the content of all that they import.
pub(super) type Inspected = HashMap<PathBuf, ([u8; 32], Result<Answer, InspectError>)>;

/// One reading of a project's files.
pub(super) struct Analysis<'a> {
    pub(super) root: &'a Path,
    pub(super) python: &'a Path,
    pub(super) sources: &'a BTreeMap<PathBuf, Arc<Source>>,
    pub(super) environment: &'a HashMap<String, String>,
    pub(super) inspected: Mutex<Inspected>,
}

/// A file that must be imported, and why.
struct Pending {
    file: PathBuf,
    reason: Unknown,
    facts: Arc<Facts>,
}

impl Analysis<'_> {
    /// Returns the files with their endpoints, and what is wrong.
    pub(super) fn run(&self) -> (Vec<Arc<ProjectFile>>, Vec<Diagnostic>) {
        let sources = self.sources;
        let index = ModuleIndex::new(sources.keys().map(PathBuf::as_path));
        let tree_of = |path: &Path| sources.get(path).and_then(|source| source.tree().ok());
        let evaluator = Evaluator::new(&index, &tree_of, self.environment);
        let mut found = Declarations::default();
        let mut pending = Vec::new();
        let mut looked_at: BTreeSet<&Path> = BTreeSet::new();
        for source in sources.values().filter(|source| source.is_candidate()) {
            looked_at.insert(&source.path);
            self.look_at(source, &evaluator, &mut found, &mut pending);
        }
        for source in self.users_of_endpoints(&evaluator, &looked_at) {
            looked_at.insert(&source.path);
            self.look_at(source, &evaluator, &mut found, &mut pending);
        }
        let mut direct: HashMap<PathBuf, BTreeSet<PathBuf>> = HashMap::new();
        let mut closure_of = |file: &Path| {
            imports::closure(file, &mut |path| {
                direct
                    .entry(path.to_owned())
                    .or_insert_with(|| {
                        tree_of(path).map(|tree| index.imported_by(path, &tree)).unwrap_or_default()
                    })
                    .clone()
            })
        };
        self.import(&pending, &evaluator, &mut closure_of, &mut found);
        let mut drafts = checks::check_names(found.drafts, &mut found.problems);
        mark_remote_calls(&mut drafts, &tree_of);
        let mut by_file: BTreeMap<PathBuf, Vec<Draft>> = BTreeMap::new();
        for draft in drafts {
            by_file.entry(draft.file.clone()).or_default().push(draft);
        }
        let mut files = Vec::with_capacity(sources.len());
        for (path, source) in sources {
            let mut drafts = by_file.remove(path).unwrap_or_default();
            drafts.sort_by(|left, right| order(left).cmp(&order(right)));
            let closure = if looked_at.contains(path.as_path()) {
                closure_of(path)
            } else {
                BTreeSet::from([path.clone()])
            };
            if !drafts.is_empty() {
                for imported in closure.iter().filter(|imported| !looked_at.contains(imported.as_path())) {
                    // A broken file that an endpoint imports breaks the endpoint.
                    if let Some(Err(problem)) = sources.get(imported).map(|source| source.tree()) {
                        found.problems.push(*problem);
                    }
                }
            }
            files.push(Arc::new(ProjectFile {
                module: imports::module_name(path),
                prefix: format!("/{}", path.with_extension("").to_string_lossy()),
                hash: source.hash,
                text: Arc::clone(&source.text),
                closure,
                endpoints: drafts.into_iter().map(|draft| draft.endpoint).collect(),
                path: path.clone(),
            }));
        }
        (files, found.problems)
    }

    /// Reads one file's endpoints, or notes that it must be imported.
    fn look_at(
        &self,
        source: &Source,
        evaluator: &Evaluator<'_>,
        found: &mut Declarations,
        pending: &mut Vec<Pending>,
    ) {
        if let Err(problem) = source.tree() {
            found.problems.push(*problem);
            return;
        }
        let Some(facts) = evaluator.facts(&source.path) else { return };
        if let Some(reason) = declarations::unreadable(&facts) {
            pending.push(Pending { file: source.path.clone(), reason, facts });
            return;
        }
        let declared = declarations::collect(&source.path, &facts, evaluator, self.environment, &source.text);
        found.drafts.extend(declared.drafts);
        found.problems.extend(declared.problems);
    }

    /// Files without the word `Endpoint` that import an endpoint, or a function that makes one,
    /// from a file that has it.
    fn users_of_endpoints<'s>(
        &'s self,
        evaluator: &Evaluator<'_>,
        looked_at: &BTreeSet<&Path>,
    ) -> Vec<&'s Source> {
        let mut stems: BTreeSet<String> = BTreeSet::new();
        for file in self.sources.values().filter(|source| source.mentions) {
            let offers = evaluator.facts(&file.path).is_some_and(|facts| {
                facts.names.values().any(|binding| {
                    matches!(binding, Binding::Endpoint(_) | Binding::Function { makes_endpoints: true })
                })
            });
            if offers {
                stems.extend(imports::module_name(&file.path).rsplit('.').next().map(str::to_owned));
            }
        }
        self.sources
            .values()
            .map(Arc::as_ref)
            .filter(|source| source.may_declare() && !looked_at.contains(source.path.as_path()))
            .filter(|source| {
                stems
                    .iter()
                    .any(|stem| memchr::memmem::find(source.text.as_bytes(), stem.as_bytes()).is_some())
            })
            .filter(|source| {
                evaluator
                    .facts(&source.path)
                    .is_some_and(|facts| !facts.decorated.is_empty() || facts.unreadable.is_some())
            })
            .collect()
    }

    /// Imports files that cannot be read statically, several at a time.
    fn import(
        &self,
        pending: &[Pending],
        evaluator: &Evaluator<'_>,
        closure_of: &mut dyn FnMut(&Path) -> BTreeSet<PathBuf>,
        found: &mut Declarations,
    ) {
        let limit = self
            .environment
            .get("FLASH_IMPORT_TIMEOUT")
            .and_then(|text| text.trim().parse().ok())
            .filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0)
            .map_or(IMPORT_LIMIT, Duration::from_secs_f64);
        let work: Vec<(&Pending, [u8; 32])> = pending
            .iter()
            .map(|file| {
                let mut hash = Sha256::new();
                for imported in closure_of(&file.file) {
                    if let Some(source) = self.sources.get(&imported) {
                        hash.update(source.hash);
                    }
                }
                (file, hash.finalize().into())
            })
            .collect();
        let queue = Mutex::new(work.iter());
        std::thread::scope(|scope| {
            for _ in 0..work.len().min(4) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((file, hash)) = next else { return };
                        self.inspect(&file.file, *hash, limit);
                    }
                });
            }
        });
        let answers = self.inspected.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, _) in &work {
            let (Some((_, answer)), Some(source)) = (answers.get(&file.file), self.sources.get(&file.file))
            else {
                continue;
            };
            let Ok(tree) = source.tree() else { continue };
            let closure = closure_of(&file.file);
            let texts: Vec<&str> = closure
                .iter()
                .filter_map(|imported| self.sources.get(imported))
                .map(|source| &*source.text)
                .collect();
            let secrets = Secrets::named(self.environment, &texts);
            match answer {
                Ok(Answer::Found { endpoints }) => {
                    let mut facts = dynamic::to_facts(
                        &file.file,
                        &tree,
                        &source.text,
                        endpoints,
                        file.reason.range,
                        &secrets,
                    );
                    facts.names.clone_from(&file.facts.names);
                    let declared =
                        declarations::collect(&file.file, &facts, evaluator, self.environment, &source.text);
                    found.drafts.extend(declared.drafts);
                    found.problems.extend(declared.problems);
                }
                Ok(Answer::Failed { error, line }) => {
                    found.problems.push(cannot_import(
                        file,
                        &secrets.shown(error),
                        line_range(&source.text, *line),
                    ));
                }
                Err(problem) => found.problems.push(cannot_import(file, &problem.to_string(), None)),
            }
        }
    }

    fn inspect(&self, file: &Path, hash: [u8; 32], limit: Duration) {
        let known =
            self.inspected.lock().unwrap_or_else(PoisonError::into_inner).get(file).map(|(known, _)| *known);
        if known == Some(hash) {
            return;
        }
        let module = imports::module_name(file);
        let answer = dynamic::inspect(self.python, self.root, file, &module, limit);
        self.inspected.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned(), (hash, answer));
    }
}

fn cannot_import(file: &Pending, reason: &str, line: Option<Range>) -> Diagnostic {
    let mut problem = error(
        "import-failed",
        format!("cannot import the file: {reason}"),
        span(&file.file, line.unwrap_or(file.reason.range)),
        if line.is_some() { "" } else { "imported because of this" },
        Some("write the arguments of `Endpoint(...)` as literals or constants, and the file is read without being run".to_owned()),
    );
    if line.is_some() && line != Some(file.reason.range) {
        problem.secondary.push(Label {
            span: span(&file.file, file.reason.range),
            text: format!("imported because of this: {}", file.reason.reason),
        });
    }
    problem
}

/// The text of a line (from 1), without its indent and end.
fn line_range(text: &str, line: usize) -> Option<Range> {
    let mut offset = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        if index + 1 == line {
            let start = offset + content.len() - content.trim_start().len();
            return Some(Range { start, end: (offset + content.trim_end().len()).max(start) });
        }
        offset += content.len();
    }
    None
}

/// Queue-based functions, then classes, then routes; each by name, as 1.21 registers them.
fn order(draft: &Draft) -> (u8, &str) {
    let first = draft.endpoint.callables.first();
    let rank = match first {
        Some(callable) if callable.route.is_some() => 2,
        Some(callable) if callable.methods.is_some() => 1,
        Some(_) => 0,
        None => 3,
    };
    (rank, first.map_or(draft.endpoint.name.as_str(), |callable| callable.name.as_str()))
}

/// Notes endpoints whose functions call another endpoint's by its bare name, as 1.21 sees it.
fn mark_remote_calls(drafts: &mut [Draft], tree_of: &dyn Fn(&Path) -> Option<Arc<Tree>>) {
    let remote = checks::callable_names(drafts);
    for draft in drafts {
        let Some(tree) = tree_of(&draft.file) else { continue };
        let own: BTreeSet<&str> =
            draft.endpoint.callables.iter().map(|callable| callable.name.as_str()).collect();
        let mut calls = false;
        walk(&tree.body, &mut |node| {
            if let Node::Stmt(stmt) = node {
                let is_own = match &stmt.kind {
                    StmtKind::Function(function) => own.contains(function.name.as_str()),
                    StmtKind::Class(class) => own.contains(class.name.as_str()),
                    _ => false,
                };
                if is_own {
                    walk_stmt(stmt, &mut |inner| {
                        if let Node::Expr(expr) = inner
                            && let ExprKind::Call(call) = &expr.kind
                            && let ExprKind::Name(name) = &call.function.kind
                        {
                            calls |= remote.contains(name);
                        }
                        true
                    });
                }
            }
            true
        });
        draft.endpoint.makes_remote_calls = calls;
    }
}
