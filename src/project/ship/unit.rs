//! The statements of a module's top level (or of a function around the one that is shipped), each
//! with what it binds, uses and changes.

use std::collections::{BTreeSet, HashMap};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, Stmt};
use ruff_text_size::Ranged;

use super::scope::{self, Skip, Uses};

/// Methods of an endpoint that register routes.
const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// Calls and names that read what only this machine has.
const LOCAL_CALLS: [&str; 3] = ["open", "input", "breakpoint"];
const LOCAL_METHODS: [&str; 6] =
    ["parse_args", "parse_known_args", "read_text", "read_bytes", "getpass", "getcwd"];

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

/// Names that stand for the SDK's decorators.
#[derive(Debug, Default, Clone)]
pub(super) struct Sdk {
    /// `Endpoint`, `remote`, variables that hold an endpoint, functions that make one.
    decorators: BTreeSet<String>,
    /// `runpod_flash` itself, and modules of it.
    modules: BTreeSet<String>,
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
    /// leads to an endpoint.
    pub(super) fn effects(&self, index: usize) -> Option<BTreeSet<String>> {
        let mut changed = BTreeSet::new();
        let mut seen = BTreeSet::from([index]);
        let mut pending = vec![index];
        while let Some(next) = pending.pop() {
            let unit = &self.all[next];
            changed.extend(unit.changes.iter().cloned());
            if unit.uses.all().any(|name| self.is_endpoint(name)) {
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
            found
                .iter()
                .any(|index| self.all[*index].kind == Kind::Endpoint || self.sdk.decorators.contains(name))
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
        let mut look =
            Look { changes: BTreeSet::new(), calls: BTreeSet::new(), is_local: false, is_deferred: 0 };
        if let Stmt::FunctionDef(node) = stmt {
            for decorator in &node.decorator_list {
                // A decorator is called with the function, and may keep it.
                if !sdk.is_decorator(&decorator.expression) {
                    look.decorator(&decorator.expression);
                }
            }
        }
        if let Stmt::ClassDef(node) = stmt {
            for decorator in &node.decorator_list {
                if !sdk.is_decorator(&decorator.expression) {
                    look.decorator(&decorator.expression);
                }
            }
            // A base class may keep a list of what is made of it.
            for base in node.arguments.iter().flat_map(|arguments| arguments.args.iter()) {
                if let Some(root) = root(base) {
                    look.calls.insert(root.to_owned());
                }
            }
        }
        look.visit_stmt(stmt);
        let known: BTreeSet<&String> = uses.all().collect();
        look.changes.retain(|name| known.contains(name));
        look.calls.retain(|name| known.contains(name));
        let is_local = look.is_local && !matches!(kind, Kind::Function | Kind::Class | Kind::Endpoint);
        Self {
            stmt,
            kind,
            binds: scope::binds(stmt).into_iter().filter(|name| name != "*").collect(),
            uses,
            changes: look.changes,
            calls: look.calls,
            is_local,
        }
    }

    /// Whether running it may change something beside what it binds.
    pub(super) fn may_have_effects(&self) -> bool {
        !matches!(self.kind, Kind::Main | Kind::Future | Kind::Import | Kind::Star | Kind::Endpoint)
    }
}

impl Sdk {
    fn find(body: &[Stmt], outer: Option<&Self>, known: &BTreeSet<String>) -> Self {
        let mut sdk = outer.cloned().unwrap_or_default();
        sdk.decorators.extend(known.iter().cloned());
        for stmt in body {
            sdk.imported(stmt);
        }
        // Variables that hold endpoints, and functions that make them, may build on each other.
        loop {
            let before = sdk.decorators.len();
            for stmt in body {
                let makes = |sdk: &Self, stmt: &Stmt| {
                    let uses = scope::uses(stmt, false, None);
                    uses.needed.iter().any(|name| sdk.decorators.contains(name) || sdk.modules.contains(name))
                };
                match stmt {
                    Stmt::Assign(node) if sdk.makes(&node.value) => {
                        sdk.decorators.extend(node.targets.iter().filter_map(root).map(str::to_owned));
                    }
                    Stmt::AnnAssign(node) if node.value.as_ref().is_some_and(|value| sdk.makes(value)) => {
                        sdk.decorators.extend(root(&node.target).map(str::to_owned));
                    }
                    // `def gpu(name): return Endpoint(name=name, gpu=…)`, used as `@gpu("x")`.
                    Stmt::FunctionDef(node)
                        if !node.decorator_list.iter().any(|one| sdk.is_decorator(&one.expression))
                            && returns(&node.body).iter().any(|value| sdk.makes(value))
                            && makes(&sdk, stmt) =>
                    {
                        sdk.decorators.insert(node.name.id.to_string());
                    }
                    _ => {}
                }
            }
            if sdk.decorators.len() == before {
                return sdk;
            }
        }
    }

    fn imported(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Import(node) => {
                for alias in node.names.iter().filter(|alias| is_sdk(&alias.name)) {
                    let name = alias.asname.as_ref().map_or("runpod_flash", ast::Identifier::as_str);
                    self.modules.insert(name.to_owned());
                }
            }
            Stmt::ImportFrom(node) if node.module.as_ref().is_some_and(|module| is_sdk(module)) => {
                for alias in &node.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).to_string();
                    match alias.name.as_str() {
                        "Endpoint" | "remote" => _ = self.decorators.insert(name),
                        "endpoint" | "client" | "core" => _ = self.modules.insert(name),
                        "*" => self.decorators.extend(["Endpoint".to_owned(), "remote".to_owned()]),
                        _ => {}
                    }
                }
            }
            Stmt::Try(node) => node.body.iter().for_each(|stmt| self.imported(stmt)),
            Stmt::If(node) => node.body.iter().for_each(|stmt| self.imported(stmt)),
            _ => {}
        }
    }

    /// Whether an expression is an endpoint, makes one, or is a decorator of one.
    pub(super) fn makes(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Call(node) => {
                self.makes(&node.func)
                    // `partial(Endpoint, gpu=…)`.
                    || matches!(&*node.func, Expr::Name(_) | Expr::Attribute(_))
                        && node.arguments.args.first().is_some_and(|first| {
                            matches!(first, Expr::Name(_) | Expr::Attribute(_)) && self.makes(first)
                        })
                        && root(&node.func).is_some_and(|name| name == "partial" || name == "functools")
            }
            Expr::Name(node) => self.decorators.contains(node.id.as_str()),
            Expr::Attribute(node) => {
                matches!(node.attr.as_str(), "Endpoint" | "remote")
                    && root(&node.value).is_some_and(|root| self.modules.contains(root))
            }
            _ => false,
        }
    }

    /// Whether a decorator registers with an endpoint, by queue or route.
    pub(super) fn is_decorator(&self, expr: &Expr) -> bool {
        self.is_queue(expr) || self.is_route(expr)
    }

    fn is_queue(&self, expr: &Expr) -> bool {
        !self.is_route(expr) && self.makes(expr) && !is_legacy_route(expr)
    }

    fn is_route(&self, expr: &Expr) -> bool {
        if let Expr::Call(node) = expr
            && let Expr::Attribute(method) = &*node.func
        {
            return VERBS.contains(&method.attr.as_str()) && self.makes(&method.value);
        }
        self.makes(expr) && is_legacy_route(expr)
    }
}

