//! What a statement changes and calls when it runs, and whether it reads what only this machine has.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{Expr, Stmt};

use super::sdk::{Sdk, root};

/// Calls and names that read what only this machine has.
const LOCAL_CALLS: [&str; 3] = ["open", "input", "breakpoint"];
const LOCAL_METHODS: [&str; 6] =
    ["parse_args", "parse_known_args", "read_text", "read_bytes", "getpass", "getcwd"];

/// What a statement does beside binding names.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Names at the root of what it changes: `x[0] = …`, `x.append(…)`.
    pub(super) changes: BTreeSet<String>,
    /// Names that are called in it.
    pub(super) calls: BTreeSet<String>,
    /// Whether it reads files, arguments or a terminal.
    pub(super) is_local: bool,
    /// Depth of functions: what is in them does not run now.
    is_deferred: usize,
}

impl Effects {
    /// Looks at a statement; decorators of the SDK are not shipped, and change nothing.
    pub(super) fn of(stmt: &Stmt, sdk: &Sdk) -> Self {
        let mut effects = Self::default();
        let decorators = match stmt {
            Stmt::FunctionDef(node) => &*node.decorator_list,
            Stmt::ClassDef(node) => &*node.decorator_list,
            _ => &[],
        };
        for decorator in decorators {
            // A decorator is called with what it decorates, and may keep it.
            if !sdk.is_decorator(&decorator.expression) {
                effects.decorator(&decorator.expression);
            }
        }
        if let Stmt::ClassDef(node) = stmt {
            // A base class may keep a list of what is made of it.
            for base in node.arguments.iter().flat_map(|arguments| arguments.args.iter()) {
                effects.calls.extend(root(base).map(str::to_owned));
            }
        }
        effects.visit_stmt(stmt);
        effects
    }

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

impl<'a> Visitor<'a> for Effects {
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
