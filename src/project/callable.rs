//! Functions, classes and their methods as callables.

use super::diagnostic::{Diagnostic, Label, Severity};
use super::evaluate::Scope;
use super::facts::Item;
use super::model::{Callable, MethodDeclaration, Parameter};
use super::schema::Schemas;
use super::tree::{self, Class, Expr, ExprKind, Function, StmtKind};
use crate::endpoint::Method;

/// The name of what is decorated.
pub(super) fn name(item: &Item) -> &str {
    match item {
        Item::Function(function) => &function.name,
        Item::Class(class) => &class.name,
        Item::Made(made) => &made.callable.name,
    }
}

/// The `def` or `class` line of what is decorated.
pub(super) fn head(item: &Item) -> tree::Range {
    match item {
        Item::Function(function) => function.head,
        Item::Class(class) => class.head,
        Item::Made(made) => made.head,
    }
}

/// Describes what is decorated; `text` is the file's.
pub(super) fn describe(
    item: &Item,
    route: Option<(Method, String)>,
    scope: &Scope<'_>,
    text: &str,
) -> Callable {
    let span = super::config::span(scope.file, head(item));
    match item {
        Item::Made(made) => Callable { route, ..made.callable.clone() },
        Item::Function(function) => Callable {
            name: function.name.clone(),
            span,
            is_async: function.is_async,
            is_generator: function.is_generator,
            methods: None,
            parameters: parameters(&function.parameters, text),
            takes_kwargs: function.takes_kwargs,
            doc: function.doc.clone(),
            route,
            input_schema: Schemas::input(scope, &function.parameters, function.takes_kwargs),
        },
        Item::Class(class) => {
            let methods: Vec<_> =
                public_methods(class).map(|method| describe_method(method, class, scope, text)).collect();
            Callable {
                name: class.name.clone(),
                span,
                is_async: methods.iter().any(|method| method.is_async),
                is_generator: false,
                methods: Some(methods),
                parameters: Vec::new(),
                takes_kwargs: false,
                doc: class.doc.clone(),
                route,
                input_schema: Schemas::input(scope, &[], false),
            }
        }
    }
}

/// Reports a constructor that needs arguments: over HTTP a class is built without any.
pub(super) fn check_constructor(item: &Item, file: &std::path::Path) -> Option<Diagnostic> {
    let Item::Class(class) = item else { return None };
    let constructor = class.body.iter().find_map(|stmt| match &stmt.kind {
        StmtKind::Function(function) if function.name == "__init__" => Some(function),
        _ => None,
    })?;
    let needed: Vec<_> = constructor
        .parameters
        .iter()
        .skip(1)
        .filter(|parameter| parameter.default.is_none())
        .map(|parameter| format!("`{}`", parameter.name))
        .collect();
    if needed.is_empty() {
        return None;
    }
    Some(Diagnostic {
        severity: Severity::Warning,
        rule: "constructor-arguments",
        message: format!(
            "class `{}` cannot be built over HTTP: its constructor needs {}",
            class.name,
            needed.join(", ")
        ),
        primary: Some(Label {
            span: super::config::span(file, constructor.head),
            text: "requests build it without arguments".to_owned(),
        }),
        secondary: Vec::new(),
        hint: Some(
            "give the constructor's parameters defaults, or read them from the environment".to_owned(),
        ),
    })
}

fn describe_method(method: &Function, class: &Class, scope: &Scope<'_>, text: &str) -> MethodDeclaration {
    let own = method.parameters.get(1..).unwrap_or_default();
    MethodDeclaration {
        name: method.name.clone(),
        is_async: method.is_async,
        is_generator: method.is_generator,
        parameters: parameters(own, text),
        takes_kwargs: method.takes_kwargs,
        doc: method.doc.clone().or_else(|| class.doc.clone()),
        input_schema: Schemas::input(scope, own, method.takes_kwargs),
    }
}

/// Plain public methods of the class's own body; a later one of the same name wins in place.
fn public_methods(class: &Class) -> impl Iterator<Item = &Function> {
    let mut methods: Vec<&Function> = Vec::new();
    for stmt in &class.body {
        let StmtKind::Function(function) = &stmt.kind else { continue };
        let is_special = function.decorators.iter().any(|decorator| {
            matches!(
                last_name(decorator),
                Some("staticmethod" | "classmethod" | "property" | "cached_property" | "setter" | "deleter")
            )
        });
        if function.name.starts_with('_') || is_special {
            continue;
        }
        match methods.iter_mut().find(|known| known.name == function.name) {
            Some(known) => *known = function,
            None => methods.push(function),
        }
    }
    methods.into_iter()
}

fn last_name(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        ExprKind::Name(name) | ExprKind::Attribute(_, name) => Some(name),
        ExprKind::Call(call) => last_name(&call.function),
        _ => None,
    }
}

fn parameters(written: &[tree::Parameter], text: &str) -> Vec<Parameter> {
    let source = |expr: &Expr| text.get(expr.range.start..expr.range.end).unwrap_or_default().to_owned();
    written
        .iter()
        .map(|parameter| Parameter {
            name: parameter.name.clone(),
            annotation: parameter.annotation.as_ref().map(source),
            default: parameter.default.as_ref().map(source),
        })
        .collect()
}
