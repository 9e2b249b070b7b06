//! Local modules that shipped code imports, with all that those import (`wire.md` 1.5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{Alias, Expr, Stmt};
use ruff_text_size::Ranged as _;

use super::{Callee, LIMIT, Request, ShipError, line_of, stub};
use crate::project::syntax;

/// Calls that read what lies in a package, beside its modules.
const READERS: [&str; 6] = ["files", "get_data", "open_binary", "open_text", "read_binary", "read_text"];

pub(super) struct Modules<'r> {
    request: &'r Request<'r>,
    roots: Vec<PathBuf>,
    texts: BTreeMap<String, String>,
    callees: Vec<Callee>,
    /// Files to be looked at, with their root.
    pending: Vec<(PathBuf, PathBuf)>,
    seen: BTreeSet<PathBuf>,
}

impl<'r> Modules<'r> {
    pub(super) fn new(request: &'r Request<'r>) -> Self {
        Self {
            request,
            roots: request.roots.to_vec(),
            texts: BTreeMap::new(),
            callees: Vec::new(),
            pending: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    /// The package that the file is in, dotted; empty for one at the root, `None` outside of it.
    pub(super) fn package(&self) -> Option<String> {
        let root = self.roots.first()?;
        package_of(self.request.file, root)
    }

    /// Notes what a statement imports; with `names`, only what binds one of them.
    pub(super) fn add(
        &mut self,
        stmt: &Stmt,
        names: Option<&BTreeMap<String, bool>>,
    ) -> Result<(), ShipError> {
        let package = self.package();
        let mut found = Imports { modules: Vec::new(), names, is_guarded: false };
        found.visit_stmt(stmt);
        for import in found.modules {
            if !self.note(&import, package.as_deref())? && import.level > 0 && !import.is_guarded {
                return Err(ShipError::Unresolved {
                    file: self.request.file.display().to_string(),
                    line: line_of(self.request.text, import.at),
                    module: format!("{}{}", ".".repeat(import.level), import.module),
                });
            }
        }
        Ok(())
    }

    /// Adds what one import names; whether that leads to a module of the project.
    fn note(&mut self, import: &Import, package: Option<&str>) -> Result<bool, ShipError> {
        let Some(module) = import.absolute(package) else { return Ok(false) };
        let mut is_found = self.module(&module)?;
        if import.has_data {
            self.data(&module);
        }
        for name in &import.names {
            let dot = if module.is_empty() { "" } else { "." };
            is_found |= self.module(&format!("{module}{dot}{name}"))?;
        }
        Ok(is_found)
    }

    /// Adds a module with the packages above it; whether the project has it.
    fn module(&mut self, module: &str) -> Result<bool, ShipError> {
        if module.is_empty() || module == "runpod_flash" || module.starts_with("runpod_flash.") {
            return Ok(false);
        }
        let mut is_folder = false;
        for root in self.roots.clone() {
            let base = root.join(module.replace('.', "/"));
            let file =
                [base.join("__init__.py"), base.with_extension("py")].into_iter().find(|file| file.is_file());
            let Some(file) = file else {
                // A package without `__init__.py` has nothing to send of its own.
                is_folder |= base.is_dir();
                continue;
            };
            self.file(&root, file)?;
            let mut parent = base.parent();
            while let Some(folder) = parent.filter(|folder| *folder != root && folder.starts_with(&root)) {
                let init = folder.join("__init__.py");
                if init.is_file() {
                    self.file(&root, init)?;
                }
                parent = folder.parent();
            }
            return Ok(true);
        }
        Ok(is_folder)
    }

    fn file(&mut self, root: &Path, file: PathBuf) -> Result<(), ShipError> {
        if !self.seen.insert(file.clone()) {
            return Ok(());
        }
        let unreadable = |reason: String| ShipError::Unreadable { file: file.clone(), reason };
        let real = fs::canonicalize(&file).map_err(|error| unreadable(error.to_string()))?;
        let top = fs::canonicalize(root).map_err(|error| unreadable(error.to_string()))?;
        if !real.starts_with(&top) {
            return Err(ShipError::Outside { file, root: root.to_owned() });
        }
        let bytes = fs::read(&file).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is no UTF-8 text".to_owned()))?;
        let key = posix(file.strip_prefix(root).unwrap_or(&file));
        let (replaced, callees) = stub::replace(&text, &file, &key);
        self.callees.extend(callees);
        self.texts.insert(key, replaced);
        self.pending.push((file, root.to_owned()));
        Ok(())
    }

    /// Adds the texts that lie in a package and in folders below it; hidden files stay, and what is no text.
    fn data(&mut self, module: &str) {
        for root in self.roots.iter().filter(|_| !module.is_empty()) {
            let mut folders = vec![root.join(module.replace('.', "/"))];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let (file, name) = (entry.path(), entry.file_name());
                    let name = name.to_string_lossy();
                    if name.starts_with('.') || name == "__pycache__" {
                        continue;
                    }
                    let Ok(found) = entry.metadata() else { continue };
                    let is_module = file.extension().is_some_and(|end| end == "py");
                    if found.is_dir() {
                        folders.push(file);
                    } else if found.is_file()
                        && !is_module
                        && found.len() <= LIMIT as u64
                        && let Ok(text) = fs::read_to_string(&file)
                    {
                        self.texts.insert(posix(file.strip_prefix(root).unwrap_or(&file)), text);
                    }
                }
            }
        }
    }

