//! One Python file as read: its text, whether it may have endpoints, and its tree when asked for.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::config::error;
use super::decode::decode;
use super::diagnostic::{Diagnostic, Span};
use super::syntax::{self, SyntaxProblem};
use super::tree::Tree;

/// Largest file that is parsed.
const LARGEST: usize = 8 * 1024 * 1024;
/// Bytes of the longest word that is looked for.
const LONGEST_WORD: usize = 12;
/// Stack of a reading thread: the tree of a hostile file is as deep as the parser allows.
const STACK: usize = 128 * 1024 * 1024;

/// A file of the project.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
    pub(super) hash: [u8; 32],
    /// Whether the word `Endpoint` (or `remote`, the old decorator) is in it.
    pub(super) mentions: bool,
    /// Why there is no text.
    problem: Option<Box<Diagnostic>>,
    tree: OnceLock<Result<Arc<Tree>, SyntaxProblem>>,
}

impl Source {
    /// Reads a file. `had_endpoints` says that it may have some although their name is not in it: a
    /// file that was saved half-way has lost it, and is not one without endpoints.
    fn load(root: &Path, path: PathBuf, had_endpoints: bool) -> Self {
        let place = |offset: usize| Span { file: path.clone(), start: offset, end: offset };
        let content = match Content::read(&root.join(&path)) {
            Ok(content) => content,
            Err(reason) => {
                let hint = match reason.kind() {
                    io::ErrorKind::PermissionDenied => "make it readable, or list it in `.gitignore`",
                    _ => "list it in `.gitignore` if it is not part of the project",
                };
                let message = format!("cannot read the file: {reason}");
                let problem = error("unreadable-file", message, place(0), "", Some(hint.to_owned()));
                return Self::broken(path, Sha256::digest([]).into(), true, problem);
            }
        };
        let Content { bytes, length, hash, mentions } = content;
        let mentions = mentions || had_endpoints;
        let Some(bytes) = bytes else {
            let megabytes = length / 1_000_000;
            let message = format!("the file is too large to be read for endpoints ({megabytes} MB)");
            let hint = "keep endpoints in files of their own, and data in files that are no Python";
            let problem = error("file-too-large", message, place(0), "", Some(hint.to_owned()));
            return Self::broken(path, hash, mentions, problem);
        };
        match decode(&bytes) {
            Ok(text) => {
                Self { text: text.into(), path, hash, mentions, problem: None, tree: OnceLock::new() }
            }
            Err(found) => {
                let text: Arc<str> = String::from_utf8_lossy(&bytes).into();
                let start = String::from_utf8_lossy(&bytes[..found.offset]).len();
                let width = text[start..].chars().next().map_or(0, char::len_utf8);
                let at = Span { file: path.clone(), start, end: start + width };
                let problem = error("encoding", found.message, at, "", Some(found.hint.to_owned()));
                Self { text, ..Self::broken(path, hash, mentions, problem) }
            }
        }
    }

    fn broken(path: PathBuf, hash: [u8; 32], mentions: bool, problem: Diagnostic) -> Self {
        Self {
            path,
            text: Arc::from(""),
            hash,
            mentions,
            problem: Some(Box::new(problem)),
            tree: OnceLock::new(),
        }
    }

    /// The tree; the error is why there is none.
    pub(super) fn tree(&self) -> Result<Arc<Tree>, Box<Diagnostic>> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let parsed = self.tree.get_or_init(|| syntax::parse(&self.text).map(Arc::new));
        parsed.clone().map_err(|problem| {
            let place = super::config::span(&self.path, problem.range);
            Box::new(error("syntax-error", format!("invalid syntax: {}", problem.message), place, "", None))
        })
    }

    /// Whether it may declare endpoints: packages' own files never do, as in 1.21.
    pub(super) fn is_candidate(&self) -> bool {
        self.mentions && self.may_declare()
    }

    /// Whether it is of the kind of file that may declare endpoints.
    pub(super) fn may_declare(&self) -> bool {
        self.path.file_name().is_some_and(|name| name != "__init__.py")
    }
}

/// What is in a file.
struct Content {
    /// The bytes; `None` where there are too many.
    bytes: Option<Vec<u8>>,
    length: usize,
    hash: [u8; 32],
    mentions: bool,
}

impl Content {
    /// Reads a file, and keeps no more of it than can be parsed.
    fn read(path: &Path) -> io::Result<Self> {
        let mut file = fs::File::open(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
        let mut hash = Sha256::new_with_prefix(&bytes);
        let mut mentions = mentions(&bytes);
        let mut length = bytes.len();
        if length <= LARGEST {
            return Ok(Self { bytes: Some(bytes), length, hash: hash.finalize().into(), mentions });
        }
        loop {
            // A word may begin in one piece and end in the next.
            bytes.drain(..bytes.len() - LONGEST_WORD);
            let read = file.by_ref().take(1 << 20).read_to_end(&mut bytes)?;
            if read == 0 {
                return Ok(Self { bytes: None, length, hash: hash.finalize().into(), mentions });
            }
            hash.update(&bytes[bytes.len() - read..]);
            mentions = mentions || self::mentions(&bytes);
            length += read;
        }
    }
}

fn mentions(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"Endpoint").is_some()
        || memchr::memmem::find(bytes, b"runpod_flash").is_some()
}

/// Reads files in parallel, and parses those that may have endpoints; `had_endpoints` are those
/// that had the name of them when they were read before.
pub(super) fn load_all(root: &Path, paths: &[PathBuf], had_endpoints: &HashSet<PathBuf>) -> Vec<Arc<Source>> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let share = paths.len().div_ceil(threads).max(16);
    let load = |path: PathBuf| {
        let had = had_endpoints.contains(&path);
        let source = Arc::new(Source::load(root, path, had));
        if source.is_candidate() {
            // Reported where the file is looked at.
            let _ = source.tree();
        }
        source
    };
    let mut loaded = Vec::with_capacity(paths.len());
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for part in paths.chunks(share) {
            let work = move || part.iter().cloned().map(load).collect::<Vec<_>>();
            match std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work) {
                Ok(thread) => running.push(thread),
                // No thread to be had: this one does it.
                Err(_) => loaded.extend(part.iter().cloned().map(load)),
            }
        }
        for thread in running {
            loaded.extend(thread.join().unwrap_or_default());
        }
    });
    loaded
}

/// Runs `work` with a stack that deep trees fit on.
pub(super) fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok()?.join().ok()
    })
}
