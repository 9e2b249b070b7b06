//! Parses Python text into [`super::tree`]; beside it, only [`super::ship`] names the parser's crates.
//!
//! The parser recovers from errors, but a file with a syntax error would not run either, so it is
//! reported and not read further.

use std::sync::Arc;

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, ConversionFlag, InterpolatedStringElement, Number, Operator, UnaryOp};
use ruff_text_size::{Ranged, TextRange};

use super::tree::{
    BinaryOperator, Call, Class, Expr, ExprKind, FormatPart, Function, Parameter, Range, Stmt, StmtKind, Tree,
};

/// Files from this size on are checked for nesting before anything recursive touches them.
const SUSPICIOUS_SIZE: usize = 8 * 1024;
/// A longer annotation in quotes is not looked at.
const LONGEST_ANNOTATION: usize = 4 * 1024;
/// Deeper than what Python itself compiles.
const DEEPEST: usize = 3_000;

/// Why a text could not be parsed.
#[derive(Debug, Clone)]
pub(super) struct SyntaxProblem {
    pub(super) range: Range,
    pub(super) message: String,
}

/// Parses a file.
pub(super) fn parse(text: &str) -> Result<Tree, SyntaxProblem> {
    let module = parse_module(text)?;
    Ok(Tree { body: Lower { text }.body(&module.body) })
}

/// Parses a file into the parser's own tree, for what needs every detail of it.
pub(super) fn parse_module(text: &str) -> Result<ast::ModModule, SyntaxProblem> {
    let parsed = ruff_python_parser::parse_module(text).map_err(|error| problem(text, &error))?;
    let module = parsed.into_syntax();
    if text.len() > SUSPICIOUS_SIZE
        && let Some(range) = too_deep(&module)
    {
        // Dropping such a tree recurses as deep as it is nested: it is left in memory, once.
        std::mem::forget(module);
        return Err(SyntaxProblem { range, message: "nested too deeply".to_owned() });
    }
    Ok(module)
}

/// Parses one expression, such as an annotation in quotes; ranges are relative to `text`.
pub(super) fn parse_expression(text: &str) -> Option<Expr> {
    if text.len() > LONGEST_ANNOTATION {
        return None;
    }
    let parsed = ruff_python_parser::parse_expression(text).ok()?;
    Some(Lower { text }.expr(&parsed.into_syntax().body))
}

fn problem(text: &str, error: &ruff_python_parser::ParseError) -> SyntaxProblem {
    let mut range = convert(error.location);
    if range.start == range.end && range.end < text.len() {
        // An empty range is invisible; widen it to the character it stands before.
        let width = text[range.end..].chars().next().map_or(0, char::len_utf8);
        range.end += width;
    }
    let message = error.error.to_string();
    let mut letters = message.chars();
    let message = letters.next().map_or_else(String::new, |first| {
        let keep = letters.clone().next().is_some_and(char::is_uppercase);
        if keep { message.clone() } else { first.to_lowercase().chain(letters).collect() }
    });
    SyntaxProblem { range, message }
}

/// Finds a node nested deeper than [`DEEPEST`], with a work list instead of recursion.
fn too_deep(module: &ast::ModModule) -> Option<Range> {
    enum Item<'a> {
        Stmt(&'a ast::Stmt),
        Expr(&'a ast::Expr),
    }
    struct Parts<'a> {
        found: Vec<Item<'a>>,
    }
    impl<'a> Visitor<'a> for Parts<'a> {
        fn visit_stmt(&mut self, stmt: &'a ast::Stmt) {
            self.found.push(Item::Stmt(stmt));
        }
        fn visit_expr(&mut self, expr: &'a ast::Expr) {
            self.found.push(Item::Expr(expr));
        }
    }
    let mut pending: Vec<(usize, Item<'_>)> = module.body.iter().map(|stmt| (1, Item::Stmt(stmt))).collect();
    while let Some((depth, item)) = pending.pop() {
        let mut parts = Parts { found: Vec::new() };
        let range = match &item {
            Item::Stmt(stmt) => {
                visitor::walk_stmt(&mut parts, stmt);
                stmt.range()
            }
            Item::Expr(expr) => {
                visitor::walk_expr(&mut parts, expr);
                expr.range()
            }
        };
        if depth > DEEPEST {
            return Some(convert(TextRange::at(range.start(), 1.into())));
        }
        pending.extend(parts.found.into_iter().map(|part| (depth + 1, part)));
    }
    None
}

