//! Writes what travels: definitions without their endpoint's decorators, imports by name.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, Stmt};
use ruff_text_size::Ranged;

use super::sdk::Sdk;
use super::unit::{Kind, Units, start_of_definition};
use super::{Request, ShipError, line_of, stub};

pub(super) struct Emitter<'r> {
    pub(super) request: &'r Request<'r>,
    /// Names that are needed, and whether they are more than annotations.
    pub(super) names: &'r BTreeMap<String, bool>,
}

impl Emitter<'_> {
    /// A stand-in for an endpoint's function or class.
    pub(super) fn stub(&self, stmt: &Stmt, key: &str) -> String {
        block(self.request.text, stmt, &stub::stub(self.request.text, stmt, key))
    }

    /// An import, of the names that are needed.
    pub(super) fn import(&self, stmt: &Stmt, package: Option<&str>, file: &str) -> Result<String, ShipError> {
        let mut is_lazy = true;
        let mut wanted = |name: &str| {
            let found = self.names.get(name);
            is_lazy &= found != Some(&true);
            found.is_some()
        };
        let alias = |alias: &ast::Alias| match &alias.asname {
            Some(name) => format!("{} as {name}", alias.name),
            None => alias.name.to_string(),
        };
        let line = match stmt {
            Stmt::Import(node) => {
                let kept: Vec<String> = node
                    .names
                    .iter()
                    .filter(|one| {
                        let name = one.asname.as_ref().unwrap_or(&one.name).as_str();
                        wanted(name.split('.').next().unwrap_or(name))
                    })
                    .map(alias)
                    .collect();
                if kept.is_empty() {
                    return Ok(String::new());
                }
                format!("import {}", kept.join(", "))
            }
            Stmt::ImportFrom(node) => {
                let is_star = node.names.iter().any(|one| one.name.as_str() == "*");
                let kept: Vec<String> = node
                    .names
                    .iter()
                    .filter(|one| is_star || wanted(one.asname.as_ref().unwrap_or(&one.name).as_str()))
                    .map(alias)
                    .collect();
                if kept.is_empty() {
                    return Ok(String::new());
                }
                is_lazy &= !is_star;
                let module = self.module(node, package, file)?;
                format!("from {module} import {}", kept.join(", "))
            }
            _ => return Ok(String::new()),
        };
        if is_lazy {
            // Only annotations name it, and those are not evaluated unless somebody asks.
            return Ok(format!("try:\n    {line}\nexcept ImportError:\n    pass\n"));
        }
        Ok(format!("{line}\n"))
    }

    /// The absolute module of an import: shipped code is in no package.
    fn module(
        &self,
        node: &ast::StmtImportFrom,
        package: Option<&str>,
        file: &str,
    ) -> Result<String, ShipError> {
        let named = node.module.as_ref().map_or("", ast::Identifier::as_str);
        if node.level == 0 {
            return Ok(named.to_owned());
        }
        let unresolved = || ShipError::Unresolved {
            file: file.to_owned(),
            line: line_of(self.request.text, node.range.start().to_usize()),
            module: format!("{}{named}", ".".repeat(node.level as usize)),
        };
        let mut base = package.ok_or_else(unresolved)?;
        for _ in 1..node.level {
            base = base.rfind('.').map(|dot| &base[..dot]).ok_or_else(unresolved)?;
        }
        Ok(match (base.is_empty(), named.is_empty()) {
            (true, true) => return Err(unresolved()),
            (true, false) => named.to_owned(),
            (false, true) => base.to_owned(),
            (false, false) => format!("{base}.{named}"),
        })
    }

    /// A statement; a function or class without its endpoint's decorators.
    pub(super) fn definition(
        &self,
        stmt: &Stmt,
        sdk: &Sdk,
        package: Option<&str>,
        file: &str,
    ) -> Result<String, ShipError> {
        let text = self.request.text;
        let decorators: &[ast::Decorator] = match stmt {
            Stmt::FunctionDef(node) => &node.decorator_list,
            Stmt::ClassDef(node) => &node.decorator_list,
            _ => &[],
        };
        // What is above the endpoint's decorator wraps the call, not the function.
        let first =
            decorators.iter().rposition(|one| sdk.is_decorator(&one.expression)).map_or(0, |at| at + 1);
        let start = start_of_definition(text, stmt);
        let body = self.absolute(stmt, start, package, file)?;
        let indent = indent(text, start);
        let mut whole = String::new();
        for decorator in &decorators[first..] {
            whole.push_str(&text[decorator.range()]);
            whole.push('\n');
            whole.push_str(indent);
        }
        whole.push_str(&body);
        Ok(block(text, stmt, &whole))
    }

    /// A statement's text with its relative imports made absolute.
    fn absolute(
        &self,
        stmt: &Stmt,
        start: usize,
        package: Option<&str>,
        file: &str,
    ) -> Result<String, ShipError> {
        struct Relative<'a>(Vec<&'a ast::StmtImportFrom>);
        impl<'a> Visitor<'a> for Relative<'a> {
            fn visit_stmt(&mut self, stmt: &'a Stmt) {
                match stmt {
                    Stmt::ImportFrom(node) if node.level > 0 => self.0.push(node),
                    _ => visitor::walk_stmt(self, stmt),
                }
            }
            fn visit_expr(&mut self, _: &'a Expr) {}
        }
        let text = self.request.text;
        let mut found = Relative(Vec::new());
        found.visit_stmt(stmt);
        let mut whole = String::new();
        let mut at = start;
        for node in found.0 {
            let import = node.range.start().to_usize();
            // From the dots to the word `import`.
            let written = &text[import..node.range.end().to_usize()];
            let Some(end) = node.names.first().and_then(|first| {
                text[import..first.range.start().to_usize()].rfind("import").map(|word| import + word)
            }) else {
                continue;
            };
            debug_assert!(written.starts_with("from"), "an import begins with its keyword");
            whole.push_str(&text[at..import]);
            whole.push_str("from ");
            whole.push_str(&self.module(node, package, file)?);
            whole.push(' ');
            at = end;
        }
        whole.push_str(&text[at..stmt.end().to_usize()]);
        Ok(whole)
    }
}

