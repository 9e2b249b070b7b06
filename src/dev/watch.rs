//! Follows a project's files.
//!
//! The system's own notifications where there are some, watched folder by folder so that ignored
//! trees (`.venv`, `node_modules`) cost nothing; comparing times and sizes otherwise, and beside
//! them on network file systems, whose changes from elsewhere are not notified. Says only *which*
//! files may have changed; whoever reads them compares contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Nothing new for this long ends a burst: an editor's save is several events.
const QUIET: Duration = Duration::from_millis(15);
/// A burst that goes on is reported at least this often.
const LONGEST_BURST: Duration = Duration::from_millis(80);
/// How often times and sizes are compared where nothing is notified.
const POLL: Duration = Duration::from_millis(400);

/// Returns whether a folder (absolute) is worth following.
pub(super) type Keep = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// Folders of tools, which can be large and never hold a project's own code.
const SKIPPED: [&str; 9] = [
    "__pycache__",
    "node_modules",
    "site-packages",
    "__pypackages__",
    "venv",
    "env",
    "dist",
    "build",
    "tests",
];

/// A filter that leaves out folders which cannot hold endpoints: of tools, hidden ones, virtual
/// environments, and what the root's `.gitignore` names. Which files count is decided where the
/// project is read; this only saves the system from watching what is ignored anyway.
pub(super) fn worth_following(root: &Path) -> Keep {
    let root = root.to_owned();
    let rules = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let has_exceptions = rules.lines().any(|line| line.starts_with('!'));
    let mut builder = GitignoreBuilder::new(&root);
    for line in rules.lines().filter(|_| !has_exceptions) {
        // A pattern that is none is skipped, as git does.
        let _ = builder.add_line(None, line);
    }
    let ignored = builder.build().unwrap_or_else(|_| Gitignore::empty());
    Arc::new(move |folder| {
        if folder == root {
            return true;
        }
        let name = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        !name.starts_with('.')
            && !SKIPPED.contains(&name.as_ref())
            && !ignored.matched(folder, true).is_ignore()
            && !folder.join("pyvenv.cfg").exists()
    })
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The system tells.
    Notified,
    /// The system cannot tell (too many folders, or no such service): compared now and then.
    Polled,
    /// It was asked for.
    PolledAsAsked,
    /// A network file system: both.
    Both,
}

/// Follows files until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    /// How.
    pub(super) mode: Mode,
    stop: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Event(Event),
    /// Notifications were lost, or cannot be set up for a folder.
    Lost,
    Stop,
}

