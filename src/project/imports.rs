//! Which project files a file imports, and all that those import in turn.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::tree::{ExprKind, Node, StmtKind, Tree, walk};

/// Module names of a project's files; the project root stands on `sys.path`.
#[derive(Debug, Default)]
pub(super) struct ModuleIndex {
    files: HashMap<String, PathBuf>,
    /// Folders with Python files below them: namespace packages where they have no `__init__.py`.
    packages: BTreeSet<String>,
}

impl ModuleIndex {
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut index = Self::default();
        for path in paths {
            let name = module_name(path);
            let is_package = path.file_name().is_some_and(|file| file == "__init__.py");
            let mut parent = if is_package { name.as_str() } else { parent_of(&name) };
            while !parent.is_empty() {
                index.packages.insert(parent.to_owned());
                parent = parent_of(parent);
            }
            // A package wins over a module of the same name, as in Python.
            if is_package || !index.files.contains_key(&name) {
                index.files.insert(name, path.to_owned());
            }
        }
        index
    }

    /// The file of a module (a package's is its `__init__.py`).
    pub(super) fn file(&self, module: &str) -> Option<&Path> {
        self.files.get(module).map(PathBuf::as_path)
    }

    /// Whether the project has this module or package.
    pub(super) fn has(&self, module: &str) -> bool {
        self.files.contains_key(module) || self.packages.contains(module)
    }

    /// Adds what importing `module` runs: the packages above it, and itself.
    fn add_chain(&self, module: &str, found: &mut BTreeSet<PathBuf>) {
        let mut at = 0;
        while at < module.len() {
            let end = module[at..].find('.').map_or(module.len(), |dot| at + dot);
            if let Some(file) = self.file(&module[..end]) {
                found.insert(file.to_owned());
            }
            at = end + 1;
        }
    }

    /// Project files that `tree` imports directly, wherever in the file.
    pub(super) fn imported_by(&self, file: &Path, tree: &Tree) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let own = module_name(file);
        self.add_chain(parent_of(&own), &mut found);
        walk(&tree.body, &mut |node| {
            match node {
                Node::Stmt(stmt) => match &stmt.kind {
                    StmtKind::Import(names) => {
                        for (name, _) in names {
                            self.add_chain(name, &mut found);
                        }
                    }
                    StmtKind::ImportFrom { module, names, level } => {
                        if let Some(base) = absolute(file, module.as_deref(), *level) {
                            self.add_chain(&base, &mut found);
                            for (name, _) in names {
                                let child = join(&base, name);
                                if self.has(&child) {
                                    self.add_chain(&child, &mut found);
                                }
                            }
                        }
                    }
                    _ => {}
                },
                Node::Expr(expr) => {
                    if let ExprKind::Call(call) = &expr.kind
                        && let ExprKind::Name(name) | ExprKind::Attribute(_, name) = &call.function.kind
                        && (name == "import_module" || name == "__import__")
                        && let Some(ExprKind::Str(module)) = call.positional.first().map(|first| &first.kind)
                    {
                        self.add_chain(module, &mut found);
                    }
                }
            }
            true
        });
        found.remove(file);
        found
    }
}

/// The dotted name of a file below the root; a package's is its folder's.
pub(super) fn module_name(path: &Path) -> String {
    let stem = path.with_extension("");
    let mut parts: Vec<String> =
        stem.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "__init__") {
        parts.pop();
    }
    parts.join(".")
}

/// The absolute module that `from <dots><module> import …` names in `file`; `None` above the root.
pub(super) fn absolute(file: &Path, module: Option<&str>, level: usize) -> Option<String> {
    if level == 0 {
        return module.map(str::to_owned);
    }
    let mut folder = file.parent()?;
    for _ in 1..level {
        folder = folder.parent()?;
    }
    let base: Vec<_> =
        folder.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    Some(module.map_or_else(|| base.join("."), |module| join(&base.join("."), module)))
}

/// `base.name`, where the base may be empty.
pub(super) fn join(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}.{name}") }
}

fn parent_of(module: &str) -> &str {
    module.rfind('.').map_or("", |dot| &module[..dot])
}

/// All files reached from `file`, itself included.
pub(super) fn closure(file: &Path, direct: &mut dyn FnMut(&Path) -> BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::from([file.to_owned()]);
    let mut pending = vec![file.to_owned()];
    while let Some(next) = pending.pop() {
        for imported in direct(&next) {
            if found.insert(imported.clone()) {
                pending.push(imported);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::syntax;
    use super::*;

    fn imports(file: &str, text: &str) -> Vec<String> {
        let paths =
            ["app.py", "config.py", "pkg/__init__.py", "pkg/a.py", "pkg/sub/b.py", "late.py", "named.py"];
        let index = ModuleIndex::new(paths.iter().map(Path::new));
        let tree = syntax::parse(text).unwrap();
        index.imported_by(Path::new(file), &tree).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn imports_of_every_form_are_found() {
        let text = "import os, config\nfrom pkg import a\ndef f():\n    from late import x\n    import importlib\n    importlib.import_module('named')\n";
        assert_eq!(
            imports("app.py", text),
            ["config.py", "late.py", "named.py", "pkg/__init__.py", "pkg/a.py"]
        );
    }

    #[test]
    fn relative_imports_are_resolved_from_the_package() {
        assert_eq!(
            imports("pkg/sub/b.py", "from .. import a\nfrom ..a import x\n"),
            ["pkg/__init__.py", "pkg/a.py"]
        );
        assert_eq!(imports("pkg/a.py", "from .sub.b import x\n"), ["pkg/__init__.py", "pkg/sub/b.py"]);
    }
}
