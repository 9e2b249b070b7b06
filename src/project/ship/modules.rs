//! Local modules that shipped code imports, with all that those import (`wire.md` 1.5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, Stmt};

use super::{Callee, Request, ShipError, stub};
use crate::project::syntax;

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
        file: &Path,
    ) -> Result<(), ShipError> {
        let package = self.package();
        let mut found = Imports { modules: Vec::new(), names };
        found.visit_stmt(stmt);
        self.note(&found.modules, package.as_deref(), file)
    }

    fn note(&mut self, imports: &[Import], package: Option<&str>, file: &Path) -> Result<(), ShipError> {
        for import in imports {
            let Some(module) = import.absolute(package) else {
                return Err(ShipError::Unresolved {
                    file: file.display().to_string(),
                    line: 1,
                    module: format!("{}{}", ".".repeat(import.level), import.module),
                });
            };
            let is_found = self.module(&module)?;
            if !is_found && import.level > 0 && import.names.is_empty() {
                return Err(ShipError::Unresolved {
                    file: file.display().to_string(),
                    line: 1,
                    module: format!("{}{}", ".".repeat(import.level), import.module),
                });
            }
            for name in &import.names {
                let dot = if module.is_empty() { "" } else { "." };
                self.module(&format!("{module}{dot}{name}"))?;
            }
        }
        Ok(())
    }

    /// Adds a module with the packages above it; whether the project has it.
    fn module(&mut self, module: &str) -> Result<bool, ShipError> {
        if module.is_empty() || module == "runpod_flash" || module.starts_with("runpod_flash.") {
            return Ok(false);
        }
        for root in self.roots.clone() {
            let base = root.join(module.replace('.', "/"));
            let file =
                [base.join("__init__.py"), base.with_extension("py")].into_iter().find(|file| file.is_file());
            let Some(file) = file else { continue };
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
        Ok(false)
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

    /// Follows the imports of all modules.
    pub(super) fn finish(mut self) -> Result<(BTreeMap<String, String>, Vec<Callee>), ShipError> {
        while let Some((file, root)) = self.pending.pop() {
            let key = posix(file.strip_prefix(&root).unwrap_or(&file));
            let Some(text) = self.texts.get(&key).cloned() else { continue };
            let Ok(parsed) = syntax::parse_module(&text) else { continue };
            let mut found = Imports { modules: Vec::new(), names: None };
            visitor::walk_body(&mut found, &parsed.body);
            let package = package_of(&file, &root);
            // A module may guard an import that leads nowhere; only what exists is taken.
            for import in found.modules {
                match self.note(&[import], package.as_deref(), &file) {
                    Ok(()) | Err(ShipError::Unresolved { .. }) => {}
                    Err(other) => return Err(other),
                }
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
}

impl<'a> Visitor<'a> for Imports<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        let wanted = |name: &str| self.names.is_none_or(|names| names.contains_key(name));
        match stmt {
            Stmt::Import(node) => {
                for alias in &node.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    if wanted(name.split('.').next().unwrap_or(name)) {
                        let module = alias.name.to_string();
                        self.modules.push(Import { level: 0, module, names: Vec::new() });
                    }
                }
            }
            Stmt::ImportFrom(node) => {
                let names: Vec<String> = node
                    .names
                    .iter()
                    .filter(|alias| {
                        alias.name.as_str() == "*"
                            || wanted(alias.asname.as_ref().unwrap_or(&alias.name).as_str())
                    })
                    .map(|alias| alias.name.to_string())
                    .collect();
                if !names.is_empty() {
                    let module = node.module.as_ref().map(ToString::to_string).unwrap_or_default();
                    let names = names.into_iter().filter(|name| name != "*").collect();
                    self.modules.push(Import { level: node.level as usize, module, names });
                }
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(node) = expr
            && let Expr::Attribute(ast::ExprAttribute { attr: name, .. }) = &*node.func
            && name.as_str() == "import_module"
            && let Some(Expr::StringLiteral(module)) = node.arguments.args.first()
        {
            let module = module.value.to_str().to_owned();
            self.modules.push(Import { level: 0, module, names: Vec::new() });
        }
        if let Expr::Call(node) = expr
            && let Expr::Name(name) = &*node.func
            && matches!(name.id.as_str(), "import_module" | "__import__")
            && let Some(Expr::StringLiteral(module)) = node.arguments.args.first()
        {
            let module = module.value.to_str().to_owned();
            self.modules.push(Import { level: 0, module, names: Vec::new() });
        }
        visitor::walk_expr(self, expr);
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
