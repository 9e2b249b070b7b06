//! Computes what of a file travels with one function or class of it.
//!
//! Text in, text out: the source with the helpers, imports, constants, base classes and decorators
//! that it uses, the local modules that these import, and stand-ins for the endpoints that it calls.
//! Knows Python's scopes; nothing runs here, and nothing is sent.

mod closure;
mod effects;
mod emit;
mod error;
mod find;
mod modules;
mod prelude;
mod scope;
mod sdk;
mod stub;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

pub use error::ShipError;
pub use prelude::{CalleeRequest, json_adapter, list_adapter, with_callees};

/// Most bytes of source with all local modules, as the official client sends.
pub const LIMIT: usize = 8 * 1024 * 1024;

/// What is to be shipped.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Text of the file or notebook cell.
    pub text: &'a str,
    /// How the file is called in messages and, below `roots`, where it is.
    pub file: &'a Path,
    /// Folders that local modules are looked for in, in order; the first is the project's. None for
    /// code without a file.
    pub roots: &'a [PathBuf],
    /// Qualified name, such as `f`, `Outer.Inner` or `make.<locals>.f`.
    pub name: &'a str,
    /// First line of its definition or decorators, where the name is defined more than once.
    pub line: Option<usize>,
    /// Names whose values travel by themselves, and need no source.
    pub known: &'a BTreeSet<String>,
    /// Further names of the module that have to travel.
    pub also: &'a BTreeSet<String>,
    /// Further names that are endpoints, as far as the caller knows.
    pub endpoints: &'a BTreeSet<String>,
}

/// What travels.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Shipment {
    /// Lines that have to be first: `from __future__ import …`.
    pub future: String,
    /// The source.
    pub code: String,
    /// Where its statements are written, in its order.
    pub lines: Vec<Lines>,
    /// Name that the source defines.
    pub name: String,
    /// Whether that is a class.
    pub is_class: bool,
    /// Whether that is a generator function.
    pub is_generator: bool,
    /// Whether that is `async`.
    pub is_async: bool,
    /// Generator methods, where it is a class, and whether each is `async`.
    pub generators: BTreeMap<String, bool>,
    /// Local modules: POSIX path below the root, text.
    pub modules: BTreeMap<String, String>,
    /// Endpoints that it calls.
    pub callees: Vec<Callee>,
    /// Names that have no (good) source.
    pub values: Vec<Value>,
}

impl Shipment {
    /// Returns a text that changes when what travels does.
    pub fn version(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.code, &self.modules).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// Lines of one statement, in what travels and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Lines {
    /// First line in the source that travels, from 1.
    pub shipped: usize,
    /// The same line in the file.
    pub source: usize,
    /// How many they are.
    pub count: usize,
}

/// An endpoint's function or class that shipped code calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Callee {
    /// What the stand-in calls it: `file:name`.
    pub key: String,
    /// Its file.
    pub file: PathBuf,
    /// Its name there.
    pub name: String,
    /// Whether it is a class.
    pub is_class: bool,
}

/// A name whose value the caller may have to send.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Value {
    /// Name.
    pub name: String,
    /// Line of its first use, or of its definition, from 1.
    pub line: usize,
    /// Whether the code cannot run without it; otherwise its source travels in its place.
    pub is_required: bool,
}

/// Computes what travels with a function or class.
///
/// # Errors
/// [`ShipError`]; names whose values are missing are no error here ([`Shipment::values`]).
pub fn ship(request: &Request<'_>) -> Result<Shipment, ShipError> {
    let mut shipment = super::source::with_deep_stack(|| closure::ship(request)).unwrap_or_else(|| {
        Err(ShipError::NotFound { file: request.file.display().to_string(), name: request.name.to_owned() })
    })?;
    shipment.code.push_str(prelude::completion(&shipment.code));
    let bytes = shipment.code.len() + shipment.modules.values().map(String::len).sum::<usize>();
    if bytes > LIMIT {
        return Err(ShipError::TooLarge { name: request.name.to_owned(), bytes, limit: LIMIT });
    }
    Ok(shipment)
}

/// Returns the qualified name, without `<locals>`, of what is decorated on a line.
///
/// A decorator may return a function of its own that says nothing of the one it was given: then the
/// line where the outermost decorator was called is all that is known.
pub fn decorated_on(text: &str, line: usize) -> Option<String> {
    super::source::with_deep_stack(|| find::decorated_on(text, line)).flatten()
}

/// Line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &text.as_bytes()[..at.min(text.len())]).count()
}
