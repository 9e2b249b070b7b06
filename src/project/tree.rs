//! The few kinds of Python syntax that reading a project needs, with byte ranges.
//!
//! Small and owned, so that it can be cached, shared between threads, and survives a change of the
//! parser underneath.

use std::sync::Arc;

/// Bytes `start..end` of a file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Range {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) body: Vec<Stmt>,
}

#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) range: Range,
    pub(super) kind: ExprKind,
}

#[derive(Debug, Clone)]
pub(super) enum ExprKind {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Format(Vec<FormatPart>),
    Name(String),
    Attribute(Box<Expr>, String),
    Subscript(Box<Expr>, Box<Expr>),
    Call(Box<Call>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Option<Expr>, Expr)>),
    Starred(Box<Expr>),
    Binary(Box<Expr>, BinaryOperator, Box<Expr>),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    /// `a or b or …`.
    Or(Vec<Expr>),
    /// `left == right`, a single comparison.
    Equal(Box<Expr>, Box<Expr>),
    Conditional {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// The body runs later, when it is called.
    Lambda(Box<Expr>),
    /// A kind whose value is never needed; its parts still are, to see what they use.
    Other {
        /// Python type of the value, where the syntax alone says it.
        type_name: &'static str,
        parts: Vec<Expr>,
    },
}

#[derive(Debug, Clone)]
pub(super) enum FormatPart {
    Text(String),
    /// `{value}`; `plain` where there is no conversion and no format specification.
    Value {
        value: Expr,
        plain: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) function: Expr,
    pub(super) positional: Vec<Expr>,
    /// `None` stands for `**value`.
    pub(super) keywords: Vec<(Option<String>, Range, Expr)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOperator {
    Add,
    Subtract,
    Multiply,
    FloorDivide,
    Power,
    Modulo,
    Or,
    Other,
}

#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) range: Range,
    pub(super) kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Function(Arc<Function>),
    Class(Arc<Class>),
    /// `a = b = value`, and `a: T = value` with one target.
    Assign {
        targets: Vec<Expr>,
        annotation: Option<Expr>,
        value: Option<Expr>,
    },
    /// `target += value` and the like.
    Augment {
        target: Expr,
        operator: BinaryOperator,
        value: Expr,
    },
    Import(Vec<(String, Option<String>)>),
    ImportFrom {
        module: Option<String>,
        names: Vec<(String, Option<String>)>,
        level: usize,
    },
    /// Tests in order with their bodies; an `else` has no test.
    If(Vec<(Option<Expr>, Vec<Stmt>)>),
    Try {
        body: Vec<Stmt>,
        rest: Vec<Stmt>,
        parts: Vec<Expr>,
    },
    With {
        parts: Vec<Expr>,
        body: Vec<Stmt>,
    },
    Expr(Expr),
    Return(Option<Expr>),
    Global(Vec<String>),
    /// Loops, `match`, `del`, `raise` …: what they contain.
    Other {
        parts: Vec<Expr>,
        body: Vec<Stmt>,
    },
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// From `def` (or `async`) to the end of the name.
    pub(super) head: Range,
    pub(super) is_async: bool,
    pub(super) is_generator: bool,
    pub(super) decorators: Vec<Expr>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) takes_kwargs: bool,
    pub(super) body: Vec<Stmt>,
    pub(super) doc: Option<String>,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) annotation: Option<Expr>,
    pub(super) default: Option<Expr>,
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: String,
    /// From `class` to the end of the name.
    pub(super) head: Range,
    pub(super) decorators: Vec<Expr>,
    pub(super) bases: Vec<Expr>,
    pub(super) body: Vec<Stmt>,
    pub(super) doc: Option<String>,
}

