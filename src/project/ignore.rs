//! Which files belong to a project.
//!
//! The rules of 1.21 (root `.gitignore`, then built-in ones, which win), and beyond them nested
//! `.gitignore` files and folders that no project means to ship. Ignored folders are not entered.

use std::fs;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Built-in patterns of 1.21, in its order: a later one wins.
const BUILT_IN: [&str; 28] = [
    ".build/",
    ".flash/",
    ".runpod/",
    "*.tar.gz",
    ".git/",
    ".gitignore",
    "__pycache__/",
    "*.pyc",
    "*.pyo",
    "*.pyd",
    "*.egg-info/",
    "dist/",
    "build/",
    ".venv/",
    "venv/",
    "env/",
    ".vscode/",
    ".idea/",
    ".env",
    ".env.local",
    "tests/",
    "test_*.py",
    "*_test.py",
    "docs/",
    "*.md",
    "!README.md",
    // Beyond 1.21:
    ".DS_Store",
    ".netrc",
];

/// Folders beyond 1.21 that hold tools' files, never a project's own.
const FOLDERS: [&str; 14] = [
    "node_modules",
    ".hg",
    ".svn",
    ".tox",
    ".nox",
    ".direnv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".ipynb_checkpoints",
    ".eggs",
    ".cache",
    "__pypackages__",
    "site-packages",
];

/// Deepest folder that is entered; deeper ones are surely a mistake.
const DEEPEST: usize = 64;

/// What a walk found; paths are relative to the root and sorted.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<PathBuf>,
    /// What could not be read, or is not followed, with the reason.
    pub(super) problems: Vec<(PathBuf, String)>,
}

/// Lists the files of a project; `only_python` leaves out all others.
pub(super) fn list(root: &Path, only_python: bool) -> Listing {
    let mut walk = Walk { root, only_python, listing: Listing::default(), entered: Vec::new() };
    let user = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut builder = GitignoreBuilder::new(root);
    let mut has_exceptions = false;
    for line in user.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        has_exceptions |= line.starts_with('!');
        // A pattern that is none is skipped, as git does.
        let _ = builder.add_line(None, line);
    }
    for line in BUILT_IN {
        let _ = builder.add_line(None, line);
    }
    let rules = builder.build().unwrap_or_else(|_| Gitignore::empty());
    walk.folder(Path::new(""), &mut vec![Rules { matcher: rules, has_exceptions }]);
    walk.listing.files.sort();
    walk.listing.problems.sort();
    walk.listing
}

struct Rules {
    matcher: Gitignore,
    /// Whether a `!pattern` may bring back what is below an ignored folder.
    has_exceptions: bool,
}

