//! What a definition uses, and what that uses in turn.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::Ranged;

use super::emit::{self, Emitter};
use super::find::{self, Step};
use super::modules::{Modules, posix};
use super::scope;
use super::unit::{Kind, Units, start_of_definition};
use super::{Callee, Lines, Request, ShipError, Shipment, Value, line_of};
use crate::project::syntax;

/// One scope around the target: the module, a function, or a block of either.
struct Level<'a> {
    units: Units<'a>,
    /// Whether its variables belong to a call of a function: their values exist only then.
    is_function: bool,
    parameters: BTreeSet<String>,
}

pub(super) fn ship(request: &Request<'_>) -> Result<Shipment, ShipError> {
    let file = request.file.display().to_string();
    let module = syntax::parse_module(request.text).map_err(|problem| ShipError::Syntax {
        file: file.clone(),
        line: line_of(request.text, problem.range.start),
        message: problem.message,
    })?;
    let (target, path) = find::find(request, &module.body)
        .ok_or_else(|| ShipError::NotFound { file: file.clone(), name: request.name.to_owned() })?;
    let mut levels: Vec<Level<'_>> = Vec::new();
    for step in std::iter::once(Step { body: &module.body, function: None }).chain(path) {
        let outer = levels.last().map(|level| level.units.sdk());
        let units = Units::new(step.body, outer, request.endpoints);
        let parameters = step.function.into_iter().flat_map(|function| function.parameters.iter());
        levels.push(Level {
            units,
            is_function: step.function.is_some() || levels.last().is_some_and(|level| level.is_function),
            parameters: parameters.map(|parameter| parameter.name().id.to_string()).collect(),
        });
    }
    let mut closure = Closure {
        request,
        levels: &levels,
        target,
        included: BTreeSet::new(),
        names: BTreeMap::new(),
        values: BTreeMap::new(),
        pending: Vec::new(),
    };
    closure.run();
    closure.shipment(&file)
}

struct Closure<'r, 'a> {
    request: &'r Request<'r>,
    levels: &'r [Level<'a>],
    target: &'a Stmt,
    /// Level and place of what travels.
    included: BTreeSet<(usize, usize)>,
    /// Names that travel by source, and whether they are more than annotations.
    names: BTreeMap<String, bool>,
    values: BTreeMap<String, Value>,
    pending: Vec<(usize, usize)>,
}

impl Closure<'_, '_> {
    fn run(&mut self) {
        let innermost = self.levels.len() - 1;
        let own =
            self.levels[innermost].units.all.iter().position(|unit| std::ptr::eq(unit.stmt, self.target));
        if let Some(own) = own {
            self.included.insert((innermost, own));
        }
        let sdk = self.levels[innermost].units.sdk();
        let skip = scope::Skip { decorator: &|expr| sdk.is_decorator(expr), bodies: false };
        let is_lazy = self.levels[0].units.all.iter().any(|unit| unit.kind == Kind::Future);
        let uses = scope::uses(self.target, is_lazy, Some(&skip));
        self.need_all(&uses, innermost);
        let own = scope::binds(self.target).into_iter().find(|own| uses.all().any(|name| name == own));
        self.names.extend(own.map(|own| (own, true)));
        for name in self.request.also {
            self.need(name, 0, false, true, &[]);
        }
        loop {
            while let Some((level, index)) = self.pending.pop() {
                let uses = self.levels[level].units.all[index].uses.clone();
                self.need_all(&uses, level);
            }
            if !self.add_effects() {
                break;
            }
        }
    }

    fn need_all(&mut self, uses: &scope::Uses, level: usize) {
        let own = scope::binds(self.target);
        for name in &uses.needed {
            self.need(name, level, true, true, &own);
        }
        for name in uses.maybe.iter().chain(&uses.rebound) {
            self.need(name, level, false, true, &own);
        }
        for name in &uses.lazy {
            self.need(name, level, false, false, &own);
        }
    }