impl Expr {
    /// Calls `visit` on every direct part; a lambda's body is a part as well.
    pub(super) fn for_each_part<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            ExprKind::None
            | ExprKind::Bool(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Name(_) => {}
            ExprKind::Format(parts) => {
                for part in parts {
                    if let FormatPart::Value { value, .. } = part {
                        visit(value);
                    }
                }
            }
            ExprKind::Attribute(value, _)
            | ExprKind::Starred(value)
            | ExprKind::Negative(value)
            | ExprKind::Not(value)
            | ExprKind::Lambda(value) => visit(value),
            ExprKind::Subscript(left, right)
            | ExprKind::Binary(left, _, right)
            | ExprKind::Equal(left, right) => {
                visit(left);
                visit(right);
            }
            ExprKind::Call(call) => {
                visit(&call.function);
                call.positional.iter().for_each(&mut *visit);
                call.keywords.iter().for_each(|(_, _, value)| visit(value));
            }
            ExprKind::List(items) | ExprKind::Tuple(items) | ExprKind::Or(items) => {
                items.iter().for_each(visit);
            }
            ExprKind::Other { parts, .. } => parts.iter().for_each(visit),
            ExprKind::Dict(items) => {
                for (key, value) in items {
                    if let Some(key) = key {
                        visit(key);
                    }
                    visit(value);
                }
            }
            ExprKind::Conditional { test, then, otherwise } => {
                visit(test);
                visit(then);
                visit(otherwise);
            }
        }
    }
}

/// What a walk over statements sees.
pub(super) enum Node<'a> {
    Stmt(&'a Stmt),
    Expr(&'a Expr),
}

/// Walks statements and expressions in source order, bodies of functions and classes included;
/// `visit` returns whether to go into what it was shown.
pub(super) fn walk<'a>(body: &'a [Stmt], visit: &mut dyn FnMut(Node<'a>) -> bool) {
    for stmt in body {
        walk_stmt(stmt, visit);
    }
}

/// As [`walk`], for one statement.
pub(super) fn walk_stmt<'a>(stmt: &'a Stmt, visit: &mut dyn FnMut(Node<'a>) -> bool) {
    if !visit(Node::Stmt(stmt)) {
        return;
    }
    match &stmt.kind {
        StmtKind::Function(function) => walk_function(function, visit),
        StmtKind::Class(class) => {
            walk_exprs(&class.decorators, visit);
            walk_exprs(&class.bases, visit);
            walk(&class.body, visit);
        }
        StmtKind::Assign { targets, annotation, value } => {
            walk_exprs(targets, visit);
            walk_exprs(annotation, visit);
            walk_exprs(value, visit);
        }
        StmtKind::Augment { target, value, .. } => {
            walk_expr(target, visit);
            walk_expr(value, visit);
        }
        StmtKind::If(branches) => {
            for (test, body) in branches {
                walk_exprs(test, visit);
                walk(body, visit);
            }
        }
        StmtKind::Try { body, rest, parts } => {
            walk_exprs(parts, visit);
            walk(body, visit);
            walk(rest, visit);
        }
        StmtKind::With { parts, body } | StmtKind::Other { parts, body } => {
            walk_exprs(parts, visit);
            walk(body, visit);
        }
        StmtKind::Expr(value) => walk_expr(value, visit),
        StmtKind::Return(value) => walk_exprs(value, visit),
        StmtKind::Import(_) | StmtKind::ImportFrom { .. } | StmtKind::Global(_) => {}
    }
}

/// As [`walk`], for a function with its decorators, parameters and body.
pub(super) fn walk_function<'a>(function: &'a Function, visit: &mut dyn FnMut(Node<'a>) -> bool) {
    walk_exprs(&function.decorators, visit);
    for parameter in &function.parameters {
        walk_exprs(&parameter.annotation, visit);
        walk_exprs(&parameter.default, visit);
    }
    walk(&function.body, visit);
}

fn walk_exprs<'a>(exprs: impl IntoIterator<Item = &'a Expr>, visit: &mut dyn FnMut(Node<'a>) -> bool) {
    for expr in exprs {
        walk_expr(expr, visit);
    }
}

/// As [`walk`], for one expression.
pub(super) fn walk_expr<'a>(expr: &'a Expr, visit: &mut dyn FnMut(Node<'a>) -> bool) {
    if visit(Node::Expr(expr)) {
        expr.for_each_part(&mut |part| walk_expr(part, visit));
    }
}