fn convert(range: TextRange) -> Range {
    Range { start: range.start().to_usize(), end: range.end().to_usize() }
}

struct Lower<'t> {
    text: &'t str,
}

/// Collects the direct parts of a node that is not looked at more closely.
struct Parts<'l, 't> {
    lower: &'l Lower<'t>,
    exprs: Vec<Expr>,
    stmts: Vec<Stmt>,
}

impl<'a> Visitor<'a> for Parts<'_, '_> {
    fn visit_stmt(&mut self, stmt: &'a ast::Stmt) {
        self.stmts.push(self.lower.stmt(stmt));
    }
    fn visit_expr(&mut self, expr: &'a ast::Expr) {
        self.exprs.push(self.lower.expr(expr));
    }
}

/// Sees a `yield` of this function, not of one nested in it.
struct FindYield(bool);

impl<'a> Visitor<'a> for FindYield {
    fn visit_stmt(&mut self, stmt: &'a ast::Stmt) {
        if !matches!(stmt, ast::Stmt::FunctionDef(_) | ast::Stmt::ClassDef(_)) {
            visitor::walk_stmt(self, stmt);
        }
    }
    fn visit_expr(&mut self, expr: &'a ast::Expr) {
        match expr {
            ast::Expr::Yield(_) | ast::Expr::YieldFrom(_) => self.0 = true,
            ast::Expr::Lambda(_) => {}
            _ => visitor::walk_expr(self, expr),
        }
    }
}

