//! From a module's facts to the endpoints that it declares.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::callable;
use super::config;
use super::diagnostic::{Diagnostic, Label, Span};
use super::evaluate::{EndpointRef, Scope, Unknown};
use super::facts::{Decorated, EndpointCall, Evaluator, Facts, Item};
use super::model::{Callable, DeclaredEndpoint};
use crate::endpoint::{EndpointConfig, EndpointKind, Method, normalize_name, route};

/// An endpoint before the rules that look at the whole project.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// File that it is served from.
    pub(super) file: PathBuf,
    /// Where the name is written; the `def` line where the function gives it.
    pub(super) name_span: Span,
    pub(super) endpoint: DeclaredEndpoint,
}

/// What a file declares.
#[derive(Debug, Clone, Default)]
pub(super) struct Declarations {
    pub(super) drafts: Vec<Draft>,
    pub(super) problems: Vec<Diagnostic>,
}

/// Why a file cannot be read without running it; `None` where it can.
pub(super) fn unreadable(facts: &Facts) -> Option<Unknown> {
    facts.unreadable.clone().or_else(|| {
        facts
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.arguments)
            .find_map(|argument| argument.value.as_ref().err().cloned())
    })
}

/// Checks the configurations of a file's endpoints; an endpoint without one was refused.
fn configurations(
    file: &Path,
    facts: &Facts,
    environment: &HashMap<String, String>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Option<EndpointConfig>> {
    facts
        .endpoints
        .iter()
        .map(|call| config::check(file, call, environment).map_err(|found| problems.extend(found)).ok())
        .collect()
}

/// Reads what a file declares; all arguments of its endpoints must be known.
pub(super) fn collect(
    file: &PathBuf,
    facts: &Facts,
    evaluator: &Evaluator<'_>,
    environment: &HashMap<String, String>,
    text: &str,
) -> Declarations {
    let mut found = Declarations::default();
    for mistake in &facts.mistakes {
        let hint = (!mistake.hint.is_empty()).then(|| mistake.hint.to_owned());
        found.problems.push(config::error(
            mistake.rule,
            mistake.message.clone(),
            config::span(file, mistake.range),
            mistake.label,
            hint,
        ));
    }
    let configs = configurations(file, facts, environment, &mut found.problems);
    let scope = Scope { evaluator, file, names: &facts.names };
    let mut uses: Vec<(&EndpointRef, Vec<&Decorated>)> = Vec::new();
    for decorated in &facts.decorated {
        match uses.iter_mut().find(|(reference, _)| **reference == decorated.endpoint) {
            Some((_, group)) => group.push(decorated),
            None => uses.push((&decorated.endpoint, vec![decorated])),
        }
    }
    for (reference, group) in uses {
        // An endpoint that is imported is used here, but stands in the other file.
        let other = (reference.file != *file).then(|| evaluator.facts(&reference.file)).flatten();
        let declaring = other.as_deref().unwrap_or(facts);
        let Some(call) = declaring.endpoints.get(reference.index) else { continue };
        let config = match &other {
            None => configs.get(reference.index).cloned().flatten(),
            Some(_) if call.arguments.iter().any(|argument| argument.value.is_err()) => None,
            // Its own file reports what is wrong with it.
            Some(_) => config::check(&reference.file, call, environment).ok(),
        };
        if !check_group(file, call, &group, &mut found.problems) {
            continue;
        }
        let here = Here { file, scope: &scope, text, reference, call };
        if group[0].route.is_some() {
            here.load_balanced(config, &group, &mut found);
        } else if let Some(config) = config {
            for decorated in group {
                here.queue_based(&config, decorated, &mut found);
            }
        }
    }
    if !facts.was_run {
        stacked(file, facts, &mut found);
    }
    for (index, call) in facts.endpoints.iter().enumerate() {
        let Some(Some(config)) = configs.get(index) else { continue };
        let (Some(variable), Some(name), None, Some(_)) =
            (latest(&call.variables), &config.name, &config.id, &config.image)
        else {
            continue;
        };
        found.drafts.push(Draft {
            file: file.clone(),
            name_span: name_span(file, call),
            endpoint: DeclaredEndpoint {
                name: normalize_name(name, config.flashboot),
                kind: EndpointKind::Client,
                config: config.clone(),
                variable: Some(variable),
                span: config::span(file, call.range),
                callables: Vec::new(),
                makes_remote_calls: false,
            },
        });
    }
    // As official 1.21 lists them: by the name of the first function.
    found.drafts.sort_by(|left, right| first_name(left).cmp(first_name(right)));
    found
}

fn first_name(draft: &Draft) -> &str {
    draft.endpoint.callables.first().map_or(draft.endpoint.name.as_str(), |callable| callable.name.as_str())
}

/// Where an endpoint's name is written.
fn name_span(file: &Path, call: &EndpointCall) -> Span {
    let name = call.arguments.iter().find(|argument| argument.name == "name");
    config::span(file, name.map_or(call.range, |argument| argument.range))
}

/// The variable that official 1.21 records: the last one by name.
fn latest(variables: &[String]) -> Option<String> {
    variables.iter().max().cloned()
}

/// Reports mistakes in how one endpoint is used; returns whether something of it can be served.
fn check_group(
    file: &Path,
    call: &EndpointCall,
    group: &[&Decorated],
    problems: &mut Vec<Diagnostic>,
) -> bool {
    let mut is_usable = true;
    if call.is_client {
        let parameter =
            if call.arguments.iter().any(|argument| argument.name == "id") { "id" } else { "image" };
        for decorated in group {
            problems.push(config::error(
                "client-endpoint",
                format!("`Endpoint({parameter}=...)` is a client: it decorates nothing"),
                config::span(file, decorated.range),
                "used as a decorator here",
                Some(format!("for your own code, make an `Endpoint(name=...)` without `{parameter}=`")),
            ));
        }
        return false;
    }
    let first_is_route = group[0].route.is_some();
    for decorated in group {
        if decorated.route.is_some() != first_is_route {
            let mut problem = config::error(
                "mixed-endpoint",
                "one endpoint cannot have routes and decorate a function directly",
                config::span(file, decorated.range),
                if first_is_route { "decorates directly here" } else { "adds a route here" },
                Some("make two endpoints: one with routes, one for the function".to_owned()),
            );
            problem.secondary.push(Label {
                span: config::span(file, group[0].range),
                text: if first_is_route { "has a route here" } else { "decorates directly here" }.to_owned(),
            });
            problems.push(problem);
            is_usable = false;
        }
        if let (Some(_), Item::Class(class)) = (&decorated.route, &decorated.item) {
            let mut problem = config::error(
                "route-on-class",
                format!("a route leads to a function, and `{}` is a class", class.name),
                config::span(file, decorated.range),
                "route on a class",
                Some(format!(
                    "put the route on a function that uses the class, or decorate the class with `@Endpoint(name=\"{}\", ...)`",
                    class.name.to_lowercase()
                )),
            );
            problem.secondary.push(Label { span: config::span(file, class.head), text: String::new() });
            problems.push(problem);
        }
    }
    if first_is_route && !call.arguments.iter().any(|argument| argument.name == "name") {
        problems.push(config::error(
            "endpoint-name",
            "an endpoint with routes needs a name",
            config::span(file, call.range),
            "",
            Some("give it one: `Endpoint(name=\"api\", ...)`".to_owned()),
        ));
        is_usable = false;
    }
    is_usable
}

/// A function under two queue-based endpoints would be served by one of them only.
fn stacked(file: &Path, facts: &Facts, found: &mut Declarations) {
    let direct: Vec<&Decorated> =
        facts.decorated.iter().filter(|decorated| decorated.route.is_none()).collect();
    for (index, decorated) in direct.iter().enumerate() {
        let place = callable::head(&decorated.item);
        let Some(first) = direct[..index].iter().find(|earlier| callable::head(&earlier.item) == place)
        else {
            continue;
        };
        let mut problem = config::error(
            "stacked-endpoints",
            format!("`{}` belongs to two endpoints", callable::name(&decorated.item)),
            config::span(file, decorated.range),
            "second endpoint",
            Some("keep one; a second function can call the first".to_owned()),
        );
        problem
            .secondary
            .push(Label { span: config::span(file, first.range), text: "first endpoint".to_owned() });
        found.problems.push(problem);
        found.drafts.retain(|draft| {
            !draft.endpoint.callables.iter().any(|callable| callable.span.start == place.start)
        });
    }
}

struct Here<'h> {
    file: &'h PathBuf,
    scope: &'h Scope<'h>,
    text: &'h str,
    reference: &'h EndpointRef,
    call: &'h EndpointCall,
}

