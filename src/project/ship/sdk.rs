//! Which names of a scope stand for the SDK: its decorators, variables that hold an endpoint, functions
//! that make one.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, Stmt};

use super::scope;

/// Methods of an endpoint that register routes.
const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Names that stand for the SDK's decorators.
#[derive(Debug, Default, Clone)]
pub(super) struct Sdk {
    /// `Endpoint`, `remote`, variables that hold an endpoint, functions that make one.
    decorators: BTreeSet<String>,
    /// `runpod_flash` itself, and modules of it.
    modules: BTreeSet<String>,
}

impl Sdk {
    /// Finds the names that a body gives to the SDK; `outer` has those of the scopes around it.
    pub(super) fn find(body: &[Stmt], outer: Option<&Self>, known: &BTreeSet<String>) -> Self {
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

    /// Whether a name is a decorator, or makes one.
    pub(super) fn is_name(&self, name: &str) -> bool {
        self.decorators.contains(name)
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

    /// Whether a decorator makes a queue-based endpoint.
    pub(super) fn is_queue(&self, expr: &Expr) -> bool {
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

fn is_sdk(module: &str) -> bool {
    module == "runpod_flash" || module.starts_with("runpod_flash.")
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