    fn need(&mut self, name: &str, level: usize, must_exist: bool, is_real: bool, own: &[String]) {
        if self.request.known.contains(name) || own.iter().any(|own| own == name) {
            return;
        }
        let known = self.names.get(name).copied();
        if known == Some(true) || known == Some(is_real) {
            return;
        }
        for depth in (0..=level).rev() {
            let here = &self.levels[depth];
            let found = here.units.binding(name);
            if here.parameters.contains(name)
                || (here.is_function && !found.is_empty() && !self.is_static(depth, &found))
            {
                self.value(name, true);
                return;
            }
            if found.is_empty() {
                continue;
            }
            self.names.insert(name.to_owned(), is_real);
            if depth == 0 && !here.is_function && self.is_volatile(name, &found) {
                self.value(name, false);
            }
            for index in found {
                let is_target = std::ptr::eq(here.units.all[index].stmt, self.target);
                if !is_target && self.included.insert((depth, index)) {
                    self.pending.push((depth, index));
                }
            }
            return;
        }
        if !must_exist || prelude_names(name) {
            if name == "__file__" && must_exist {
                self.value(name, false);
            }
            return;
        }
        // A module whose every name was imported may have it.
        let stars: Vec<usize> = (0..self.levels[0].units.all.len())
            .filter(|index| self.levels[0].units.all[*index].kind == Kind::Star)
            .collect();
        self.value(name, true);
        for index in stars {
            if self.included.insert((0, index)) {
                self.pending.push((0, index));
            }
        }
    }

    /// Whether statements of a function give the same each time: definitions and imports.
    fn is_static(&self, level: usize, found: &[usize]) -> bool {
        found.iter().all(|index| {
            matches!(
                self.levels[level].units.all[*index].kind,
                Kind::Import | Kind::Function | Kind::Class | Kind::Endpoint
            )
        })
    }

    /// Whether a variable's value is better sent than computed again.
    fn is_volatile(&self, name: &str, found: &[usize]) -> bool {
        let units = &self.levels[0].units;
        if units.is_import(name) {
            return false;
        }
        let is_definition = found
            .iter()
            .any(|index| matches!(units.all[*index].kind, Kind::Function | Kind::Class | Kind::Endpoint));
        if is_definition {
            return false;
        }
        units.is_bound_by_main(name)
            || found.iter().any(|index| units.all[*index].is_local)
            || units.all.iter().enumerate().any(|(index, unit)| {
                unit.kind == Kind::Function
                    && unit.uses.rebound.contains(name)
                    && !self.included.contains(&(0, index))
                    && !std::ptr::eq(unit.stmt, self.target)
            })
    }

    fn value(&mut self, name: &str, is_required: bool) {
        let line = first_use(self.target, name)
            .or_else(|| self.levels[0].units.all.iter().find_map(|unit| first_use(unit.stmt, name)))
            .unwrap_or_else(|| self.target.start().to_usize());
        let value = Value { name: name.to_owned(), line: line_of(self.request.text, line), is_required };
        self.values
            .entry(name.to_owned())
            .and_modify(|known| known.is_required |= is_required)
            .or_insert(value);
    }

    /// Adds statements that change what travels: registrations, `TABLE.update(…)`.
    fn add_effects(&mut self) -> bool {
        let units = &self.levels[0].units;
        let own = scope::binds(self.target).into_iter().next();
        let mut added = false;
        for (index, unit) in units.all.iter().enumerate() {
            if self.included.contains(&(0, index))
                || !unit.may_have_effects()
                || std::ptr::eq(unit.stmt, self.target)
            {
                continue;
            }
            // A definition without a decorator or a base changes nothing when it runs.
            let runs = match unit.stmt {
                Stmt::FunctionDef(node) => !node.decorator_list.is_empty(),
                Stmt::ClassDef(node) => !node.decorator_list.is_empty() || node.arguments.is_some(),
                Stmt::Assign(_)
                | Stmt::AnnAssign(_)
                | Stmt::AugAssign(_)
                | Stmt::Delete(_)
                | Stmt::Expr(_)
                | Stmt::For(_)
                | Stmt::While(_)
                | Stmt::If(_)
                | Stmt::With(_)
                | Stmt::Try(_) => true,
                _ => false,
            };
            if !runs || units.all[index].is_local {
                continue;
            }
            let Some(changed) = units.effects(index, own.as_deref()) else { continue };
            let matters = changed.iter().any(|name| {
                self.names.get(name) == Some(&true)
                    && !units.is_import(name)
                    && !self.request.known.contains(name)
            });
            if matters {
                self.included.insert((0, index));
                self.pending.push((0, index));
                for name in &unit.binds {
                    self.names.insert(name.clone(), true);
                }
                added = true;
            }
        }
        added
    }

