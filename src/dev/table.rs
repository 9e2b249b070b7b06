//! The route table: which request goes to which endpoint.
//!
//! Built whole from a [`Project`] and swapped atomically, so that a request sees either all of the
//! old routes or all of the new ones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::endpoint::pattern::Pattern;
use crate::endpoint::{EndpointKind, Hardware, Method};
use crate::project::model::Parameter;
use crate::project::model::in_declared_order;
use crate::project::{Callable, DeclaredEndpoint, Project, ProjectFile, Severity};

/// What a queue-based route runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueueTarget {
    /// Endpoint.
    pub(super) endpoint: String,
    /// `function` or `Class.method`.
    pub(super) callable: String,
    /// Whether it takes arguments at all; without any, the body does not matter.
    pub(super) takes_input: bool,
    /// Whether it can run without a single argument.
    pub(super) all_optional: bool,
}

/// What a load-balanced route reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BalancedTarget {
    /// Endpoint.
    pub(super) endpoint: String,
    /// Prefix that is cut off before the path reaches the worker.
    pub(super) prefix: String,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A job.
    Queue(QueueTarget),
    /// A request, forwarded as it came.
    Balanced(BalancedTarget),
}

/// One route under a file's prefix.
#[derive(Debug, Clone)]
pub(super) struct ProjectRoute {
    /// Method.
    pub(super) method: Method,
    /// Full path in FastAPI's syntax.
    pub(super) path: String,
    /// Function or method name, as the console shows it.
    pub(super) function: String,
    /// Where it leads.
    pub(super) target: Target,
    /// Place in `Table::project.files`.
    pub(super) file: usize,
    /// Place in that file's endpoints.
    pub(super) endpoint: usize,
    /// Place in that endpoint's callables.
    pub(super) callable: usize,
    /// Place in that class's methods.
    pub(super) member: Option<usize>,
    pattern: Pattern,
}

/// What a look-up finds.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The first route that fits.
    Route(&'a ProjectRoute),
    /// Routes fit the path, but not the method; these methods do.
    OtherMethods(Vec<Method>),
    /// Nothing fits, but something would with (or without) a final slash.
    Slash(String),
    /// Nothing fits.
    Nothing,
}

/// All routes of a project.
#[derive(Debug)]
pub(super) struct Table {
    /// What it was built from.
    pub(super) project: Arc<Project>,
    /// In order of precedence.
    pub(super) routes: Vec<ProjectRoute>,
    /// Things to say about the routes, such as two methods that claim one URL.
    pub(super) notes: Vec<String>,
    by_host: HashMap<String, (String, EndpointKind)>,
}

impl Table {
    /// Builds the table.
    pub(super) fn new(project: Arc<Project>) -> Self {
        let mut routes: Vec<ProjectRoute> = Vec::new();
        let mut notes = Vec::new();
        let mut by_host = HashMap::new();
        // Callables by path of the queue-based routes so far.
        let mut taken: HashMap<String, String> = HashMap::new();
        for (index, file) in project.files.iter().enumerate() {
            for route in file_routes(file, index) {
                let Target::Queue(target) = &route.target else {
                    routes.push(route);
                    continue;
                };
                if let Some(winner) = taken.get(&route.path) {
                    notes.push(format!(
                        "`POST {}` runs `{winner}`, which comes first; `{}` answers at `/v2/{}/runsync` only",
                        route.path, target.callable, target.endpoint
                    ));
                } else {
                    taken.insert(route.path.clone(), target.callable.clone());
                    routes.push(route);
                }
            }
            for endpoint in &file.endpoints {
                by_host.insert(endpoint.name.to_lowercase(), (endpoint.name.clone(), endpoint.kind));
            }
        }
        Self { project, routes, notes, by_host }
    }

    /// Finds the route for a method and a percent-decoded path, in Starlette's order.
    pub(super) fn find(&self, method: &http::Method, path: &str) -> Found<'_> {
        let fitting =
            |path: &str| self.routes.iter().filter(|route| route.pattern.matches(path)).collect::<Vec<_>>();
        let fits = fitting(path);
        if let Some(route) = fits.iter().find(|route| method.as_str() == method_name(route.method)) {
            return Found::Route(route);
        }
        if !fits.is_empty() {
            let mut methods: Vec<Method> = fits.iter().map(|route| route.method).collect();
            methods.dedup();
            return Found::OtherMethods(methods);
        }
        let other = match path.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{path}/"),
        };
        if path.len() > 1 && !fitting(&other).is_empty() { Found::Slash(other) } else { Found::Nothing }
    }

    /// Returns the endpoint that a `{endpoint}.localhost` host names, with its kind.
    pub(super) fn endpoint_of_host(&self, label: &str) -> Option<(&str, EndpointKind)> {
        self.by_host.get(&label.to_lowercase()).map(|(name, kind)| (name.as_str(), *kind))
    }

    /// Returns the names of the queue-based endpoints, in order.
    pub(super) fn queue_endpoints(&self) -> Vec<&str> {
        let endpoints = self.project.files.iter().flat_map(|file| &file.endpoints);
        let queues = endpoints.filter(|endpoint| endpoint.kind == EndpointKind::Queue);
        queues.map(|endpoint| endpoint.name.as_str()).collect()
    }

    /// Returns the declaration of an endpoint.
    pub(super) fn declared(&self, name: &str) -> Option<&DeclaredEndpoint> {
        self.project.files.iter().flat_map(|file| &file.endpoints).find(|endpoint| endpoint.name == name)
    }

    /// Returns the file under whose prefix a path lies, if that file has errors and no routes.
    pub(super) fn broken_file(&self, path: &str) -> Option<&Path> {
        let under = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.project
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .filter_map(|diagnostic| diagnostic.primary.as_ref())
            .map(|label| label.span.file.as_path())
            .find(|file| under(&prefix_of(file)))
    }

    /// Parts of a route's declaration: file, endpoint, callable.
    pub(super) fn declaration(
        &self,
        route: &ProjectRoute,
    ) -> Option<(&ProjectFile, &DeclaredEndpoint, &Callable)> {
        let file = self.project.files.get(route.file)?;
        let endpoint = file.endpoints.get(route.endpoint)?;
        Some((file, endpoint, endpoint.callables.get(route.callable)?))
    }
}

