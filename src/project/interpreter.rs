//! Reads a module's top level in order, as Python would run it: what each name stands for, which
//! endpoints there are, and what they decorate.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::evaluate::{Binding, ClassInfo, Scope, Unknown, same};
use super::facts::{Evaluator, Facts, Item};
use super::imports::absolute;
use super::operators::{binary, insert};
use super::tree::{Call, Class, Expr, ExprKind, Function, Node, Range, Stmt, StmtKind, Tree, walk};
use crate::endpoint::Value;

/// Reads a module.
pub(super) fn read(evaluator: &Evaluator<'_>, file: &PathBuf, tree: &Tree) -> Facts {
    let mut interpreter = Interpreter { evaluator, file, facts: Facts::default(), conditional: false };
    interpreter.body(&tree.body);
    interpreter.facts
}

/// Runs the top level of one module, in thought.
pub(super) struct Interpreter<'e> {
    pub(super) evaluator: &'e Evaluator<'e>,
    pub(super) file: &'e PathBuf,
    pub(super) facts: Facts,
    /// Inside a branch that may or may not run.
    pub(super) conditional: bool,
}

impl Interpreter<'_> {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { evaluator: self.evaluator, file: self.file, names: &self.facts.names }
    }

    pub(super) fn unreadable(&mut self, range: Range, reason: &str) {
        self.facts.unreadable.get_or_insert_with(|| Unknown { range, reason: reason.to_owned() });
    }

    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Function(function) => self.function(function),
            StmtKind::Class(class) => self.class(class),
            StmtKind::Assign { targets, value: Some(value), .. } => self.assign(targets, value),
            StmtKind::Augment { target, operator, value } => {
                self.check(value);
                if let ExprKind::Name(name) = &target.kind {
                    let known = (self.scope().value(target), self.scope().value(value));
                    let binding = match known {
                        (Ok(left), Ok(right)) => binary(left, *operator, right).map(Binding::Value),
                        _ => None,
                    };
                    self.facts.names.insert(
                        name.clone(),
                        binding.unwrap_or_else(|| {
                            Binding::Unknown(format!("`{name}` is changed while the file runs"))
                        }),
                    );
                }
            }
            StmtKind::Import(names) => {
                for (name, alias) in names {
                    let target =
                        if alias.is_some() { name.as_str() } else { name.split('.').next().unwrap_or(name) };
                    let binding = if self.evaluator.index.has(target) {
                        Binding::Project(target.to_owned())
                    } else {
                        Binding::External(target.to_owned())
                    };
                    self.facts.names.insert(alias.clone().unwrap_or_else(|| target.to_owned()), binding);
                }
            }
            StmtKind::ImportFrom { module, names, level } => {
                self.import_from(module.as_deref(), names, *level);
            }
            StmtKind::If(branches) => self.branches(branches),
            StmtKind::Try { body, rest, .. } => {
                self.body(body);
                if !rest.is_empty() {
                    let before = self.facts.names.clone();
                    self.possibly(rest);
                    self.merge(&before);
                }
            }
            StmtKind::With { parts, body } => {
                for part in parts {
                    self.check(part);
                }
                self.body(body);
            }
            StmtKind::Expr(value) => self.expression(value),
            StmtKind::Other { .. } => self.opaque(stmt),
            StmtKind::Assign { value: None, .. } | StmtKind::Return(_) | StmtKind::Global(_) => {}
        }
    }

    fn import_from(&mut self, module: Option<&str>, names: &[(String, Option<String>)], level: usize) {
        let Some(base) = absolute(self.file, module, level) else { return };
        let of_project = level > 0 || self.evaluator.index.has(&base);
        for (name, alias) in names {
            if name == "*" {
                self.import_star(&base, of_project);
                continue;
            }
            let binding = if of_project {
                self.evaluator.member(&base, name)
            } else {
                Binding::External(format!("{base}.{name}"))
            };
            self.facts.names.insert(alias.as_ref().unwrap_or(name).clone(), binding);
        }
    }

    fn import_star(&mut self, base: &str, of_project: bool) {
        if of_project {
            let facts = self.evaluator.index.file(base).and_then(|file| self.evaluator.facts(file));
            for (name, binding) in facts.iter().flat_map(|facts| &facts.names) {
                if !name.starts_with('_') {
                    self.facts.names.insert(name.clone(), binding.clone());
                }
            }
        } else if base == "runpod_flash" {
            for name in crate::catalog::ENUMS.iter().map(|table| table.class).chain([
                "Endpoint",
                "NetworkVolume",
                "PodTemplate",
                "remote",
            ]) {
                self.facts.names.insert(name.to_owned(), Binding::External(format!("runpod_flash.{name}")));
            }
        }
    }

    fn branches(&mut self, branches: &[(Option<Expr>, Vec<Stmt>)]) {
        let before = self.facts.names.clone();
        for (index, (test, body)) in branches.iter().enumerate() {
            match test.as_ref().map(|test| self.scope().truth(test)) {
                Some(Ok(false)) => {}
                None | Some(Ok(true)) => {
                    // Every test before was known to be false, or this branch only may run.
                    return if self.conditional
                        || index == 0
                        || branches[..index].iter().all(|(test, _)| {
                            test.as_ref().is_some_and(|test| matches!(self.scope().truth(test), Ok(false)))
                        }) {
                        self.body(body);
                    } else {
                        self.possibly(body);
                        self.merge(&before);
                    };
                }
                Some(Err(_)) => self.possibly(body),
            }
        }
        self.merge(&before);
    }

    /// Runs a body that may or may not run.
    fn possibly(&mut self, body: &[Stmt]) {
        let outer = std::mem::replace(&mut self.conditional, true);
        self.body(body);
        self.conditional = outer;
    }

    /// Names that a possible branch changed are not known any more. One that was or became
    /// something imported stays that: `try: import x / except ImportError: x = None`.
    fn merge(&mut self, before: &HashMap<String, Binding>) {
        for (name, after) in &mut self.facts.names {
            let Some(earlier) = before.get(name) else {
                if !matches!(
                    after,
                    Binding::External(_) | Binding::Project(_) | Binding::Function { .. } | Binding::Class(_)
                ) {
                    *after = Binding::Unknown(format!("`{name}` is set under a condition"));
                }
                continue;
            };
            if same(earlier, after) {
                continue;
            }
            *after = match (earlier, &*after) {
                (Binding::External(_) | Binding::Project(_), _) => earlier.clone(),
                (_, Binding::External(_) | Binding::Project(_)) => after.clone(),
                (
                    Binding::Function { makes_endpoints: left },
                    Binding::Function { makes_endpoints: right },
                ) => Binding::Function { makes_endpoints: *left || *right },
                _ => Binding::Unknown(format!("`{name}` is set under a condition")),
            };
        }
    }

    /// A loop or the like: endpoints in it are not read, and names that it sets are not known.
    fn opaque(&mut self, stmt: &Stmt) {
        let mut set = Vec::new();
        let mut found: Option<Range> = None;
        walk(std::slice::from_ref(stmt), &mut |node| match node {
            Node::Stmt(inner) => {
                match &inner.kind {
                    StmtKind::Assign { targets, .. } => names_in_all(targets, &mut set),
                    StmtKind::Augment { target, .. } => names_in(target, &mut set),
                    StmtKind::Function(function) => set.push(function.name.clone()),
                    _ => {}
                }
                true
            }
            Node::Expr(expr) => {
                if self.touches(expr) {
                    found.get_or_insert(expr.range);
                }
                if let Some((name, _, _)) = mutation(expr) {
                    set.push(name.to_owned());
                }
                true
            }
        });
        if let StmtKind::Other { parts, .. } = &stmt.kind {
            names_in_all(parts, &mut set);
        }
        if let Some(range) = found {
            self.unreadable(range, "endpoints made in a loop are only known when the file runs");
        }
        for name in set {
            if !matches!(
                self.facts.names.get(&name),
                Some(Binding::External(_) | Binding::Project(_) | Binding::Endpoint(_))
            ) {
                self.facts.names.insert(name.clone(), Binding::Unknown(format!("`{name}` is set in a loop")));
            }
        }
    }

    fn assign(&mut self, targets: &[Expr], value: &Expr) {
        let names: Vec<String> = targets
            .iter()
            .filter_map(
                |target| if let ExprKind::Name(name) = &target.kind { Some(name.clone()) } else { None },
            )
            .collect();
        if let ExprKind::Call(call) = &value.kind
            && self.is_endpoint(&call.function)
        {
            if self.conditional || names.len() != targets.len() {
                self.unreadable(
                    value.range,
                    "an endpoint made under a condition is only known when the file runs",
                );
            }
            let reference = self.endpoint(value.range, call, names.clone());
            for name in names {
                self.facts.names.insert(name, Binding::Endpoint(reference.clone()));
            }
            return;
        }
        // `E = Endpoint` is another name for it.
        if !self.is_endpoint(value) {
            self.check(value);
        }
        let binding = self.scope().resolve(value);
        for target in targets {
            match (&target.kind, &binding) {
                (ExprKind::Name(name), Binding::Endpoint(reference)) => {
                    if reference.file == *self.file {
                        self.facts.endpoints[reference.index].variables.push(name.clone());
                    }
                    self.facts.names.insert(name.clone(), binding.clone());
                }
                (ExprKind::Name(name), _) => {
                    self.facts.names.insert(name.clone(), binding.clone());
                }
                (
                    ExprKind::Tuple(items) | ExprKind::List(items),
                    Binding::Value(Value::List(values) | Value::Tuple(values)),
                ) if items.len() == values.len() => {
                    for (item, value) in items.iter().zip(values) {
                        if let ExprKind::Name(name) = &item.kind {
                            self.facts.names.insert(name.clone(), Binding::Value(value.clone()));
                        }
                    }
                }
                (ExprKind::Subscript(object, index), binding) => {
                    if let ExprKind::Name(name) = &object.kind {
                        let key = self.scope().value(index);
                        self.change(name, |known| match (known, key, binding) {
                            (Value::Dict(items), Ok(key), Binding::Value(value)) => {
                                insert(items, key, value.clone());
                                true
                            }
                            _ => false,
                        });
                    }
                }
                (ExprKind::Attribute(object, _), _) => {
                    if let (ExprKind::Name(_), Binding::Endpoint(_)) =
                        (&object.kind, self.scope().resolve(object))
                    {
                        self.unreadable(target.range, "an endpoint's attribute is set while the file runs");
                    }
                }
                _ => {
                    let mut set = Vec::new();
                    names_in(target, &mut set);
                    for name in set {
                        self.facts.names.insert(
                            name.clone(),
                            Binding::Unknown(format!("`{name}` is only known when the file runs")),
                        );
                    }
                }
            }
        }
    }

    /// Changes a known value in place, or forgets it.
    fn change(&mut self, name: &str, apply: impl FnOnce(&mut Value) -> bool) {
        let conditional = self.conditional;
        if let Some(binding) = self.facts.names.get_mut(name)
            && let Binding::Value(value) = binding
            && (conditional || !apply(value))
        {
            *binding = Binding::Unknown(format!("`{name}` is changed while the file runs"));
        }
    }

    fn expression(&mut self, value: &Expr) {
        if let Some((name, method, call)) = mutation(value) {
            let arguments: Vec<_> =
                call.positional.iter().map(|argument| self.scope().value(argument)).collect();
            self.change(name, |known| match (known, method, arguments.as_slice()) {
                (Value::List(items), "append", [Ok(item)]) => {
                    items.push(item.clone());
                    true
                }
                (Value::List(items), "extend", [Ok(Value::List(more) | Value::Tuple(more))]) => {
                    items.extend(more.iter().cloned());
                    true
                }
                (Value::Dict(items), "update", [Ok(Value::Dict(more))]) => {
                    for (key, value) in more {
                        insert(items, key.clone(), value.clone());
                    }
                    true
                }
                _ => false,
            });
        }
        // `Endpoint(...)` alone makes nothing that anybody can reach.
        if let ExprKind::Call(call) = &value.kind
            && self.is_endpoint(&call.function)
        {
            return;
        }
        self.check(value);
    }

    fn function(&mut self, function: &Arc<Function>) {
        let decorated = self.decorators(&function.decorators, &Item::Function(Arc::clone(function)));
        let makes_endpoints = !decorated && self.makes_endpoints(function);
        self.facts.names.insert(function.name.clone(), Binding::Function { makes_endpoints });
        let mut set = Vec::new();
        walk(&function.body, &mut |node| {
            if let Node::Stmt(Stmt { kind: StmtKind::Global(names), .. }) = node {
                set.extend(names.iter().cloned());
            }
            true
        });
        for name in set {
            self.change(&name, |_| false);
        }
    }

    fn class(&mut self, class: &Arc<Class>) {
        self.decorators(&class.decorators, &Item::Class(Arc::clone(class)));
        for base in &class.bases {
            self.check(base);
        }
        let bases: Vec<Binding> = class.bases.iter().map(|base| self.scope().resolve(base)).collect();
        let mut inner = Interpreter {
            evaluator: self.evaluator,
            file: self.file,
            facts: Facts { names: self.facts.names.clone(), ..Facts::default() },
            conditional: false,
        };
        inner.body(&class.body);
        let inside = inner.facts;
        if let Some(range) = inside.endpoints.first().map(|endpoint| endpoint.range) {
            self.unreadable(range, "an endpoint inside a class is only known when the file runs");
        }
        let mut members = HashMap::new();
        for base in bases.iter().rev() {
            if let Binding::Class(base) = base {
                members.extend(base.members.iter().map(|(name, binding)| (name.clone(), binding.clone())));
            }
        }
        for stmt in &class.body {
            let mut set = Vec::new();
            match &stmt.kind {
                StmtKind::Assign { targets, .. } => names_in_all(targets, &mut set),
                StmtKind::Function(function) => set.push(function.name.clone()),
                StmtKind::Class(class) => set.push(class.name.clone()),
                _ => {}
            }
            for name in set {
                if let Some(binding) = inside.names.get(&name) {
                    members.insert(name, binding.clone());
                }
            }
        }
        let info = ClassInfo { file: self.file.clone(), class: Arc::clone(class), members, bases };
        self.facts.names.insert(class.name.clone(), Binding::Class(Arc::new(info)));
    }
}

/// `name.append(...)` and other calls that change a list or dict in place.
fn mutation(expr: &Expr) -> Option<(&str, &str, &Call)> {
    let ExprKind::Call(call) = &expr.kind else { return None };
    let ExprKind::Attribute(object, method) = &call.function.kind else { return None };
    let ExprKind::Name(name) = &object.kind else { return None };
    let changes =
        ["append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "sort", "reverse"];
    changes.contains(&method.as_str()).then_some((name, method, call))
}

fn names_in_all(targets: &[Expr], names: &mut Vec<String>) {
    for target in targets {
        names_in(target, names);
    }
}

fn names_in(target: &Expr, names: &mut Vec<String>) {
    match &target.kind {
        ExprKind::Name(name) => names.push(name.clone()),
        ExprKind::Tuple(items) | ExprKind::List(items) => names_in_all(items, names),
        ExprKind::Starred(inner) => names_in(inner, names),
        _ => {}
    }
}
