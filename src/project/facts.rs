//! What is known of one module once its top level was read, and who reads it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::evaluate::{Binding, EndpointRef, Unknown};
use super::imports::{ModuleIndex, join};
use super::interpreter;
use super::model::Callable;
use super::tree::{Class, Function, Range, Tree};
use crate::endpoint::Value;

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
        let facts = Arc::new(interpreter::read(self, &owned, &tree));
        self.done.borrow_mut().insert(owned, Some(Arc::clone(&facts)));
        Some(facts)
    }

    /// `module.name` for a module of the project.
    pub(super) fn member(&self, module: &str, name: &str) -> Binding {
        let found = self
            .index
            .file(module)
            .and_then(|file| self.facts(file))
            .and_then(|facts| facts.names.get(name).cloned());
        let child = join(module, name);
        match found {
            Some(binding) => binding,
            None if self.index.has(&child) => Binding::Project(child),
            None => Binding::Unknown(format!("`{child}` is only known when the file runs")),
        }
    }
}
