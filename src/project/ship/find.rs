//! Finds the definition that is shipped, and the bodies around it.

use std::ops::RangeInclusive;

use ruff_python_ast::{Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::unit::start_of_definition;
use super::{Request, line_of};
use crate::project::syntax;

/// A body on the way to the target.
pub(super) struct Step<'a> {
    pub(super) body: &'a [Stmt],
    pub(super) function: Option<&'a StmtFunctionDef>,
}

/// A definition, with the bodies around it from the outermost on, the module left out.
type Found<'a> = (&'a Stmt, Vec<Step<'a>>);

/// Finds what a request names; of several definitions the one on the request's line, else the last.
pub(super) fn find<'a>(request: &Request<'_>, body: &'a [Stmt]) -> Option<Found<'a>> {
    let parts: Vec<&str> = request.name.split('.').filter(|part| *part != "<locals>").collect();
    named(request, body, &parts)
}

fn named<'a>(request: &Request<'_>, body: &'a [Stmt], parts: &[&str]) -> Option<Found<'a>> {
    let (first, rest) = parts.split_first()?;
    let mut found = None;
    for stmt in body {
        let candidate = match stmt {
            Stmt::FunctionDef(node) if node.name.as_str() != *first => None,
            Stmt::ClassDef(node) if node.name.as_str() != *first => None,
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) if rest.is_empty() => Some((stmt, Vec::new())),
            _ => below(stmt, &|body| named(request, body, if is_definition(stmt) { rest } else { parts })),
        };
        let Some(candidate) = candidate else { continue };
        let lines = lines(request.text, candidate.0);
        let is_wanted = request.line.is_some_and(|line| lines.contains(&line));
        found = Some(candidate);
        if is_wanted {
            break;
        }
    }
    found
}

/// Finds the name of what is decorated on a line.
pub(super) fn decorated_on(text: &str, line: usize) -> Option<String> {
    let module = syntax::parse_module(text).ok()?;
    decorated(text, line, &module.body)
}

fn decorated(text: &str, line: usize, body: &[Stmt]) -> Option<String> {
    body.iter().find_map(|stmt| {
        let (name, decorators, inner) = match stmt {
            Stmt::FunctionDef(node) => (&node.name, &node.decorator_list, &node.body),
            Stmt::ClassDef(node) => (&node.name, &node.decorator_list, &node.body),
            _ => return blocks(stmt).into_iter().find_map(|block| decorated(text, line, block)),
        };
        if !decorators.is_empty() && lines(text, stmt).contains(&line) {
            return Some(name.to_string());
        }
        decorated(text, line, inner).map(|below| format!("{name}.{below}"))
    })
}

/// Searches the bodies of a statement.
fn below<'a>(stmt: &'a Stmt, search: &dyn Fn(&'a [Stmt]) -> Option<Found<'a>>) -> Option<Found<'a>> {
    match stmt {
        Stmt::FunctionDef(node) => {
            let (found, mut path) = search(&node.body)?;
            path.insert(0, Step { body: &node.body, function: Some(node) });
            Some((found, path))
        }
        // Names of a class are not seen from what is nested in it.
        Stmt::ClassDef(node) => search(&node.body),
        _ => blocks(stmt).into_iter().find_map(|block| {
            let (found, mut path) = search(block)?;
            path.insert(0, Step { body: block, function: None });
            Some((found, path))
        }),
    }
}

fn is_definition(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::FunctionDef(_) | Stmt::ClassDef(_))
}

/// Lines of a definition's decorators and of its first word.
fn lines(text: &str, stmt: &Stmt) -> RangeInclusive<usize> {
    line_of(text, stmt.start().to_usize())..=line_of(text, start_of_definition(text, stmt))
}

/// Bodies of a compound statement.
fn blocks(stmt: &Stmt) -> Vec<&[Stmt]> {
    match stmt {
        Stmt::If(node) => std::iter::once(&*node.body)
            .chain(node.elif_else_clauses.iter().map(|clause| &*clause.body))
            .collect(),
        Stmt::Try(node) => {
            let mut all = vec![&*node.body];
            for handler in &node.handlers {
                let ruff_python_ast::ExceptHandler::ExceptHandler(handler) = handler;
                all.push(&handler.body);
            }
            all.extend([&*node.orelse, &*node.finalbody]);
            all
        }
        Stmt::With(node) => vec![&node.body],
        Stmt::For(node) => vec![&node.body, &node.orelse],
        Stmt::While(node) => vec![&node.body, &node.orelse],
        Stmt::Match(node) => node.cases.iter().map(|case| &*case.body).collect(),
        _ => Vec::new(),
    }
}
