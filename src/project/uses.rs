//! How a module uses `Endpoint`: the forms that are read, and those that are not.
//!
//! A use that is not one of the known forms is noted: such a file is imported in a process of its
//! own instead ([`super::dynamic`]).

use super::evaluate::{Binding, EndpointRef, sdk_name};
use super::facts::{Argument, Decorated, EndpointCall, Item, Mistake, RouteUse};
use super::interpreter::Interpreter;
use super::tree::{Call, Expr, ExprKind, Function, Node, Range, StmtKind, walk, walk_expr};
use crate::endpoint::Value;

/// Methods of an endpoint that register routes.
const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

impl Interpreter<'_> {
    pub(super) fn is_endpoint(&self, expr: &Expr) -> bool {
        matches!(expr.kind, ExprKind::Name(_) | ExprKind::Attribute(..))
            && matches!(self.scope().resolve(expr), Binding::External(dotted) if sdk_name(&dotted) == Some("Endpoint"))
    }

    /// Whether an expression itself (not its parts) is or makes an endpoint.
    pub(super) fn touches(&self, expr: &Expr) -> bool {
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
    pub(super) fn is_server(&self, expr: &Expr) -> bool {
        matches!(expr.kind, ExprKind::Name(_) | ExprKind::Attribute(..))
            && matches!(self.scope().resolve(expr), Binding::Endpoint(EndpointRef { is_client: false, .. }))
    }

    /// Notes a use of `Endpoint` that is not one of the known forms.
    pub(super) fn check(&mut self, expr: &Expr) {
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
    pub(super) fn endpoint(&mut self, range: Range, call: &Call, variables: Vec<String>) -> EndpointRef {
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
    pub(super) fn decorators(&mut self, decorators: &[Expr], item: &Item) -> bool {
        let mut found = false;
        for decorator in decorators {
            let used = self.decorator(decorator);
            let Some((endpoint, route)) = used else {
                if matches!(&decorator.kind, ExprKind::Call(call) if self.is_remote(&call.function))
                    || self.is_remote(decorator)
                {
                    self.unreadable(
                        decorator.range,
                        "the resource of `@remote` is only known when the file runs",
                    );
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

    /// Whether calling a function makes endpoints that outlive the call, or adds to known ones.
    pub(super) fn makes_endpoints(&self, function: &Function) -> bool {
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
}

fn has_client_keyword(call: &Call) -> bool {
    call.keywords.iter().any(|(name, _, _)| matches!(name.as_deref(), Some("id" | "image")))
}
