//! Reads a module's top level in order, as Python would run it: what each name stands for, which
//! endpoints there are, and what they decorate.
//!
//! A use of `Endpoint` that is not one of the known forms is noted: such a file is imported in a
//! process of its own instead ([`super::dynamic`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::evaluate::{
    Binding, ClassInfo, EndpointRef, Scope, Unknown, binary, insert, member_of, same, sdk_name,
};
use super::imports::{ModuleIndex, absolute, join};
use super::model::Callable;
use super::tree::{
    Call, Class, Expr, ExprKind, Function, Node, Range, Stmt, StmtKind, Tree, walk, walk_expr,
};
use crate::endpoint::Value;

/// Methods of an endpoint that register routes.
pub(super) const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// What was read of one module.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Names bound when the module has run.
    pub(super) names: HashMap<String, Binding>,
    /// Every recognised `Endpoint(...)`.
    pub(super) endpoints: Vec<EndpointCall>,
    /// What is decorated, in source order.
    pub(super) decorated: Vec<Decorated>,
    /// The first thing that cannot be known without running the file.
    pub(super) unreadable: Option<Unknown>,
    /// Mistakes that need no configuration to be seen.
    pub(super) mistakes: Vec<Mistake>,
    /// Whether the file was imported: one `def` may stand for several functions then.
    pub(super) was_run: bool,
}

/// A mistake in how an endpoint is used.
#[derive(Debug, Clone)]
pub(super) struct Mistake {
    pub(super) rule: &'static str,
    pub(super) range: Range,
    pub(super) message: String,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
}

/// One `Endpoint(...)`.
#[derive(Debug, Clone)]
pub(super) struct EndpointCall {
    pub(super) range: Range,
    pub(super) arguments: Vec<Argument>,
    /// Module variables that hold it.
    pub(super) variables: Vec<String>,
    pub(super) is_client: bool,
}

/// One argument with where it stands.
#[derive(Debug, Clone)]
pub(super) struct Argument {
    pub(super) name: String,
    /// Where its name stands; the value, where it has none.
    pub(super) keyword: Range,
    pub(super) range: Range,
    /// Places of the elements, where the argument is written as a list.
    pub(super) elements: Vec<Range>,
    pub(super) value: Result<Value, Unknown>,
}

/// A function or class with an endpoint above it.
#[derive(Debug, Clone)]
pub(super) struct Decorated {
    pub(super) item: Item,
    pub(super) endpoint: EndpointRef,
    /// The decorator.
    pub(super) range: Range,
    /// Method and path, where it is a route.
    pub(super) route: Option<RouteUse>,
    /// The module's name for it, where that is not the name in its `def`.
    pub(super) attribute: Option<String>,
}

/// A route as written.
#[derive(Debug, Clone)]
pub(super) struct RouteUse {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) range: Range,
}

/// What is decorated.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Function(Arc<Function>),
    Class(Arc<Class>),
    /// Made while the file ran; the file has no `def` of it.
    Made(Arc<Made>),
}

/// A callable without a place in the file.
#[derive(Debug)]
pub(super) struct Made {
    /// Where it is shown.
    pub(super) head: Range,
    pub(super) callable: Callable,
}

/// Reads modules of one project, each once.
pub(super) struct Evaluator<'s> {
    pub(super) index: &'s ModuleIndex,
    tree_of: &'s dyn Fn(&Path) -> Option<Arc<Tree>>,
    environment: &'s HashMap<String, String>,
    /// `None` while a module is being read: an import cycle.
    done: RefCell<HashMap<PathBuf, Option<Arc<Facts>>>>,
}

impl<'s> Evaluator<'s> {
    pub(super) fn new(
        index: &'s ModuleIndex,
        tree_of: &'s dyn Fn(&Path) -> Option<Arc<Tree>>,
        environment: &'s HashMap<String, String>,
    ) -> Self {
        Self { index, tree_of, environment, done: RefCell::default() }
    }

