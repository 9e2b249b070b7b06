//! Projects made by hand, for tests of the rooms above.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Label, Severity, Span};
use super::model::{MethodDeclaration, Parameter};
use super::{Callable, DeclaredEndpoint, Project, ProjectFile};
use crate::endpoint::{self, EndpointConfig, EndpointKind, Hardware, Method};

/// A project with the given files.
pub(crate) fn project(files: Vec<ProjectFile>) -> Project {
    Project {
        root: PathBuf::from("/project"),
        app: "shop".to_owned(),
        files: files.into_iter().map(Arc::new).collect(),
        diagnostics: Vec::new(),
        requirements: Vec::new(),
    }
}

/// The same project with a syntax error in `file`.
pub(crate) fn with_error(mut project: Project, file: &str) -> Project {
    let span = Span { file: PathBuf::from(file), start: 0, end: 1 };
    project.diagnostics.push(Diagnostic {
        severity: Severity::Error,
        rule: "syntax-error",
        message: "invalid syntax".to_owned(),
        primary: Some(Label { span, text: String::new() }),
        secondary: Vec::new(),
        hint: None,
    });
    project
}

/// A file with endpoints.
pub(crate) fn file(path: &str, endpoints: Vec<DeclaredEndpoint>) -> ProjectFile {
    let stem = path.trim_end_matches(".py");
    ProjectFile {
        path: PathBuf::from(path),
        module: stem.replace('/', "."),
        prefix: format!("/{stem}"),
        hash: [0; 32],
        text: Arc::from(""),
        closure: [PathBuf::from(path)].into(),
        endpoints,
    }
}

fn endpoint(name: &str, kind: EndpointKind, callables: Vec<Callable>) -> DeclaredEndpoint {
    DeclaredEndpoint {
        name: name.to_owned(),
        kind,
        config: EndpointConfig {
            name: Some(name.to_owned()),
            id: None,
            image: None,
            hardware: Hardware::Cpu { instances: vec!["cpu3c-1-2".to_owned()] },
            workers: endpoint::Workers { min: 0, max: 3 },
            idle_timeout: None,
            execution_timeout_ms: 0,
            flashboot: true,
            max_concurrency: 1,
            scaler_type: None,
            scaler_value: 4,
            env: None,
            dependencies: Vec::new(),
            system_dependencies: Vec::new(),
            accelerate_downloads: true,
            volumes: Vec::new(),
            datacenters: None,
            template: None,
        },
        variable: None,
        span: Span { file: PathBuf::new(), start: 0, end: 0 },
        callables,
        makes_remote_calls: false,
    }
}

fn parameters(names: &[&str]) -> (Vec<Parameter>, Value) {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    let list = names
        .iter()
        .map(|name| {
            let (name, default) = match name.strip_suffix('?') {
                Some(name) => (name, Some("1".to_owned())),
                None => (*name, None),
            };
            let mut schema = json!({ "type": "integer" });
            match &default {
                Some(_) => schema["default"] = json!(1),
                None => required.push(name),
            }
            properties.insert(name.to_owned(), schema);
            Parameter { name: name.to_owned(), annotation: Some("int".to_owned()), default }
        })
        .collect();
    (list, json!({ "type": "object", "properties": properties, "required": required }))
}

/// A function; a parameter's name with `?` has a default.
pub(crate) fn function(name: &str, names: &[&str]) -> Callable {
    let (parameters, input_schema) = parameters(names);
    Callable {
        name: name.to_owned(),
        span: Span { file: PathBuf::new(), start: 0, end: 0 },
        is_async: true,
        is_generator: false,
        methods: None,
        parameters,
        takes_kwargs: false,
        doc: Some(format!("Runs {name}.\n\nAnd more.")),
        route: None,
        input_schema,
    }
}

/// A queue-based endpoint with one function.
pub(crate) fn queue(name: &str, callable: &str, names: &[&str]) -> DeclaredEndpoint {
    endpoint(name, EndpointKind::Queue, vec![function(callable, names)])
}

/// A queue-based endpoint with a class.
pub(crate) fn class(name: &str, class: &str, methods: &[&str]) -> DeclaredEndpoint {
    let mut callable = function(class, &[]);
    let declare = |method: &&str| {
        let (parameters, input_schema) = parameters(&["a"]);
        MethodDeclaration {
            name: (*method).to_owned(),
            is_async: true,
            is_generator: false,
            parameters,
            takes_kwargs: false,
            doc: None,
            input_schema,
        }
    };
    callable.methods = Some(methods.iter().map(declare).collect());
    endpoint(name, EndpointKind::Queue, vec![callable])
}

/// A load-balanced endpoint: method, path, function, parameters.
pub(crate) fn balanced(name: &str, routes: &[(Method, &str, &str, &[&str])]) -> DeclaredEndpoint {
    let callables = routes
        .iter()
        .enumerate()
        .map(|(place, (method, path, name, names))| {
            let mut callable = function(name, names);
            callable.span.start = place;
            callable.route = Some((*method, (*path).to_owned()));
            callable
        })
        .collect();
    endpoint(name, EndpointKind::LoadBalanced, callables)
}
