//! Which names a piece of code takes from outside of itself, by Python's scope rules.

use std::collections::{BTreeSet, HashSet};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ExprContext, Pattern, Stmt};

/// Names that code takes from the module (or the function) around it.
#[derive(Debug, Default, Clone)]
pub(super) struct Uses {
    /// Loaded: they have to be there when the code runs.
    pub(super) needed: BTreeSet<String>,
    /// Taken where they exist: names of a class body that the module may have as well.
    pub(super) maybe: BTreeSet<String>,
    /// Only in annotations that are not evaluated.
    pub(super) lazy: BTreeSet<String>,
    /// Bound in the module by functions, with `global`.
    pub(super) rebound: BTreeSet<String>,
}

impl Uses {
    /// All names, however they are used.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.needed.iter().chain(&self.maybe).chain(&self.lazy).chain(&self.rebound)
    }
}

/// What is left out of a function or class when its names are looked at.
pub(super) struct Skip<'a> {
    /// Whether a decorator is not shipped.
    pub(super) decorator: &'a dyn Fn(&Expr) -> bool,
    /// Whether the bodies of functions are not shipped either: only their signatures are.
    pub(super) bodies: bool,
}

/// Names that a statement of the outermost level uses.
pub(super) fn uses(stmt: &Stmt, is_lazy: bool, skip: Option<&Skip<'_>>) -> Uses {
    let mut walker = Walker::new(is_lazy);
    match (stmt, skip) {
        (Stmt::FunctionDef(node), Some(skip)) => {
            walker.function(node, &|decorator| (skip.decorator)(decorator), skip.bodies);
        }
        (Stmt::ClassDef(node), Some(skip)) => {
            walker.class(node, &|decorator| (skip.decorator)(decorator), skip.bodies);
        }
        _ => walker.visit_stmt(stmt),
    }
    walker.uses
}

/// Names that the statements of a function's or class's body bind there.
pub(super) fn bindings(body: &[Stmt]) -> Bindings {
    let mut found = Bindings::default();
    visitor::walk_body(&mut found, body);
    found
}

/// Names that one statement binds.
pub(super) fn binds(stmt: &Stmt) -> Vec<String> {
    let mut found = Bindings::default();
    found.visit_stmt(stmt);
    let mut names: Vec<String> = found.bound.into_iter().collect();
    names.sort();
    names
}

/// Names bound in one scope, not in those nested in it.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) bound: HashSet<String>,
    globals: HashSet<String>,
    nonlocals: HashSet<String>,
}

impl Bindings {
    fn bind(&mut self, name: &ast::Identifier) {
        self.bound.insert(name.id.to_string());
    }
}

impl<'a> Visitor<'a> for Bindings {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(node) => self.bind(&node.name),
            Stmt::ClassDef(node) => self.bind(&node.name),
            Stmt::Import(node) => {
                for alias in &node.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name).id.as_str();
                    self.bound.insert(name.split('.').next().unwrap_or(name).to_owned());
                }
            }
            Stmt::ImportFrom(node) => {
                for alias in &node.names {
                    self.bind(alias.asname.as_ref().unwrap_or(&alias.name));
                }
            }
            Stmt::Global(node) => self.globals.extend(node.names.iter().map(|name| name.id.to_string())),
            Stmt::Nonlocal(node) => self.nonlocals.extend(node.names.iter().map(|name| name.id.to_string())),
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(node) if node.ctx != ExprContext::Load => {
                self.bound.insert(node.id.to_string());
            }
            Expr::Lambda(_) => {}
            // Of a comprehension, only `:=` binds outside of it.
            Expr::ListComp(_) | Expr::SetComp(_) | Expr::DictComp(_) | Expr::Generator(_) => {
                let mut inner = Walrus(&mut self.bound);
                visitor::walk_expr(&mut inner, expr);
            }
            _ => visitor::walk_expr(self, expr),
        }
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(node) = handler;
        if let Some(name) = &node.name {
            self.bind(name);
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(node) => node.name.as_ref(),
            Pattern::MatchStar(node) => node.name.as_ref(),
            Pattern::MatchMapping(node) => node.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bind(name);
        }
        visitor::walk_pattern(self, pattern);
    }
}

