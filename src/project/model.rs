//! What was found in a project.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Span};
use crate::endpoint::{EndpointConfig, EndpointKind, Method};

/// A project as read: files with their endpoints, and all that is wrong.
#[derive(Debug, Clone)]
pub struct Project {
    /// Root folder, absolute.
    pub root: PathBuf,
    /// App name: `FLASH_APP`, else `[tool.flash] app`, else the root folder's name.
    pub app: String,
    /// Python files, sorted by path; files without endpoints included (they are in closures).
    pub files: Vec<Arc<ProjectFile>>,
    /// Findings, sorted by place. An endpoint with an error is not in `files`.
    pub diagnostics: Vec<Diagnostic>,
    /// Requirements that the project itself declares (`requirements.txt`, `pyproject.toml`).
    pub requirements: Vec<String>,
}

/// One Python file.
#[derive(Debug, Clone)]
pub struct ProjectFile {
    /// Path relative to the root.
    pub path: PathBuf,
    /// Dotted module name, such as `workers.gpu`.
    pub module: String,
    /// URL prefix, such as `/workers/gpu`.
    pub prefix: String,
    /// SHA-256 of the content.
    pub hash: [u8; 32],
    /// The text; shared with diagnostics.
    pub text: Arc<str>,
    /// Project files that importing this one imports, itself included, relative to the root.
    pub closure: BTreeSet<PathBuf>,
    /// Endpoints declared here, in the order official 1.21 lists them.
    pub endpoints: Vec<DeclaredEndpoint>,
}

/// An endpoint as declared in a file.
#[derive(Debug, Clone)]
pub struct DeclaredEndpoint {
    /// Name, after `-fb` and the function's name were considered.
    pub name: String,
    /// Kind.
    pub kind: EndpointKind,
    /// Validated configuration.
    pub config: EndpointConfig,
    /// Module variable that holds the `Endpoint`, if any.
    pub variable: Option<String>,
    /// The `Endpoint(...)` call.
    pub span: Span,
    /// Functions and classes (for load-balanced: the route handlers).
    pub callables: Vec<Callable>,
    /// Whether a body calls another endpoint's function by name.
    pub makes_remote_calls: bool,
}

/// A decorated function, class, or route handler.
#[derive(Debug, Clone)]
pub struct Callable {
    /// Name in its module.
    pub name: String,
    /// `def` or `class` line.
    pub span: Span,
    /// `async def` (for a class: any public method is).
    pub is_async: bool,
    /// Yields items.
    pub is_generator: bool,
    /// Public methods, where it is a class.
    pub methods: Option<Vec<MethodDeclaration>>,
    /// Parameters, without `self`, `*args` and `**kwargs`.
    pub parameters: Vec<Parameter>,
    /// Whether it takes `**kwargs`.
    pub takes_kwargs: bool,
    /// Docstring, cleaned as `inspect.cleandoc` does.
    pub doc: Option<String>,
    /// Method and path, where it is a route handler.
    pub route: Option<(Method, String)>,
    /// JSON Schema of the input object, as far as annotations can be read statically.
    pub input_schema: serde_json::Value,
}

/// A public method of a decorated class.
#[derive(Debug, Clone)]
pub struct MethodDeclaration {
    /// Name.
    pub name: String,
    /// `async def`.
    pub is_async: bool,
    /// Yields items.
    pub is_generator: bool,
    /// Parameters, without `self`.
    pub parameters: Vec<Parameter>,
    /// Whether it takes `**kwargs`.
    pub takes_kwargs: bool,
    /// Own docstring, else the class's.
    pub doc: Option<String>,
    /// JSON Schema of the input object.
    pub input_schema: serde_json::Value,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Annotation as written, if any.
    pub annotation: Option<String>,
    /// Default as written, if any.
    pub default: Option<String>,
}

/// Callables as they stand in the source, each with its place in the list: of two routes that fit
/// a path, FastAPI takes the first declared.
pub fn in_declared_order(callables: &[Callable]) -> Vec<(usize, &Callable)> {
    let mut callables: Vec<(usize, &Callable)> = callables.iter().enumerate().collect();
    callables.sort_by_key(|(_, callable)| callable.span.start);
    callables
}
