//! The statements of a module's top level (or of a function around the one that is shipped), each
//! with what it binds, uses and changes.

use std::collections::{BTreeSet, HashMap};

use ruff_python_ast::{self as ast, Expr, Stmt};
use ruff_text_size::Ranged;

use super::effects::Effects;
use super::scope::{self, Skip, Uses};
use super::sdk::Sdk;

/// What kind of statement it is, as far as shipping tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `from __future__ import …`.
    Future,
    /// `import …` and `from … import …`, shipped name by name.
    Import,
    /// `from … import *`.
    Star,
    /// A function or class with an endpoint of its own: calls of it go there.
    Endpoint,
    /// Another function.
    Function,
    /// Another class.
    Class,
    /// `if __name__ == "__main__":`, which is never shipped.
    Main,
    /// Everything else.
    Other,
}

/// One statement.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) stmt: &'a Stmt,
    pub(super) kind: Kind,
    pub(super) binds: Vec<String>,
    pub(super) uses: Uses,
    /// Names of the module whose values it changes: `x[0] = …`, `x.append(…)`.
    pub(super) changes: BTreeSet<String>,
    /// Functions that are called in it, its own body included.
    calls: BTreeSet<String>,
    /// Whether its value depends on this machine: files, arguments, a terminal.
    pub(super) is_local: bool,
}

/// The statements of one scope, and where each name is bound.
#[derive(Debug)]
pub(super) struct Units<'a> {
    pub(super) all: Vec<Unit<'a>>,
    by_name: HashMap<String, Vec<usize>>,
    sdk: Sdk,
}

impl<'a> Units<'a> {
    /// Looks at the statements of a body; `outer` has the SDK's names of the scopes around it.
    pub(super) fn new(body: &'a [Stmt], outer: Option<&Sdk>, known: &BTreeSet<String>) -> Self {
        let is_lazy = body.iter().any(is_lazy_annotations);
        let sdk = Sdk::find(body, outer, known);
        let mut all = Vec::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for stmt in body {
            let unit = Unit::new(stmt, is_lazy, &sdk);
            for name in &unit.binds {
                by_name.entry(name.clone()).or_default().push(all.len());
            }
            all.push(unit);
        }
        Self { all, by_name, sdk }
    }

    /// The SDK's names here.
    pub(super) fn sdk(&self) -> &Sdk {
        &self.sdk
    }

    /// Statements that bind a name, except those that only run in the main program.
    pub(super) fn binding(&self, name: &str) -> Vec<usize> {
        let all = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|index| self.all[*index].kind != Kind::Main).collect()
    }

    /// Whether only the main program (`if __name__ == "__main__":`) or that as well binds a name.
    pub(super) fn is_bound_by_main(&self, name: &str) -> bool {
        let all = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        all.iter().any(|index| self.all[*index].kind == Kind::Main)
    }

    /// Names that a statement changes, through the functions that it calls as well; `None` where it
    /// leads to an endpoint. `own` is what is shipped: attributes may be given to it.
    pub(super) fn effects(&self, index: usize, own: Option<&str>) -> Option<BTreeSet<String>> {
        let mut changed = BTreeSet::new();
        let mut seen = BTreeSet::from([index]);
        let mut pending = vec![index];
        while let Some(next) = pending.pop() {
            let unit = &self.all[next];
            changed.extend(unit.changes.iter().cloned());
            let gives_attribute = |name: &str| {
                Some(name) == own && matches!(unit.stmt, Stmt::Assign(_)) && !unit.calls.contains(name)
            };
            if unit.uses.all().any(|name| self.is_endpoint(name) && !gives_attribute(name)) {
                return None;
            }
            for name in &unit.calls {
                for called in self.by_name.get(name).into_iter().flatten() {
                    if seen.insert(*called) {
                        pending.push(*called);
                    }
                }
            }
        }
        Some(changed)
    }

    fn is_endpoint(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|found| {
            found.iter().any(|index| self.all[*index].kind == Kind::Endpoint || self.sdk.is_name(name))
        })
    }

    /// Whether a name is bound by imports alone.
    pub(super) fn is_import(&self, name: &str) -> bool {
        self.binding(name).iter().all(|index| matches!(self.all[*index].kind, Kind::Import | Kind::Star))
    }
}