impl Here<'_> {
    fn variable(&self) -> Option<String> {
        if self.reference.file == *self.file {
            return latest(&self.call.variables);
        }
        self.scope
            .names
            .iter()
            .filter(|(_, binding)| matches!(binding, super::evaluate::Binding::Endpoint(reference) if reference == self.reference))
            .map(|(name, _)| name.clone())
            .max()
    }

    fn describe(&self, decorated: &Decorated, route: Option<(Method, String)>) -> Callable {
        let mut callable = callable::describe(&decorated.item, route, self.scope, self.text);
        if let Some(attribute) = &decorated.attribute {
            callable.name.clone_from(attribute);
        }
        callable
    }

    fn queue_based(&self, config: &EndpointConfig, decorated: &Decorated, found: &mut Declarations) {
        let own = callable::name(&decorated.item);
        // Without a name of its own, an endpoint has that of the `def`, as 1.21.
        let name = config.name.as_deref().unwrap_or(own);
        let name_span = if config.name.is_some() {
            name_span(&self.reference.file, self.call)
        } else {
            config::span(self.file, callable::head(&decorated.item))
        };
        found.problems.extend(callable::check_constructor(&decorated.item, self.file));
        found.drafts.push(Draft {
            file: self.file.clone(),
            name_span,
            endpoint: DeclaredEndpoint {
                name: normalize_name(name, config.flashboot),
                kind: EndpointKind::Queue,
                config: config.clone(),
                variable: self.variable(),
                span: config::span(&self.reference.file, self.call.range),
                callables: vec![self.describe(decorated, None)],
                makes_remote_calls: false,
            },
        });
    }

    /// Checks all routes, also where the configuration was refused.
    fn load_balanced(&self, config: Option<EndpointConfig>, group: &[&Decorated], found: &mut Declarations) {
        let mut callables: Vec<Callable> = Vec::new();
        let mut places: Vec<(Method, &str, Span, &str)> = Vec::new();
        for decorated in group {
            let Some(written) = &decorated.route else { continue };
            let place = config::span(self.file, written.range);
            let method = match route::check(&written.method, &written.path) {
                Ok(method) => method,
                Err(problem) => {
                    found.problems.push(config::error(
                        "route-path",
                        problem.message,
                        place,
                        "",
                        problem.hint,
                    ));
                    continue;
                }
            };
            let own = callable::name(&decorated.item);
            if let Some((_, _, first, name)) =
                places.iter().find(|(known, path, ..)| *known == method && *path == written.path)
            {
                let mut problem = config::error(
                    "duplicate-route",
                    format!("route `{method} {}` is declared twice", written.path),
                    place,
                    "declared again here",
                    Some(format!("give `{own}` another path or method")),
                );
                problem
                    .secondary
                    .push(Label { span: first.clone(), text: format!("first declared here, for `{name}`") });
                found.problems.push(problem);
                continue;
            }
            places.push((method, &written.path, place, own));
            if let Item::Class(_) = decorated.item {
                continue;
            }
            callables.push(self.describe(decorated, Some((method, written.path.clone()))));
        }
        // By name, as official 1.21; for one function, the outermost decorator comes first.
        callables.sort_by(|left, right| left.name.cmp(&right.name));
        let Some(config) = config.filter(|_| !callables.is_empty()) else { return };
        let name = config.name.clone().unwrap_or_default();
        found.drafts.push(Draft {
            file: self.file.clone(),
            name_span: name_span(&self.reference.file, self.call),
            endpoint: DeclaredEndpoint {
                name: normalize_name(&name, config.flashboot),
                kind: EndpointKind::LoadBalanced,
                config,
                variable: self.variable(),
                span: config::span(&self.reference.file, self.call.range),
                callables,
                makes_remote_calls: false,
            },
        });
    }
}