impl Lower<'_> {
    fn body(&self, body: &[ast::Stmt]) -> Vec<Stmt> {
        body.iter().map(|stmt| self.stmt(stmt)).collect()
    }

    fn parts(&self) -> Parts<'_, '_> {
        Parts { lower: self, exprs: Vec::new(), stmts: Vec::new() }
    }

    fn stmt(&self, stmt: &ast::Stmt) -> Stmt {
        let kind = match stmt {
            ast::Stmt::FunctionDef(node) => StmtKind::Function(Arc::new(self.function(node))),
            ast::Stmt::ClassDef(node) => StmtKind::Class(Arc::new(self.class(node))),
            ast::Stmt::Assign(node) => StmtKind::Assign {
                targets: node.targets.iter().map(|target| self.expr(target)).collect(),
                annotation: None,
                value: Some(self.expr(&node.value)),
            },
            ast::Stmt::AnnAssign(node) => StmtKind::Assign {
                targets: vec![self.expr(&node.target)],
                annotation: Some(self.expr(&node.annotation)),
                value: node.value.as_deref().map(|value| self.expr(value)),
            },
            ast::Stmt::AugAssign(node) => StmtKind::Augment {
                target: self.expr(&node.target),
                operator: operator(node.op),
                value: self.expr(&node.value),
            },
            ast::Stmt::Import(node) => StmtKind::Import(aliases(&node.names)),
            ast::Stmt::ImportFrom(node) => StmtKind::ImportFrom {
                module: node.module.as_ref().map(|name| name.id.to_string()),
                names: aliases(&node.names),
                level: node.level as usize,
            },
            ast::Stmt::If(node) => {
                let mut branches = vec![(Some(self.expr(&node.test)), self.body(&node.body))];
                branches.extend(node.elif_else_clauses.iter().map(|clause| {
                    (clause.test.as_ref().map(|test| self.expr(test)), self.body(&clause.body))
                }));
                StmtKind::If(branches)
            }
            ast::Stmt::Try(node) => {
                let mut parts = self.parts();
                for handler in &node.handlers {
                    parts.visit_except_handler(handler);
                }
                let mut rest = parts.stmts;
                rest.extend(self.body(&node.orelse));
                rest.extend(self.body(&node.finalbody));
                StmtKind::Try { body: self.body(&node.body), rest, parts: parts.exprs }
            }
            ast::Stmt::With(_) => {
                let mut parts = self.parts();
                visitor::walk_stmt(&mut parts, stmt);
                StmtKind::With { parts: parts.exprs, body: parts.stmts }
            }
            ast::Stmt::Expr(node) => StmtKind::Expr(self.expr(&node.value)),
            ast::Stmt::Return(node) => StmtKind::Return(node.value.as_deref().map(|value| self.expr(value))),
            ast::Stmt::Global(node) => {
                StmtKind::Global(node.names.iter().map(|name| name.id.to_string()).collect())
            }
            _ => {
                let mut parts = self.parts();
                visitor::walk_stmt(&mut parts, stmt);
                StmtKind::Other { parts: parts.exprs, body: parts.stmts }
            }
        };
        Stmt { range: convert(stmt.range()), kind }
    }

    fn function(&self, node: &ast::StmtFunctionDef) -> Function {
        let parameters = node
            .parameters
            .iter_non_variadic_params()
            .map(|parameter| Parameter {
                name: parameter.parameter.name.id.to_string(),
                annotation: parameter.parameter.annotation.as_deref().map(|expr| self.expr(expr)),
                default: parameter.default.as_deref().map(|expr| self.expr(expr)),
            })
            .collect();
        let mut find = FindYield(false);
        visitor::walk_body(&mut find, &node.body);
        Function {
            name: node.name.id.to_string(),
            head: self.head(node.range, &node.decorator_list, node.name.range),
            is_async: node.is_async,
            is_generator: find.0,
            decorators: node
                .decorator_list
                .iter()
                .map(|decorator| self.expr(&decorator.expression))
                .collect(),
            parameters,
            takes_kwargs: node.parameters.kwarg.is_some(),
            body: self.body(&node.body),
            doc: docstring(&node.body),
        }
    }

    fn class(&self, node: &ast::StmtClassDef) -> Class {
        Class {
            name: node.name.id.to_string(),
            head: self.head(node.range, &node.decorator_list, node.name.range),
            decorators: node
                .decorator_list
                .iter()
                .map(|decorator| self.expr(&decorator.expression))
                .collect(),
            bases: node
                .arguments
                .iter()
                .flat_map(|arguments| arguments.args.iter())
                .map(|base| self.expr(base))
                .collect(),
            body: self.body(&node.body),
            doc: docstring(&node.body),
        }
    }

    /// The `def` or `class` line up to the name, without decorators and comments before it.
    fn head(&self, whole: TextRange, decorators: &[ast::Decorator], name: TextRange) -> Range {
        let from = decorators.last().map_or(whole.start(), |last| last.range.end()).to_usize();
        let end = name.end().to_usize();
        let line = self.text[..name.start().to_usize()].rfind(['\n', '\r']).map_or(0, |at| at + 1);
        let begin = from.max(line);
        let indent = self.text[begin..end].len() - self.text[begin..end].trim_start().len();
        Range { start: begin + indent, end }
    }

    fn expr(&self, expr: &ast::Expr) -> Expr {
        Expr { range: convert(expr.range()), kind: self.kind(expr) }
    }

    fn boxed(&self, expr: &ast::Expr) -> Box<Expr> {
        Box::new(self.expr(expr))
    }

    fn many(&self, exprs: &[ast::Expr]) -> Vec<Expr> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn kind(&self, expr: &ast::Expr) -> ExprKind {
        match expr {
            ast::Expr::NoneLiteral(_) => ExprKind::None,
            ast::Expr::BooleanLiteral(node) => ExprKind::Bool(node.value),
            ast::Expr::NumberLiteral(node) => match &node.value {
                Number::Int(value) => value
                    .as_i64()
                    .map_or(ExprKind::Other { type_name: "int", parts: Vec::new() }, ExprKind::Int),
                Number::Float(value) => ExprKind::Float(*value),
                Number::Complex { .. } => ExprKind::Other { type_name: "complex", parts: Vec::new() },
            },
            ast::Expr::StringLiteral(node) => ExprKind::Str(node.value.to_str().to_owned()),
            ast::Expr::FString(node) => ExprKind::Format(self.format(node)),
            ast::Expr::Name(node) => ExprKind::Name(node.id.to_string()),
            ast::Expr::Attribute(node) => {
                ExprKind::Attribute(self.boxed(&node.value), node.attr.id.to_string())
            }
            ast::Expr::Subscript(node) => {
                ExprKind::Subscript(self.boxed(&node.value), self.boxed(&node.slice))
            }
            ast::Expr::Call(node) => ExprKind::Call(Box::new(Call {
                function: self.expr(&node.func),
                positional: self.many(&node.arguments.args),
                keywords: node
                    .arguments
                    .keywords
                    .iter()
                    .map(|keyword| {
                        let name = keyword.arg.as_ref().map(|name| name.id.to_string());
                        (name, convert(keyword.range), self.expr(&keyword.value))
                    })
                    .collect(),
            })),
            ast::Expr::List(node) => ExprKind::List(self.many(&node.elts)),
            ast::Expr::Tuple(node) => ExprKind::Tuple(self.many(&node.elts)),
            ast::Expr::Dict(node) => ExprKind::Dict(
                node.items
                    .iter()
                    .map(|item| (item.key.as_ref().map(|key| self.expr(key)), self.expr(&item.value)))
                    .collect(),
            ),
            ast::Expr::Starred(node) => ExprKind::Starred(self.boxed(&node.value)),
            ast::Expr::BinOp(node) => {
                ExprKind::Binary(self.boxed(&node.left), operator(node.op), self.boxed(&node.right))
            }
            ast::Expr::UnaryOp(node) if node.op == UnaryOp::USub => {
                ExprKind::Negative(self.boxed(&node.operand))
            }
            ast::Expr::UnaryOp(node) if node.op == UnaryOp::Not => ExprKind::Not(self.boxed(&node.operand)),
            ast::Expr::BoolOp(node) if node.op == ast::BoolOp::Or => ExprKind::Or(self.many(&node.values)),
            ast::Expr::Compare(node) => match (&*node.ops, &*node.comparators) {
                ([ast::CmpOp::Eq], [right]) => ExprKind::Equal(self.boxed(&node.left), self.boxed(right)),
                _ => self.other(expr, "bool"),
            },
            ast::Expr::If(node) => ExprKind::Conditional {
                test: self.boxed(&node.test),
                then: self.boxed(&node.body),
                otherwise: self.boxed(&node.orelse),
            },
            ast::Expr::Lambda(node) => ExprKind::Lambda(self.boxed(&node.body)),
            ast::Expr::Set(_) => self.other(expr, "set"),
            ast::Expr::BytesLiteral(_) => self.other(expr, "bytes"),
            ast::Expr::EllipsisLiteral(_) => self.other(expr, "ellipsis"),
            _ => self.other(expr, "object"),
        }
    }

    fn other(&self, expr: &ast::Expr, type_name: &'static str) -> ExprKind {
        let mut parts = self.parts();
        visitor::walk_expr(&mut parts, expr);
        ExprKind::Other { type_name, parts: parts.exprs }
    }

    fn format(&self, node: &ast::ExprFString) -> Vec<FormatPart> {
        let mut parts = Vec::new();
        for part in node.value.as_slice() {
            match part {
                ast::FStringPart::Literal(literal) => {
                    parts.push(FormatPart::Text(literal.value.to_string()));
                }
                ast::FStringPart::FString(format) => {
                    for element in &format.elements {
                        match element {
                            InterpolatedStringElement::Literal(literal) => {
                                parts.push(FormatPart::Text(literal.value.to_string()));
                            }
                            InterpolatedStringElement::Interpolation(value) => {
                                parts.push(FormatPart::Value {
                                    value: self.expr(&value.expression),
                                    plain: value.debug_text.is_none()
                                        && value.format_spec.is_none()
                                        && matches!(
                                            value.conversion,
                                            ConversionFlag::None | ConversionFlag::Str
                                        ),
                                });
                            }
                        }
                    }
                }
            }
        }
        parts
    }
}