/// White space before what begins at `start`.
fn indent(text: &str, start: usize) -> &str {
    let line = text[..start].rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let before = &text[line..start];
    if before.trim().is_empty() { before } else { "" }
}

/// A statement at the outermost level; what was indented stays so, since its strings may have lines.
fn block(text: &str, stmt: &Stmt, written: &str) -> String {
    let indent = indent(text, start_of_definition(text, stmt));
    if indent.is_empty() { format!("{written}\n") } else { format!("if True:\n{indent}{written}\n") }
}

/// Whether a body yields, itself.
pub(super) fn has_yield(body: &[Stmt]) -> bool {
    struct Find(bool);
    impl<'a> Visitor<'a> for Find {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            if !matches!(stmt, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) {
                visitor::walk_stmt(self, stmt);
            }
        }
        fn visit_expr(&mut self, expr: &'a Expr) {
            match expr {
                Expr::Yield(_) | Expr::YieldFrom(_) => self.0 = true,
                Expr::Lambda(_) => {}
                _ => visitor::walk_expr(self, expr),
            }
        }
    }
    let mut find = Find(false);
    visitor::walk_body(&mut find, body);
    find.0
}

/// Methods of a class that yield.
pub(super) fn generator_methods(body: &[Stmt]) -> BTreeMap<String, bool> {
    body.iter()
        .filter_map(|stmt| match stmt {
            Stmt::FunctionDef(node) if has_yield(&node.body) => Some((node.name.to_string(), node.is_async)),
            _ => None,
        })
        .collect()
}

/// Names that local modules give to `from … import *` of the file.
pub(super) fn star_names(
    modules: &BTreeMap<String, String>,
    units: &Units<'_>,
    package: Option<&str>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for unit in units.all.iter().filter(|unit| unit.kind == Kind::Star) {
        let Stmt::ImportFrom(node) = unit.stmt else { continue };
        let module = node.module.as_ref().map_or("", ast::Identifier::as_str);
        let base = match (node.level, package) {
            (0, _) | (_, None) => module.to_owned(),
            (_, Some(package)) => format!("{package}.{module}"),
        };
        let path = base.trim_matches('.').replace('.', "/");
        for file in [format!("{path}.py"), format!("{path}/__init__.py")] {
            let Some(text) = modules.get(&file) else { continue };
            let Ok(parsed) = crate::project::syntax::parse_module(text) else { continue };
            names.extend(parsed.body.iter().flat_map(super::scope::binds));
        }
    }
    names
}