struct Walk<'w> {
    root: &'w Path,
    only_python: bool,
    listing: Listing,
    /// Real paths of the folders above, to see loops of links.
    entered: Vec<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, rules: &mut Vec<Rules>) {
        let absolute = self.root.join(folder);
        let real = match fs::canonicalize(&absolute) {
            Ok(real) => real,
            Err(error) => return self.problem(folder, &error.to_string()),
        };
        if self.entered.contains(&real) {
            return self.problem(folder, "this link leads back to a folder above it, and is not followed");
        }
        if self.entered.len() > DEEPEST {
            return self.problem(folder, "this folder is too deep, and is not read");
        }
        let entries = match fs::read_dir(&absolute) {
            Ok(entries) => entries,
            Err(error) => return self.problem(folder, &error.to_string()),
        };
        self.entered.push(real);
        let nested = !folder.as_os_str().is_empty() && absolute.join(".gitignore").is_file();
        if nested {
            let (matcher, _) = Gitignore::new(absolute.join(".gitignore"));
            rules.push(Rules { has_exceptions: matcher.num_whitelists() > 0, matcher });
        }
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = folder.join(entry.file_name());
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let kind = if is_link {
                // A link to nothing is no file.
                fs::metadata(entry.path()).map(|target| target.file_type())
            } else {
                entry.file_type()
            };
            // Pipes, sockets and devices are no files: reading one may never end.
            let is_folder = match kind {
                Ok(kind) if !kind.is_dir() && !kind.is_file() => continue,
                kind => kind.map(|kind| kind.is_dir()),
            };
            match is_folder {
                Ok(true) => {
                    if !self.is_pruned(&path, rules) {
                        self.folder(&path, rules);
                    }
                }
                Ok(false) => {
                    let is_python = path.extension().is_some_and(|extension| extension == "py");
                    if (is_python || !self.only_python)
                        && !ignored(&self.root.join(&path), false, rules, true)
                    {
                        self.listing.files.push(path);
                    }
                }
                Err(error) => {
                    if path.extension().is_some_and(|extension| extension == "py")
                        && !ignored(&self.root.join(&path), false, rules, true)
                    {
                        self.problem(&path, &error.to_string());
                    }
                }
            }
        }
        if nested {
            rules.pop();
        }
        self.entered.pop();
    }

    fn problem(&mut self, path: &Path, reason: &str) {
        self.listing.problems.push((path.to_owned(), reason.to_owned()));
    }

    /// Whether a folder is not entered at all.
    fn is_pruned(&self, folder: &Path, rules: &[Rules]) -> bool {
        let absolute = self.root.join(folder);
        let name = folder.file_name().unwrap_or_default();
        if FOLDERS.iter().any(|known| name == *known) || absolute.join("pyvenv.cfg").is_file() {
            return true;
        }
        let is_built_in = BUILT_IN.iter().filter_map(|pattern| pattern.strip_suffix('/')).any(|known| {
            name == known || known.strip_prefix('*').is_some_and(|end| name.to_string_lossy().ends_with(end))
        });
        is_built_in
            || !rules.iter().any(|rules| rules.has_exceptions) && ignored(&absolute, true, rules, false)
    }
}

/// Whether the rules that are closest to a path and know it ignore it.
fn ignored(absolute: &Path, is_folder: bool, rules: &[Rules], with_parents: bool) -> bool {
    for rules in rules.iter().rev() {
        let found = if with_parents {
            rules.matcher.matched_path_or_any_parents(absolute, is_folder)
        } else {
            rules.matcher.matched(absolute, is_folder)
        };
        match found {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        list(folder.path(), false).files.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn files_of_tools_are_left_out() {
        let found = listed(&[
            ("app.py", ""),
            ("README.md", ""),
            ("NOTES.md", ""),
            (".venv/lib/x.py", ""),
            ("my-env/pyvenv.cfg", ""),
            ("my-env/lib/x.py", ""),
            ("web/node_modules/x.py", ""),
            ("tests/x.py", ""),
            ("pkg/test_x.py", ""),
            ("pkg/x_test.py", ""),
            ("pkg/testing.py", ""),
            (".env", ""),
            (".env.example", ""),
        ]);
        assert_eq!(found, [".env.example", "README.md", "app.py", "pkg/testing.py"]);
    }

    #[test]
    fn gitignore_files_are_followed_at_every_level() {
        let found = listed(&[
            (".gitignore", "data/*\n!data/keep.py\nsecret.py\n# comment\n"),
            ("data/keep.py", ""),
            ("data/drop.py", ""),
            ("pkg/secret.py", ""),
            ("pkg/.gitignore", "local.py\n"),
            ("pkg/local.py", ""),
            ("local.py", ""),
        ]);
        assert_eq!(found, ["data/keep.py", "local.py"]);
    }

    #[test]
    #[cfg(unix)]
    fn loops_of_links_end_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("app.py"), "").unwrap();
        fs::create_dir(folder.path().join("pkg")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("pkg/again")).unwrap();
        std::os::unix::fs::symlink("self.py", folder.path().join("self.py")).unwrap();
        let listing = list(folder.path(), true);
        assert_eq!(listing.files, [PathBuf::from("app.py")]);
        let paths: Vec<_> = listing.problems.iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(paths, ["pkg/again", "self.py"]);
    }
}