impl<'a> Unit<'a> {
    fn new(stmt: &'a Stmt, is_lazy: bool, sdk: &Sdk) -> Self {
        let decorated = |decorators: &[ast::Decorator]| {
            decorators.iter().any(|decorator| sdk.is_queue(&decorator.expression))
        };
        let kind = match stmt {
            _ if is_future(stmt) => Kind::Future,
            Stmt::ImportFrom(node) if node.names.iter().any(|alias| alias.name.as_str() == "*") => Kind::Star,
            Stmt::Import(_) | Stmt::ImportFrom(_) => Kind::Import,
            Stmt::FunctionDef(ast::StmtFunctionDef { decorator_list, .. })
            | Stmt::ClassDef(ast::StmtClassDef { decorator_list, .. })
                if decorated(decorator_list) =>
            {
                Kind::Endpoint
            }
            Stmt::FunctionDef(_) => Kind::Function,
            Stmt::ClassDef(_) => Kind::Class,
            Stmt::If(node) if is_main_test(&node.test) => Kind::Main,
            _ => Kind::Other,
        };
        let skip = Skip { decorator: &|expr| sdk.is_decorator(expr), bodies: kind == Kind::Endpoint };
        let uses = scope::uses(stmt, is_lazy, Some(&skip));
        let mut effects = Effects::of(stmt, sdk);
        let known: BTreeSet<&String> = uses.all().collect();
        effects.changes.retain(|name| known.contains(name));
        effects.calls.retain(|name| known.contains(name));
        let is_local = effects.is_local && !matches!(kind, Kind::Function | Kind::Class | Kind::Endpoint);
        Self {
            stmt,
            kind,
            binds: scope::binds(stmt).into_iter().filter(|name| name != "*").collect(),
            uses,
            changes: effects.changes,
            calls: effects.calls,
            is_local,
        }
    }

    /// Whether running it may change something beside what it binds.
    pub(super) fn may_have_effects(&self) -> bool {
        !matches!(self.kind, Kind::Main | Kind::Future | Kind::Import | Kind::Star | Kind::Endpoint)
    }
}

fn is_future(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::ImportFrom(node) if node.module.as_ref().is_some_and(|name| name.as_str() == "__future__"))
}

fn is_lazy_annotations(stmt: &Stmt) -> bool {
    is_future(stmt)
        && matches!(stmt, Stmt::ImportFrom(node) if node.names.iter().any(|alias| alias.name.as_str() == "annotations"))
}

fn is_main_test(test: &Expr) -> bool {
    let Expr::Compare(node) = test else { return false };
    let is_name = |expr: &Expr| matches!(expr, Expr::Name(name) if name.id.as_str() == "__name__");
    let is_main =
        |expr: &Expr| matches!(expr, Expr::StringLiteral(word) if word.value.to_str() == "__main__");
    let sides = [&*node.left].into_iter().chain(node.comparators.iter());
    let (mut name, mut main) = (false, false);
    for side in sides {
        name |= is_name(side);
        main |= is_main(side);
    }
    name && main && matches!(&*node.ops, [ast::CmpOp::Eq])
}

/// First byte of a statement without its decorators.
pub(super) fn start_of_definition(text: &str, stmt: &Stmt) -> usize {
    let decorators: &[ast::Decorator] = match stmt {
        Stmt::FunctionDef(node) => &node.decorator_list,
        Stmt::ClassDef(node) => &node.decorator_list,
        _ => &[],
    };
    let Some(last) = decorators.last() else { return stmt.start().to_usize() };
    let mut at = last.end().to_usize();
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if !trimmed.starts_with('#') {
            return at;
        }
        at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
    }
}