/// `@remote(config, method="POST", path="/x")`.
fn is_legacy_route(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(node) if node.arguments.keywords.iter().any(|keyword| {
        keyword.arg.as_ref().is_some_and(|name| name.as_str() == "method")
    }))
}

/// What a body changes and calls.
struct Look {
    changes: BTreeSet<String>,
    calls: BTreeSet<String>,
    is_local: bool,
    /// Depth of functions: what is in them does not run now.
    is_deferred: usize,
}

impl Look {
    fn change(&mut self, target: &Expr) {
        match target {
            Expr::Attribute(_) | Expr::Subscript(_) => {
                self.changes.extend(root(target).map(str::to_owned));
            }
            Expr::Tuple(node) => node.elts.iter().for_each(|item| self.change(item)),
            Expr::List(node) => node.elts.iter().for_each(|item| self.change(item)),
            Expr::Starred(node) => self.change(&node.value),
            _ => {}
        }
    }

    fn decorator(&mut self, expr: &Expr) {
        let function = if let Expr::Call(node) = expr { &*node.func } else { expr };
        if let Some(root) = root(function) {
            self.calls.insert(root.to_owned());
            if matches!(function, Expr::Attribute(_)) {
                self.changes.insert(root.to_owned());
            }
        }
    }
}

impl<'a> Visitor<'a> for Look {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Assign(node) => node.targets.iter().for_each(|target| self.change(target)),
            Stmt::AugAssign(node) => {
                self.change(&node.target);
                if let Expr::Name(name) = &*node.target {
                    self.changes.insert(name.id.to_string());
                }
            }
            Stmt::AnnAssign(node) => self.change(&node.target),
            Stmt::Delete(node) => node.targets.iter().for_each(|target| self.change(target)),
            Stmt::Global(node) => self.changes.extend(node.names.iter().map(|name| name.id.to_string())),
            Stmt::FunctionDef(_) => {
                self.is_deferred += 1;
                visitor::walk_stmt(self, stmt);
                self.is_deferred -= 1;
                return;
            }
            _ => {}
        }
        visitor::walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        let now = self.is_deferred == 0;
        match expr {
            Expr::Lambda(_) => {
                self.is_deferred += 1;
                visitor::walk_expr(self, expr);
                self.is_deferred -= 1;
                return;
            }
            Expr::Call(node) => match &*node.func {
                Expr::Name(name) => {
                    self.is_local |= now && LOCAL_CALLS.contains(&name.id.as_str());
                    self.calls.insert(name.id.to_string());
                }
                Expr::Attribute(method) => {
                    self.is_local |= now && LOCAL_METHODS.contains(&method.attr.as_str());
                    if let Some(root) = root(&node.func) {
                        self.changes.insert(root.to_owned());
                        self.calls.insert(root.to_owned());
                    }
                }
                _ => {}
            },
            Expr::Name(name) if name.id.as_str() == "__file__" => self.is_local |= now,
            Expr::Attribute(node) if node.attr.as_str() == "argv" => self.is_local |= now,
            _ => {}
        }
        visitor::walk_expr(self, expr);
    }
}

/// The name at the beginning of `a.b[c].d`.
pub(super) fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(node) => Some(node.id.as_str()),
        Expr::Attribute(node) => root(&node.value),
        Expr::Subscript(node) => root(&node.value),
        Expr::Call(node) => root(&node.func),
        _ => None,
    }
}

fn returns(body: &[Stmt]) -> Vec<&Expr> {
    struct Returns<'a>(Vec<&'a Expr>);
    impl<'a> Visitor<'a> for Returns<'a> {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            match stmt {
                Stmt::Return(node) => self.0.extend(node.value.as_deref()),
                Stmt::FunctionDef(_) | Stmt::ClassDef(_) => {}
                _ => visitor::walk_stmt(self, stmt),
            }
        }
        fn visit_expr(&mut self, _: &'a Expr) {}
    }
    let mut found = Returns(Vec::new());
    visitor::walk_body(&mut found, body);
    found.0
}

fn is_sdk(module: &str) -> bool {
    module == "runpod_flash" || module.starts_with("runpod_flash.")
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