    /// A variable of the environment that the user's code would see.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// What was read of a file; `None` in an import cycle or where it cannot be parsed.
    pub(super) fn facts(&self, file: &Path) -> Option<Arc<Facts>> {
        if let Some(known) = self.done.borrow().get(file) {
            return known.clone();
        }
        self.done.borrow_mut().insert(file.to_owned(), None);
        let tree = (self.tree_of)(file)?;
        let owned = file.to_owned();
        let mut reader =
            Interpreter { evaluator: self, file: &owned, facts: Facts::default(), conditional: false };
        reader.body(&tree.body);
        let facts = Arc::new(reader.facts);
        self.done.borrow_mut().insert(owned, Some(Arc::clone(&facts)));
        Some(facts)
    }

    /// `module.name` for a module of the project.
    pub(super) fn member(&self, module: &str, name: &str) -> Binding {
        let found = self
            .index
            .file(module)
            .and_then(|file| self.facts(file))
            .and_then(|facts| member_of(&facts, name));
        let child = join(module, name);
        match found {
            Some(binding) => binding,
            None if self.index.has(&child) => Binding::Project(child),
            None => Binding::Unknown(format!("`{child}` is only known when the file runs")),
        }
    }
}

struct Interpreter<'e> {
    evaluator: &'e Evaluator<'e>,
    file: &'e PathBuf,
    facts: Facts,
    /// Inside a branch that may or may not run.
    conditional: bool,
}

