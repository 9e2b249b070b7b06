//! Stand-ins for endpoints in shipped code: the same signature, a call to the endpoint inside.

use ruff_python_ast::{self as ast, Stmt};
use ruff_text_size::Ranged;

use super::emit::has_yield;
use super::prelude::quoted;
use super::unit::{Kind, Units, start_of_definition};
use super::{Callee, scope};
use crate::project::syntax;

/// Where a stand-in finds what calls endpoints: a module that shipped code brings.
const RUNTIME: &str = "__import__(\"_flash_callees\")";

/// Text of the stand-in for a function or class; its indentation is that of the original.
pub(super) fn stub(text: &str, stmt: &Stmt, key: &str) -> String {
    match stmt {
        Stmt::FunctionDef(node) => function(text, stmt, node, key),
        Stmt::ClassDef(node) => class(text, stmt, node, key),
        _ => String::new(),
    }
}

fn function(text: &str, stmt: &Stmt, node: &ast::StmtFunctionDef, key: &str) -> String {
    let start = start_of_definition(text, stmt);
    let head = node.returns.as_ref().map_or(node.parameters.end(), |returns| returns.end()).to_usize();
    let end = text[head..].find(':').map_or(head, |colon| head + colon);
    let head = &text[start..end];
    let head = head.strip_prefix("async").map_or(head, str::trim_start);
    let is_generator = has_yield(&node.body);
    let (word, call) =
        if is_generator { ("", "return {}.generation") } else { ("async ", "return await {}.call") };
    let call = call.replace("{}", RUNTIME);
    format!("{word}{head}: {call}({}, {})", quoted(key), arguments(&node.parameters))
}

fn class(text: &str, stmt: &Stmt, node: &ast::StmtClassDef, key: &str) -> String {
    let start = start_of_definition(text, stmt);
    let line = text[..start].rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let indent = &text[line..start];
    let indent = if indent.trim().is_empty() { indent } else { "" };
    format!(
        "class {name}:\n\
         {indent}    def __init__(self, *args, **kwargs): self._flash = {RUNTIME}.instance({key}, args, kwargs)\n\
         {indent}    def __getattr__(self, name): return self._flash.method(name)",
        name = node.name,
        key = quoted(key),
    )
}

/// `(a, b, *rest), {"k": k, **more}`.
fn arguments(parameters: &ast::Parameters) -> String {
    use std::fmt::Write;
    let mut positional = String::new();
    for parameter in parameters.posonlyargs.iter().chain(&parameters.args) {
        _ = write!(positional, "{}, ", parameter.name());
    }
    if let Some(rest) = &parameters.vararg {
        _ = write!(positional, "*{}, ", rest.name);
    }
    let mut named = String::new();
    for parameter in &parameters.kwonlyargs {
        _ = write!(named, "\"{0}\": {0}, ", parameter.name());
    }
    if let Some(rest) = &parameters.kwarg {
        _ = write!(named, "**{}, ", rest.name);
    }
    format!("({positional}), {{{named}}}")
}

/// A local module with stand-ins for the endpoints that it declares, and which those are.
pub(super) fn replace(text: &str, file: &std::path::Path, key: &str) -> (String, Vec<Callee>) {
    let Ok(module) = syntax::parse_module(text) else { return (text.to_owned(), Vec::new()) };
    let units = Units::new(&module.body, None, &std::collections::BTreeSet::new());
    let mut whole = String::new();
    let mut callees = Vec::new();
    let mut at = 0;
    for unit in units.all.iter().filter(|unit| unit.kind == Kind::Endpoint) {
        let name = scope::binds(unit.stmt).first().cloned().unwrap_or_default();
        let key = format!("{key}:{name}");
        whole.push_str(&text[at..unit.stmt.start().to_usize()]);
        whole.push_str(&stub(text, unit.stmt, &key));
        at = unit.stmt.end().to_usize();
        callees.push(Callee {
            key,
            file: file.to_owned(),
            name,
            is_class: matches!(unit.stmt, Stmt::ClassDef(_)),
        });
    }
    whole.push_str(&text[at..]);
    (whole, callees)
}