fn operator(operator: Operator) -> BinaryOperator {
    match operator {
        Operator::Add => BinaryOperator::Add,
        Operator::Sub => BinaryOperator::Subtract,
        Operator::Mult => BinaryOperator::Multiply,
        Operator::FloorDiv => BinaryOperator::FloorDivide,
        Operator::Pow => BinaryOperator::Power,
        Operator::Mod => BinaryOperator::Modulo,
        Operator::BitOr => BinaryOperator::Or,
        _ => BinaryOperator::Other,
    }
}

fn aliases(names: &[ast::Alias]) -> Vec<(String, Option<String>)> {
    names
        .iter()
        .map(|alias| (alias.name.id.to_string(), alias.asname.as_ref().map(|name| name.id.to_string())))
        .collect()
}

/// The docstring, cleaned as `inspect.cleandoc` does.
fn docstring(body: &[ast::Stmt]) -> Option<String> {
    let ast::Stmt::Expr(first) = body.first()? else { return None };
    let ast::Expr::StringLiteral(text) = &*first.value else { return None };
    let text = text.value.to_str().replace('\t', "        ");
    let mut lines: Vec<&str> = text.lines().collect();
    let margin = lines
        .iter()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    for (index, line) in lines.iter_mut().enumerate() {
        *line = if index == 0 { line.trim_start() } else { line.get(margin..).unwrap_or("") };
    }
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    while lines.first().is_some_and(|line| line.trim().is_empty()) {
        lines.remove(0);
    }
    Some(lines.join("\n"))
}