/// The URL prefix of a file: its path without `.py`.
fn prefix_of(file: &Path) -> String {
    let parts: Vec<String> = file
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    format!("/{}", parts.join("/"))
}

/// A method as HTTP spells it.
pub(super) fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

/// An endpoint's hardware in a few words, such as `ADA_24 ×2` or `CPU cpu3c-1-2`.
pub(super) fn hardware_text(hardware: &Hardware) -> String {
    match hardware {
        Hardware::Gpu { choices, count, .. } => {
            let names: Vec<&str> = choices
                .iter()
                .map(|choice| match choice {
                    crate::endpoint::GpuChoice::Group(name) | crate::endpoint::GpuChoice::Type(name) => {
                        name.as_str()
                    }
                })
                .collect();
            let names = match names.as_slice() {
                [] | ["ANY"] => "any".to_owned(),
                [first, second, third, ..] if names.len() > 3 => {
                    format!("{first}, {second}, {third} +{}", names.len() - 3)
                }
                _ => names.join(", "),
            };
            let count = if *count > 1 { format!(" ×{count}") } else { String::new() };
            format!("GPU {names}{count}")
        }
        Hardware::Cpu { instances } => match instances.as_slice() {
            [first, rest @ ..] if rest.len() > 1 => format!("CPU {first} +{}", rest.len()),
            _ => format!("CPU {}", instances.join(", ")).trim_end().to_owned(),
        },
    }
}

/// One queue-based callable of a file.
struct Job<'a> {
    endpoint: usize,
    callable: usize,
    member: Option<usize>,
    segment: &'a str,
    name: String,
    parameters: &'a [Parameter],
    takes_kwargs: bool,
}

fn file_routes(file: &ProjectFile, index: usize) -> Vec<ProjectRoute> {
    let jobs = file_jobs(file);
    let is_single = jobs.len() == 1;
    let mut routes: Vec<ProjectRoute> = jobs
        .into_iter()
        .map(|job| {
            let path = if is_single {
                format!("{}/runsync", file.prefix)
            } else {
                format!("{}/{}/runsync", file.prefix, job.segment)
            };
            let target = QueueTarget {
                endpoint: file.endpoints[job.endpoint].name.clone(),
                takes_input: !job.parameters.is_empty() || job.takes_kwargs,
                all_optional: job.parameters.iter().all(|parameter| parameter.default.is_some()),
                callable: job.name,
            };
            ProjectRoute {
                method: Method::Post,
                // Names are literal text here: braces in a folder's name mean nothing.
                pattern: Pattern::literal(&path),
                path,
                function: job.segment.to_owned(),
                target: Target::Queue(target),
                file: index,
                endpoint: job.endpoint,
                callable: job.callable,
                member: job.member,
            }
        })
        .collect();
    for (place, endpoint) in file.endpoints.iter().enumerate() {
        if endpoint.kind != EndpointKind::LoadBalanced {
            continue;
        }
        for (callable, declared) in in_declared_order(&endpoint.callables) {
            let Some((method, path)) = &declared.route else { continue };
            let path = format!("/{}", path.trim_start_matches('/'));
            routes.push(ProjectRoute {
                method: *method,
                pattern: Pattern::below(&file.prefix, &path),
                path: format!("{}{path}", file.prefix),
                function: declared.name.clone(),
                target: Target::Balanced(BalancedTarget {
                    endpoint: endpoint.name.clone(),
                    prefix: file.prefix.clone(),
                }),
                file: index,
                endpoint: place,
                callable,
                member: None,
            });
        }
    }
    routes
}

/// Queue-based callables of a file: functions first, then the methods of classes.
fn file_jobs(file: &ProjectFile) -> Vec<Job<'_>> {
    let mut functions = Vec::new();
    let mut methods = Vec::new();
    for (place, endpoint) in file.endpoints.iter().enumerate() {
        if endpoint.kind != EndpointKind::Queue {
            continue;
        }
        for (callable, declared) in endpoint.callables.iter().enumerate() {
            match &declared.methods {
                None => functions.push(Job {
                    endpoint: place,
                    callable,
                    member: None,
                    segment: &declared.name,
                    name: declared.name.clone(),
                    parameters: &declared.parameters,
                    takes_kwargs: declared.takes_kwargs,
                }),
                Some(members) => methods.extend(members.iter().enumerate().map(|(member, method)| Job {
                    endpoint: place,
                    callable,
                    member: Some(member),
                    segment: &method.name,
                    name: format!("{}.{}", declared.name, method.name),
                    parameters: &method.parameters,
                    takes_kwargs: method.takes_kwargs,
                })),
            }
        }
    }
    functions.extend(methods);
    functions
}