impl Interpreter<'_> {
    fn scope(&self) -> Scope<'_> {
        Scope { evaluator: self.evaluator, file: self.file, names: &self.facts.names }
    }

    fn unreadable(&mut self, range: Range, reason: &str) {
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
                self.import_from(module.as_deref(), names, *level)
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
                    StmtKind::Assign { targets, .. } => {
                        targets.iter().for_each(|target| names_in(target, &mut set))
                    }
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
            parts.iter().for_each(|part| names_in(part, &mut set));
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

    fn is_endpoint(&self, expr: &Expr) -> bool {
        matches!(expr.kind, ExprKind::Name(_) | ExprKind::Attribute(..))
            && matches!(self.scope().resolve(expr), Binding::External(dotted) if sdk_name(&dotted) == Some("Endpoint"))
    }

    /// Whether an expression itself (not its parts) is or makes an endpoint.
    fn touches(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Name(_) | ExprKind::Attribute(..) => self.is_endpoint(expr),
            ExprKind::Call(call) => match &call.function.kind {
                ExprKind::Attribute(object, verb) if VERBS.contains(&verb.as_str()) => self.is_server(object),
                ExprKind::Name(_) | ExprKind::Attribute(..) => {
                    self.is_server(&call.function)
                        || matches!(
                            self.scope().resolve(&call.function),
                            Binding::Function { makes_endpoints: true }
                        )
                        || call
                            .positional
                            .iter()
                            .chain(call.keywords.iter().map(|(_, _, value)| value))
                            .any(|value| self.is_server(value))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether an expression is a variable with an endpoint that takes routes or functions.
    fn is_server(&self, expr: &Expr) -> bool {
        matches!(expr.kind, ExprKind::Name(_) | ExprKind::Attribute(..))
            && matches!(self.scope().resolve(expr), Binding::Endpoint(EndpointRef { is_client: false, .. }))
    }

    /// Notes a use of `Endpoint` that is not one of the known forms.
    fn check(&mut self, expr: &Expr) {
        let mut found = None;
        walk_expr(expr, &mut |node| {
            let Node::Expr(part) = node else { return true };
            if let ExprKind::Call(call) = &part.kind {
                let is_test = matches!(&call.function.kind, ExprKind::Name(name) if name == "isinstance" || name == "print");
                let is_client = self.is_endpoint(&call.function) && has_client_keyword(call);
                if is_test || is_client {
                    return false;
                }
            }
            if self.touches(part) {
                found.get_or_insert(part.range);
            }
            found.is_none()
        });
        if let Some(range) = found {
            self.unreadable(range, "this use of an endpoint is only known when the file runs");
        }
    }

    /// Registers an `Endpoint(...)`.
    fn endpoint(&mut self, range: Range, call: &Call, variables: Vec<String>) -> EndpointRef {
        let mut arguments = Vec::new();
        let mut mistakes = Vec::new();
        for (position, value) in call.positional.iter().enumerate() {
            if let ExprKind::Starred(_) = value.kind {
                self.unreadable(value.range, "`*` arguments are only known when the file runs");
            } else if position == 0 {
                arguments.push(self.argument("name", value.range, value));
            } else {
                mistakes.push(Mistake {
                    rule: "endpoint-arguments",
                    range: value.range,
                    message: "`Endpoint` takes only its name by position".to_owned(),
                    label: "second positional argument",
                    hint: "name the parameter, such as `gpu=...`",
                });
            }
        }
        for (name, keyword, value) in &call.keywords {
            if let Some(name) = name {
                let name_range = Range { start: keyword.start, end: keyword.start + name.len() };
                arguments.push(self.argument(name, name_range, value));
                continue;
            }
            match self.scope().value(value) {
                Ok(Value::Dict(items)) => {
                    for (key, known) in items {
                        let Value::Str(name) = key else { continue };
                        arguments.push(Argument {
                            name,
                            keyword: *keyword,
                            range: *keyword,
                            elements: Vec::new(),
                            value: Ok(known),
                        });
                    }
                }
                Ok(_) => self.unreadable(value.range, "these arguments are only known when the file runs"),
                Err(unknown) => {
                    self.facts.unreadable.get_or_insert(unknown);
                }
            }
        }
        let mut seen: Vec<&str> = Vec::new();
        for argument in &arguments {
            if seen.contains(&argument.name.as_str()) {
                mistakes.push(Mistake {
                    rule: "endpoint-arguments",
                    range: argument.range,
                    message: format!("`{}` is given twice", argument.name),
                    label: "given again here",
                    hint: "keep one of the two",
                });
            }
            seen.push(&argument.name);
        }
        self.facts.mistakes.extend(mistakes);
        let is_client = arguments.iter().any(|argument| {
            (argument.name == "id" || argument.name == "image") && !matches!(argument.value, Ok(Value::None))
        });
        self.facts.endpoints.push(EndpointCall { range, arguments, variables, is_client });
        EndpointRef { file: self.file.clone(), index: self.facts.endpoints.len() - 1, is_client }
    }

    fn argument(&self, name: &str, keyword: Range, expr: &Expr) -> Argument {
        let elements = match &expr.kind {
            ExprKind::List(items) | ExprKind::Tuple(items) => items.iter().map(|item| item.range).collect(),
            ExprKind::Dict(items) => items.iter().map(|(_, value)| value.range).collect(),
            _ => Vec::new(),
        };
        Argument {
            name: name.to_owned(),
            keyword,
            range: expr.range,
            elements,
            value: self.scope().value(expr),
        }
    }

    /// Reads the decorators of a function or class; returns whether one is an endpoint's.
    fn decorators(&mut self, decorators: &[Expr], item: &Item) -> bool {
        let mut found = false;
        for decorator in decorators {
            let used = self.decorator(decorator);
            let Some((endpoint, route)) = used else {
                if matches!(&decorator.kind, ExprKind::Call(call) if self.is_remote(&call.function))
                    || self.is_remote(decorator)
                {
                    self.facts.mistakes.push(Mistake {
                        rule: "legacy-remote",
                        range: decorator.range,
                        message: "`@remote` is not read by this version".to_owned(),
                        label: "",
                        hint: "use `@Endpoint(name=..., gpu=...)`",
                    });
                } else if self.is_endpoint(decorator) {
                    self.facts.mistakes.push(Mistake {
                        rule: "endpoint-arguments",
                        range: decorator.range,
                        message: "`@Endpoint` needs parentheses".to_owned(),
                        label: "not called",
                        hint: "write `@Endpoint(name=\"...\")`",
                    });
                } else {
                    self.check(decorator);
                }
                continue;
            };
            found = true;
            if self.conditional {
                self.unreadable(
                    decorator.range,
                    "an endpoint under a condition is only known when the file runs",
                );
            }
            self.facts.decorated.push(Decorated {
                item: item.clone(),
                endpoint,
                range: decorator.range,
                route,
                attribute: None,
            });
        }
        found
    }

    fn is_remote(&self, expr: &Expr) -> bool {
        matches!(expr.kind, ExprKind::Name(_) | ExprKind::Attribute(..))
            && matches!(self.scope().resolve(expr), Binding::External(dotted) if sdk_name(&dotted) == Some("remote"))
    }

    fn decorator(&mut self, decorator: &Expr) -> Option<(EndpointRef, Option<RouteUse>)> {
        match &decorator.kind {
            ExprKind::Name(_) | ExprKind::Attribute(..) => match self.scope().resolve(decorator) {
                Binding::Endpoint(reference) => Some((reference, None)),
                _ => None,
            },
            ExprKind::Call(call) => {
                if self.is_endpoint(&call.function) {
                    return Some((self.endpoint(decorator.range, call, Vec::new()), None));
                }
                let ExprKind::Attribute(object, verb) = &call.function.kind else { return None };
                let Binding::Endpoint(reference) = self.scope().resolve(object) else { return None };
                if !VERBS.contains(&verb.as_str()) {
                    return None;
                }
                let path = call.positional.first().or_else(|| {
                    call.keywords
                        .iter()
                        .find(|(name, _, _)| name.as_deref() == Some("path"))
                        .map(|(_, _, value)| value)
                });
                let (path, range) = match path.map(|path| (self.scope().value(path), path.range)) {
                    Some((Ok(Value::Str(path)), range)) => (path, range),
                    Some((_, range)) => {
                        self.unreadable(range, "this path is only known when the file runs");
                        (String::new(), range)
                    }
                    None => {
                        self.facts.mistakes.push(Mistake {
                            rule: "route-path",
                            range: decorator.range,
                            message: "a route needs a path".to_owned(),
                            label: "",
                            hint: "write `@api.post(\"/path\")`",
                        });
                        return None;
                    }
                };
                Some((reference, Some(RouteUse { method: verb.to_uppercase(), path, range })))
            }
            _ => None,
        }
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

    /// Whether calling a function makes endpoints that outlive the call, or adds to known ones.
    fn makes_endpoints(&self, function: &Function) -> bool {
        let (mut makes, mut hands_out, mut adds) = (false, false, false);
        walk(&function.body, &mut |node| {
            match node {
                Node::Stmt(stmt) => match &stmt.kind {
                    StmtKind::Return(Some(_)) | StmtKind::Global(_) => hands_out = true,
                    StmtKind::ImportFrom { module: Some(module), names, .. } => {
                        makes |= module.starts_with("runpod_flash")
                            && names.iter().any(|(name, _)| name == "Endpoint");
                    }
                    StmtKind::Function(inner) => {
                        adds |= inner.decorators.iter().any(|decorator| match &decorator.kind {
                            ExprKind::Call(call) => self.touches(decorator) || self.is_server(&call.function),
                            _ => self.is_server(decorator),
                        });
                    }
                    _ => {}
                },
                Node::Expr(expr) => {
                    if let ExprKind::Call(call) = &expr.kind {
                        let client = self.is_endpoint(&call.function) && has_client_keyword(call);
                        let tests =
                            matches!(&call.function.kind, ExprKind::Name(name) if name == "isinstance");
                        if client || tests {
                            return false;
                        }
                        hands_out |= matches!(&call.function.kind, ExprKind::Name(name) if name == "globals" || name == "setattr");
                        makes |= matches!(
                            self.scope().resolve(&call.function),
                            Binding::Function { makes_endpoints: true }
                        );
                    }
                    makes |= self.is_endpoint(expr);
                }
            }
            true
        });
        adds || makes && hands_out
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
                StmtKind::Assign { targets, .. } => {
                    targets.iter().for_each(|target| names_in(target, &mut set))
                }
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

fn has_client_keyword(call: &Call) -> bool {
    call.keywords.iter().any(|(name, _, _)| matches!(name.as_deref(), Some("id" | "image")))
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

fn names_in(target: &Expr, names: &mut Vec<String>) {
    match &target.kind {
        ExprKind::Name(name) => names.push(name.clone()),
        ExprKind::Tuple(items) | ExprKind::List(items) => items.iter().for_each(|item| names_in(item, names)),
        ExprKind::Starred(inner) => names_in(inner, names),
        _ => {}
    }
}