    fn shipment(mut self, file: &str) -> Result<Shipment, ShipError> {
        let emitter = Emitter { request: self.request, names: &self.names };
        let mut callees = BTreeSet::new();
        let mut modules = Modules::new(self.request);
        let package = modules.package();
        let mut code = String::new();
        let mut future = String::new();
        for unit in self.levels[0].units.all.iter().filter(|unit| unit.kind == Kind::Future) {
            future.push_str(&self.request.text[unit.stmt.range()]);
            future.push('\n');
        }
        let mut lines = Vec::new();
        let mut written = false;
        for (level, index) in &self.included {
            let sdk = self.levels[*level].units.sdk();
            let unit = &self.levels[*level].units.all[*index];
            let is_target = std::ptr::eq(unit.stmt, self.target);
            written |= is_target;
            match unit.kind {
                Kind::Future | Kind::Main => {}
                Kind::Import | Kind::Star => {
                    let text = emitter.import(unit.stmt, package.as_deref(), file)?;
                    modules.add(unit.stmt, Some(&self.names))?;
                    code.push_str(&text);
                }
                Kind::Endpoint if !is_target => {
                    let key = callee_key(self.request, &unit.binds);
                    code.push_str(&emitter.stub(unit.stmt, &key));
                    callees.insert(Callee {
                        key,
                        file: self.request.file.to_owned(),
                        name: unit.binds.first().cloned().unwrap_or_default(),
                        is_class: matches!(unit.stmt, Stmt::ClassDef(_)),
                    });
                }
                _ => {
                    modules.add(unit.stmt, None)?;
                    code.push_str(&emitter.definition(unit.stmt, sdk, package.as_deref(), file)?);
                    lines.push(self.lines(unit.stmt, &code));
                }
            }
        }
        if !written {
            let sdk = self.levels[self.levels.len() - 1].units.sdk();
            modules.add(self.target, None)?;
            code.push_str(&emitter.definition(self.target, sdk, package.as_deref(), file)?);
            lines.push(self.lines(self.target, &code));
        }
        let (modules, found) = modules.finish()?;
        callees.extend(found);
        // What a local module gives by `*` is no missing value.
        let stars = emit::star_names(&modules, &self.levels[0].units, package.as_deref());
        self.values.retain(|name, _| !stars.contains(name));
        let (is_class, is_generator, is_async) = match self.target {
            Stmt::FunctionDef(node) => (false, emit::has_yield(&node.body), node.is_async),
            _ => (true, false, false),
        };
        let generators = match self.target {
            Stmt::ClassDef(node) => emit::generator_methods(&node.body),
            _ => BTreeMap::new(),
        };
        Ok(Shipment {
            future,
            code,
            lines,
            name: scope::binds(self.target).first().cloned().unwrap_or_default(),
            is_class,
            is_generator,
            is_async,
            generators,
            modules,
            callees: callees.into_iter().collect(),
            values: self.values.into_values().collect(),
        })
    }
}

impl Closure<'_, '_> {
    /// Lines of what `code` ends with: it ends as the statement does, decorators or not.
    fn lines(&self, stmt: &Stmt, code: &str) -> Lines {
        let text = self.request.text;
        let start = start_of_definition(text, stmt);
        let source = line_of(text, start);
        let count = line_of(text, stmt.end().to_usize()) + 1 - source;
        Lines { shipped: line_of(code, code.len()) - count, source, count }
    }
}

fn callee_key(request: &Request<'_>, binds: &[String]) -> String {
    // Below the root, as in the stand-ins of local modules: files of one name in two folders differ.
    let file = request.roots.iter().find_map(|root| request.file.strip_prefix(root).ok());
    let file = file.or_else(|| request.file.file_name().map(std::path::Path::new));
    let file = file.map(posix).unwrap_or_default();
    format!("{file}:{}", binds.first().map_or("", String::as_str))
}

fn first_use(stmt: &Stmt, name: &str) -> Option<usize> {
    struct Find<'n>(&'n str, Option<usize>);
    impl<'a> Visitor<'a> for Find<'_> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Name(node) = expr
                && node.id.as_str() == self.0
            {
                self.1.get_or_insert(node.range.start().to_usize());
            }
            visitor::walk_expr(self, expr);
        }
    }
    let mut find = Find(name, None);
    find.visit_stmt(stmt);
    find.1
}

/// Names that every module has, or the interpreter.
fn prelude_names(name: &str) -> bool {
    super::prelude::BUILTINS.binary_search(&name).is_ok()
}