struct Walrus<'b>(&'b mut HashSet<String>);

impl<'a> Visitor<'a> for Walrus<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Named(node) = expr
            && let Expr::Name(name) = &*node.target
        {
            self.0.insert(name.id.to_string());
        }
        if !matches!(expr, Expr::Lambda(_)) {
            visitor::walk_expr(self, expr);
        }
    }
}

struct Scope {
    is_class: bool,
    names: Bindings,
}

struct Walker {
    scopes: Vec<Scope>,
    uses: Uses,
    is_lazy: bool,
    in_annotation: bool,
    bodies: bool,
}

impl Walker {
    fn new(is_lazy: bool) -> Self {
        Self { scopes: Vec::new(), uses: Uses::default(), is_lazy, in_annotation: false, bodies: true }
    }

    fn is_in_function(&self) -> bool {
        self.scopes.last().is_some_and(|scope| !scope.is_class)
    }

    /// Notes a name that is loaded.
    fn load(&mut self, name: &str) {
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            if scope.is_class {
                if depth == 0 && scope.names.bound.contains(name) {
                    // `x = x` in a class reads the module's.
                    self.uses.maybe.insert(name.to_owned());
                    return;
                }
                continue;
            }
            if scope.names.globals.contains(name) {
                break;
            }
            if scope.names.bound.contains(name) && !scope.names.nonlocals.contains(name) {
                return;
            }
        }
        let set =
            if self.in_annotation && self.is_lazy { &mut self.uses.lazy } else { &mut self.uses.needed };
        set.insert(name.to_owned());
    }

    fn store(&mut self, name: &str) {
        if self.scopes.last().is_some_and(|scope| scope.names.globals.contains(name)) {
            self.uses.rebound.insert(name.to_owned());
        }
    }

    fn nested(&mut self, scope: Scope, work: impl FnOnce(&mut Self)) {
        self.scopes.push(scope);
        work(self);
        self.scopes.pop();
    }

    fn type_parameters(&mut self, parameters: Option<&ast::TypeParams>, work: impl FnOnce(&mut Self)) {
        let Some(parameters) = parameters else { return work(self) };
        let bound = parameters.type_params.iter().map(|parameter| parameter.name().id.to_string()).collect();
        let names = Bindings { bound, ..Bindings::default() };
        self.nested(Scope { is_class: false, names }, |walker| {
            visitor::walk_type_params(walker, parameters);
            work(walker);
        });
    }

    fn function(&mut self, node: &ast::StmtFunctionDef, skip: &dyn Fn(&Expr) -> bool, no_bodies: bool) {
        for decorator in &node.decorator_list {
            if !no_bodies && !skip(&decorator.expression) {
                self.visit_expr(&decorator.expression);
            }
        }
        self.defaults(&node.parameters);
        self.type_parameters(node.type_params.as_deref(), |walker| {
            for parameter in &*node.parameters {
                if let Some(annotation) = parameter.annotation() {
                    walker.visit_annotation(annotation);
                }
            }
            if let Some(returns) = &node.returns {
                walker.visit_annotation(returns);
            }
            if no_bodies || !walker.bodies {
                return;
            }
            let mut names = bindings(&node.body);
            names.bound.extend(node.parameters.iter().map(|parameter| parameter.name().id.to_string()));
            walker.nested(Scope { is_class: false, names }, |walker| visitor::walk_body(walker, &node.body));
        });
    }

    fn class(&mut self, node: &ast::StmtClassDef, skip: &dyn Fn(&Expr) -> bool, no_bodies: bool) {
        if no_bodies {
            // A stand-in has the signatures of the methods, and nothing else of the class.
            for stmt in &node.body {
                if let Stmt::FunctionDef(method) = stmt {
                    self.function(method, skip, true);
                }
            }
            return;
        }
        for decorator in &node.decorator_list {
            if !skip(&decorator.expression) {
                self.visit_expr(&decorator.expression);
            }
        }
        self.type_parameters(node.type_params.as_deref(), |walker| {
            if let Some(arguments) = &node.arguments {
                walker.visit_arguments(arguments);
            }
            let mut names = bindings(&node.body);
            names.bound.insert("__qualname__".to_owned());
            names.bound.insert("__module__".to_owned());
            walker.nested(Scope { is_class: true, names }, |walker| visitor::walk_body(walker, &node.body));
        });
    }

    fn defaults(&mut self, parameters: &ast::Parameters) {
        for parameter in parameters.iter_non_variadic_params() {
            if let Some(default) = &parameter.default {
                self.visit_expr(default);
            }
        }
    }

    fn comprehension(&mut self, generators: &[ast::Comprehension], values: &[&Expr]) {
        let Some(first) = generators.first() else { return };
        self.visit_expr(&first.iter);
        let mut names = Bindings::default();
        for generator in generators {
            names.visit_expr(&generator.target);
        }
        self.nested(Scope { is_class: false, names }, |walker| {
            for (index, generator) in generators.iter().enumerate() {
                if index > 0 {
                    walker.visit_expr(&generator.iter);
                }
                walker.visit_expr(&generator.target);
                for test in &generator.ifs {
                    walker.visit_expr(test);
                }
            }
            for value in values {
                walker.visit_expr(value);
            }
        });
    }
}