    /// Follows the imports of all modules.
    pub(super) fn finish(mut self) -> Result<(BTreeMap<String, String>, Vec<Callee>), ShipError> {
        while let Some((file, root)) = self.pending.pop() {
            let key = posix(file.strip_prefix(&root).unwrap_or(&file));
            let Some(text) = self.texts.get(&key).cloned() else { continue };
            let Ok(parsed) = syntax::parse_module(&text) else { continue };
            let mut found = Imports { modules: Vec::new(), names: None, is_guarded: false };
            visitor::walk_body(&mut found, &parsed.body);
            let package = package_of(&file, &root);
            for import in found.modules {
                self.note(&import, package.as_deref())?;
            }
        }
        Ok((self.texts, self.callees))
    }
}

/// One import.
struct Import {
    level: usize,
    module: String,
    /// Names that may be modules.
    names: Vec<String>,
    /// Byte where it begins.
    at: usize,
    /// Whether code may go on without it: in `try` or `if`, or for annotations alone.
    is_guarded: bool,
    /// Whether files beside its modules are read.
    has_data: bool,
}

impl Import {
    fn absolute(&self, package: Option<&str>) -> Option<String> {
        if self.level == 0 {
            return Some(self.module.clone());
        }
        let mut base = package?;
        for _ in 1..self.level {
            base = match base.rfind('.') {
                Some(dot) => &base[..dot],
                None if base.is_empty() => return None,
                None => "",
            };
        }
        let dot = if base.is_empty() || self.module.is_empty() { "" } else { "." };
        Some(format!("{base}{dot}{}", self.module))
    }
}

struct Imports<'n> {
    modules: Vec<Import>,
    names: Option<&'n BTreeMap<String, bool>>,
    is_guarded: bool,
}

impl Imports<'_> {
    fn absolute(&mut self, module: String, at: usize, has_data: bool) {
        self.modules.push(Import { level: 0, module, names: Vec::new(), at, is_guarded: true, has_data });
    }
}

impl<'a> Visitor<'a> for Imports<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        let known = self.names;
        let wanted = |name: &str| known.is_none_or(|names| names.contains_key(name));
        match stmt {
            Stmt::Import(node) => {
                for alias in &node.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    if wanted(name.split('.').next().unwrap_or(name)) {
                        self.absolute(alias.name.to_string(), node.start().to_usize(), false);
                    }
                }
            }
            Stmt::ImportFrom(node) => {
                let bound = |alias: &'a Alias| alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                let is_star = |alias: &Alias| alias.name.as_str() == "*";
                let kept = node.names.iter().filter(|alias| is_star(alias) || wanted(bound(alias)));
                let kept: Vec<&Alias> = kept.collect();
                if kept.is_empty() {
                    return;
                }
                let is_lazy = kept.iter().all(|alias| {
                    known.and_then(|names| names.get(bound(alias))).is_some_and(|is_real| !is_real)
                });
                let names = kept.iter().filter(|alias| !is_star(alias));
                self.modules.push(Import {
                    level: node.level as usize,
                    module: node.module.as_ref().map(ToString::to_string).unwrap_or_default(),
                    names: names.map(|alias| alias.name.to_string()).collect(),
                    at: node.start().to_usize(),
                    is_guarded: self.is_guarded || is_lazy,
                    has_data: false,
                });
            }
            Stmt::Try(_) | Stmt::If(_) => {
                let was = std::mem::replace(&mut self.is_guarded, true);
                visitor::walk_stmt(self, stmt);
                self.is_guarded = was;
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(node) = expr
            && let name = match &*node.func {
                Expr::Attribute(method) => method.attr.as_str(),
                Expr::Name(name) => name.id.as_str(),
                _ => "",
            }
            && let Some(first) = node.arguments.args.first()
        {
            let has_data = READERS.contains(&name);
            if let Expr::StringLiteral(module) = first
                && (has_data || matches!(name, "import_module" | "__import__"))
            {
                self.absolute(module.value.to_str().to_owned(), node.start().to_usize(), has_data);
            } else if has_data && let Some(module) = dotted(first) {
                // The package that the code is in, or one that was imported.
                let is_own = matches!(module.as_str(), "__package__" | "__name__");
                let level = usize::from(is_own);
                let module = if is_own { String::new() } else { module };
                self.modules.push(Import {
                    level,
                    module,
                    names: Vec::new(),
                    at: node.start().to_usize(),
                    is_guarded: true,
                    has_data,
                });
            }
        }
        visitor::walk_expr(self, expr);
    }
}

/// `a.b.c` as it is written, of names and attributes alone.
fn dotted(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Name(node) => Some(node.id.to_string()),
        Expr::Attribute(node) => Some(format!("{}.{}", dotted(&node.value)?, node.attr)),
        _ => None,
    }
}

fn package_of(file: &Path, root: &Path) -> Option<String> {
    let folder = file.parent()?.strip_prefix(root).ok()?;
    let parts: Vec<_> =
        folder.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    Some(parts.join("."))
}

pub(super) fn posix(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    parts.join("/")
}