impl Watch {
    /// Begins to follow the files below `root`; `changed` gets their absolute paths, on a thread
    /// of its own. Files that are there now are not reported.
    pub(super) fn start(
        root: PathBuf,
        poll: bool,
        keep: Keep,
        mut changed: impl FnMut(BTreeSet<PathBuf>) + Send + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        let mut files = Files { folders: BTreeSet::new(), seen: BTreeMap::new(), keep };
        let notifier = if poll { None } else { notifier(&root, &sender, &mut files) };
        let mode = match (&notifier, poll) {
            (_, true) => Mode::PolledAsAsked,
            (None, _) => Mode::Polled,
            (Some(_), _) if is_network(&root) => Mode::Both,
            (Some(_), _) => Mode::Notified,
        };
        if notifier.is_none() {
            files.add_folder(&root, &mut |_| true);
        }
        let mut follower = Follower { root, notifier, is_polling: mode != Mode::Notified, files, receiver };
        let thread =
            thread::Builder::new().name("flash-watch".to_owned()).spawn(move || follower.run(&mut changed));
        Self { mode, stop: sender, thread: thread.ok() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread is gone where nobody receives.
        let _ = self.stop.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Follower {
    root: PathBuf,
    notifier: Option<RecommendedWatcher>,
    is_polling: bool,
    files: Files,
    receiver: Receiver<Message>,
}

impl Follower {
    fn run(&mut self, changed: &mut dyn FnMut(BTreeSet<PathBuf>)) {
        let mut next_poll = Instant::now() + POLL;
        loop {
            let wait = if self.is_polling {
                next_poll.saturating_duration_since(Instant::now())
            } else {
                Duration::MAX
            };
            let mut paths = BTreeSet::new();
            match receive(&self.receiver, wait) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => {
                    if self.take(message, &mut paths).is_break() {
                        return;
                    }
                    let began = Instant::now();
                    while began.elapsed() < LONGEST_BURST {
                        match self.receiver.recv_timeout(QUIET) {
                            Ok(message) => {
                                if self.take(message, &mut paths).is_break() {
                                    return;
                                }
                            }
                            Err(_) => break,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.files.compare(&self.root, &mut paths);
                    next_poll = Instant::now() + POLL;
                }
            }
            if !paths.is_empty() {
                changed(paths);
            }
        }
    }

    fn take(&mut self, message: Message, paths: &mut BTreeSet<PathBuf>) -> std::ops::ControlFlow<()> {
        match message {
            Message::Stop => return std::ops::ControlFlow::Break(()),
            Message::Lost => self.files.compare(&self.root, paths),
            Message::Event(event) => {
                if event.need_rescan() {
                    self.files.compare(&self.root, paths);
                }
                for path in event.paths {
                    self.look_at(&path, paths);
                }
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// One path of which something was told: it may be there, be gone, or be a folder.
    fn look_at(&mut self, path: &Path, paths: &mut BTreeSet<PathBuf>) {
        if path == self.root {
            return;
        }
        if path.is_dir() {
            let notifier = &mut self.notifier;
            let is_polling = &mut self.is_polling;
            let before: BTreeSet<PathBuf> = self.files.seen.keys().cloned().collect();
            self.files.add_folder(path, &mut |folder| {
                let watched = notifier
                    .as_mut()
                    .is_none_or(|notifier| notifier.watch(folder, RecursiveMode::NonRecursive).is_ok());
                *is_polling |= !watched;
                true
            });
            // Files may have been written before the folder was watched.
            paths.extend(self.files.seen.keys().filter(|file| !before.contains(*file)).cloned());
        } else if self.files.folders.contains(path) {
            paths.extend(self.files.drop_folder(path));
        } else if is_wanted(path) {
            match stamp(path) {
                Some(stamp) => self.files.seen.insert(path.to_owned(), stamp),
                None => self.files.seen.remove(path),
            };
            paths.insert(path.to_owned());
        }
    }
}

/// Sets up notifications for every kept folder; `None` where the system has none to give.
fn notifier(root: &Path, sender: &Sender<Message>, files: &mut Files) -> Option<RecommendedWatcher> {
    let sender = sender.clone();
    let tell = move |result: notify::Result<Event>| {
        let message = match result {
            // Reading a file is an event as well, and this program reads them.
            Ok(Event { kind: EventKind::Access(kind), .. })
                if kind != AccessKind::Close(AccessMode::Write) =>
            {
                return;
            }
            Ok(event) => Message::Event(event),
            Err(_) => Message::Lost,
        };
        // The thread is gone where nobody receives.
        let _ = sender.send(message);
    };
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    let mut is_complete = true;
    files.add_folder(root, &mut |folder| match watcher.watch(folder, RecursiveMode::NonRecursive) {
        Ok(()) => true,
        // A folder that went away meanwhile, or that may not be read, has nothing to follow.
        Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => true,
        Err(error) => {
            let is_denied =
                matches!(&error.kind, ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied);
            is_complete &= is_denied;
            is_complete
        }
    });
    is_complete.then_some(watcher)
}

/// What is known of the tree.
struct Files {
    folders: BTreeSet<PathBuf>,
    seen: BTreeMap<PathBuf, (SystemTime, u64)>,
    keep: Keep,
}

impl Files {
    /// Takes in a folder with all below it; stops where `enter` says no. Links to folders are not
    /// followed, so that no loop is.
    fn add_folder(&mut self, folder: &Path, enter: &mut dyn FnMut(&Path) -> bool) {
        let mut rest = vec![folder.to_owned()];
        while let Some(folder) = rest.pop() {
            if !(self.keep)(&folder) {
                continue;
            }
            if !self.folders.contains(&folder) && !enter(&folder) {
                return;
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            self.folders.insert(folder);
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    rest.push(path);
                } else if is_wanted(&path)
                    && let Some(stamp) = stamp(&path)
                {
                    self.seen.insert(path, stamp);
                }
            }
        }
    }

    /// Forgets a folder that is gone; returns the files that were in it.
    fn drop_folder(&mut self, folder: &Path) -> Vec<PathBuf> {
        self.folders.retain(|known| !known.starts_with(folder));
        let gone: Vec<PathBuf> = self.seen.keys().filter(|file| file.starts_with(folder)).cloned().collect();
        for file in &gone {
            self.seen.remove(file);
        }
        gone
    }

    /// Looks at the whole tree and adds what differs from what was seen.
    fn compare(&mut self, root: &Path, changed: &mut BTreeSet<PathBuf>) {
        let before = std::mem::take(&mut self.seen);
        self.folders.clear();
        self.add_folder(root, &mut |_| true);
        changed.extend(
            self.seen
                .iter()
                .filter(|(path, stamp)| before.get(*path) != Some(stamp))
                .map(|(path, _)| path.clone()),
        );
        changed.extend(before.into_keys().filter(|path| !self.seen.contains_key(path)));
    }
}

/// Files whose change means something: sources, and what says which variables, packages and
/// ignored files there are.
fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|end| end == "py")
        || matches!(name, ".env" | ".gitignore" | "pyproject.toml")
        || (name.starts_with("requirements") && path.extension().is_some_and(|end| end == "txt"))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn receive(receiver: &Receiver<Message>, wait: Duration) -> Result<Message, RecvTimeoutError> {
    if wait == Duration::MAX {
        return receiver.recv().map_err(|_| RecvTimeoutError::Disconnected);
    }
    receiver.recv_timeout(wait)
}

/// Whether other machines (or the host of this container) can change files below `root` unseen.
#[cfg(target_os = "linux")]
fn is_network(root: &Path) -> bool {
    /// NFS, SMB, CIFS, SMB2, 9P, FUSE.
    const MAGIC: [u32; 6] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546];
    // The magic number is 32 bits wide in a field that is wider or signed on some machines.
    rustix::fs::statfs(root).is_ok_and(|found| {
        MAGIC.iter().any(|magic| i128::from(*magic) == i128::from(found.f_type) & 0xffff_ffff)
    })
}

/// Elsewhere the system's notifications are trusted.
#[cfg(not(target_os = "linux"))]
fn is_network(_root: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rstest::rstest;

    use super::*;

    struct Project {
        folder: tempfile::TempDir,
        _watch: Watch,
        changes: mpsc::Receiver<BTreeSet<PathBuf>>,
    }

    fn project(poll: bool) -> Project {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir_all(folder.path().join("sub")).expect("sub");
        fs::create_dir_all(folder.path().join(".venv/lib")).expect("venv");
        fs::write(folder.path().join("a.py"), "1").expect("write");
        fs::write(folder.path().join("sub/b.py"), "1").expect("write");
        let (sender, changes) = mpsc::channel();
        let keep: Keep = Arc::new(|folder: &Path| !folder.ends_with(".venv"));
        let watch = Watch::start(folder.path().to_owned(), poll, keep, move |paths| {
            let _ = sender.send(paths);
        });
        Project { folder, _watch: watch, changes }
    }

    impl Project {
        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Waits until all of `names` were reported; nothing else may be.
        fn expect(&self, names: &[&str]) {
            let mut missing: BTreeSet<PathBuf> = names.iter().map(|name| self.path(name)).collect();
            let wanted = missing.clone();
            while !missing.is_empty() {
                let paths = self.changes.recv_timeout(Duration::from_secs(10)).expect("a change");
                assert!(paths.is_subset(&wanted), "{paths:?} beside {wanted:?}");
                missing.retain(|path| !paths.contains(path));
            }
        }
    }

    #[rstest]
    fn change_of_a_file_is_reported(#[values(false, true)] poll: bool) {
        let project = project(poll);
        // In place, and as editors save: beside, then renamed over.
        fs::write(project.path("a.py"), "longer").expect("write");
        project.expect(&["a.py"]);
        fs::write(project.path("sub/b.py.swp"), "longer").expect("write");
        fs::rename(project.path("sub/b.py.swp"), project.path("sub/b.py")).expect("rename");
        project.expect(&["sub/b.py"]);
        fs::remove_file(project.path("a.py")).expect("remove");
        project.expect(&["a.py"]);
    }

    #[rstest]
    fn folders_that_come_and_go_are_followed(#[values(false, true)] poll: bool) {
        let project = project(poll);
        fs::create_dir_all(project.path("new/deep")).expect("folder");
        fs::write(project.path("new/deep/c.py"), "1").expect("write");
        project.expect(&["new/deep/c.py"]);
        fs::write(project.path("new/deep/c.py"), "longer").expect("write");
        project.expect(&["new/deep/c.py"]);
        fs::rename(project.path("sub"), project.path("moved")).expect("rename");
        project.expect(&["sub/b.py", "moved/b.py"]);
        fs::remove_dir_all(project.path("new")).expect("remove");
        project.expect(&["new/deep/c.py"]);
    }

    #[rstest]
    fn ignored_folders_and_other_files_are_not_reported(#[values(false, true)] poll: bool) {
        let project = project(poll);
        fs::write(project.path(".venv/lib/x.py"), "1").expect("write");
        fs::write(project.path("data.bin"), "1").expect("write");
        fs::write(project.path(".env"), "A=1").expect("write");
        project.expect(&[".env"]);
    }
}