impl<'a> Visitor<'a> for Walker {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(node) => {
                self.store(&node.name.id);
                self.function(node, &|_| false, false);
            }
            Stmt::ClassDef(node) => {
                self.store(&node.name.id);
                self.class(node, &|_| false, false);
            }
            Stmt::Import(_) | Stmt::ImportFrom(_) => {
                for name in binds(stmt) {
                    self.store(&name);
                }
            }
            Stmt::AugAssign(node) => {
                // Reads what it changes.
                if let Expr::Name(name) = &*node.target {
                    self.load(&name.id);
                    self.store(&name.id);
                }
                visitor::walk_stmt(self, stmt);
            }
            Stmt::TypeAlias(node) => {
                self.type_parameters(node.type_params.as_deref(), |walker| {
                    let (was, lazy) = (walker.in_annotation, walker.is_lazy);
                    (walker.in_annotation, walker.is_lazy) = (true, true);
                    walker.visit_expr(&node.value);
                    (walker.in_annotation, walker.is_lazy) = (was, lazy);
                });
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_annotation(&mut self, expr: &'a Expr) {
        let (was, lazy) = (self.in_annotation, self.is_lazy);
        self.in_annotation = true;
        // Annotations of local variables are never evaluated.
        self.is_lazy |= self.is_in_function();
        self.visit_expr(expr);
        (self.in_annotation, self.is_lazy) = (was, lazy);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(node) => match node.ctx {
                ExprContext::Load => self.load(&node.id),
                ExprContext::Del if self.scopes.is_empty() => {
                    self.uses.maybe.insert(node.id.to_string());
                }
                _ => self.store(&node.id),
            },
            Expr::StringLiteral(node) if self.in_annotation => {
                let Ok(parsed) = ruff_python_parser::parse_expression(node.value.to_str()) else { return };
                let parsed = parsed.into_syntax();
                let lazy = std::mem::replace(&mut self.is_lazy, true);
                let mut inner = Walker { in_annotation: true, ..Walker::new(true) };
                inner.visit_expr(&parsed.body);
                for name in inner.uses.all() {
                    self.load(name);
                }
                self.is_lazy = lazy;
            }
            Expr::Lambda(node) => {
                let mut names = Bindings::default();
                if let Some(parameters) = &node.parameters {
                    self.defaults(parameters);
                    names.bound.extend(parameters.iter().map(|parameter| parameter.name().id.to_string()));
                }
                self.nested(Scope { is_class: false, names }, |walker| walker.visit_expr(&node.body));
            }
            Expr::ListComp(node) => self.comprehension(&node.generators, &[&node.elt]),
            Expr::SetComp(node) => self.comprehension(&node.generators, &[&node.elt]),
            Expr::Generator(node) => self.comprehension(&node.generators, &[&node.elt]),
            Expr::DictComp(node) => {
                let values: Vec<&Expr> = node.key.iter().map(|key| &**key).chain([&*node.value]).collect();
                self.comprehension(&node.generators, &values);
            }
            _ => visitor::walk_expr(self, expr),
        }
    }
}
