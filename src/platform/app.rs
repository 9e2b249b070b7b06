//! What the platform is asked to serve: one [`EndpointSpec`] per declared endpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::spec::{EndpointSpec, FlashRuntime, Runtime, Scaling};
use crate::endpoint::{EndpointKind, Route, Value};
use crate::project::diagnostic::render;
use crate::project::model::in_declared_order;
use crate::project::variables::Variables;
use crate::project::{DeclaredEndpoint, Diagnostic, Label, Project, ProjectFile, Severity};
use crate::requirements::EnvironmentState;
use crate::wire::message::{LoadHead, Source};

/// How long an idle worker stays where the endpoint does not say (1.21's default).
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Builds the specs. `prepare` begins to make an endpoint's environment and returns at once.
/// Warnings are about variables that an endpoint's `env` reads and that are not set.
pub fn build(
    project: &Project,
    variables: &Variables,
    prepare: impl Fn(&DeclaredEndpoint) -> watch::Receiver<EnvironmentState>,
) -> (Vec<EndpointSpec>, Vec<Diagnostic>) {
    let hashes: HashMap<&Path, &[u8]> =
        project.files.iter().map(|file| (file.path.as_path(), &file.hash[..])).collect();
    let mut warnings = Vec::new();
    let mut specs = Vec::new();
    for file in &project.files {
        for endpoint in file.endpoints.iter().filter(|endpoint| endpoint.kind != EndpointKind::Client) {
            let env = resolve_env(endpoint, variables, &mut warnings);
            let load = load_head(project, file, endpoint, &env);
            let unset = variables.removed();
            specs.push(EndpointSpec {
                id: endpoint.name.clone(),
                name: endpoint.name.clone(),
                kind: endpoint.kind,
                workers: endpoint.config.workers,
                idle_timeout: endpoint
                    .config
                    .idle_timeout
                    .map_or(IDLE_TIMEOUT, |seconds| Duration::from_secs(u64::from(seconds))),
                execution_timeout: Some(endpoint.config.execution_timeout_ms)
                    .filter(|millis| *millis > 0)
                    .map(Duration::from_millis),
                scaling: Scaling::RequestCount(endpoint.config.calls_per_worker(endpoint.kind)),
                flashboot: false,
                account: String::new(),
                key: None,
                fingerprint: fingerprint(project, &hashes, file, endpoint, (&load, &unset)),
                env,
                runtime: Runtime::Flash(Box::new(FlashRuntime {
                    load,
                    max_concurrency: endpoint.config.max_concurrency,
                    environment: prepare(endpoint),
                    unset,
                })),
            });
        }
    }
    (specs, warnings)
}

/// The located errors of a project, as text.
pub fn problems(project: &Project) -> Vec<String> {
    let errors = project.diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|error| render(error, project, false)).collect()
}

fn load_head(
    project: &Project,
    file: &ProjectFile,
    endpoint: &DeclaredEndpoint,
    env: &BTreeMap<String, String>,
) -> LoadHead {
    let root = project.root.to_string_lossy().into_owned();
    let routes = in_declared_order(&endpoint.callables).into_iter().filter_map(|(_, callable)| {
        let (method, path) = callable.route.clone()?;
        Some(Route { method, path, function: callable.name.clone() })
    });
    let callables = endpoint.callables.iter().filter(|callable| callable.route.is_none());
    LoadHead {
        endpoint: endpoint.name.clone(),
        kind: endpoint.kind,
        source: Source::Module {
            root: root.clone(),
            module: file.module.clone(),
            file: project.root.join(&file.path).to_string_lossy().into_owned(),
            sys_path: Vec::new(),
        },
        callables: callables.map(|callable| callable.name.clone()).collect(),
        routes: routes.collect(),
        max_concurrency: endpoint.config.max_concurrency,
        env: env.clone(),
        working_directory: Some(root),
    }
}

/// The endpoint's own variables: what `.env` changed since the start, then what `env=` says.
fn resolve_env(
    endpoint: &DeclaredEndpoint,
    variables: &Variables,
    warnings: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let mut env = variables.changed();
    for (name, value) in endpoint.config.env.iter().flatten() {
        let text = match value {
            Value::Str(text) => Ok(text.clone()),
            value => match value.filled(&|name| variables.get(name)) {
                Some(text) => text,
                None => continue,
            },
        };
        match text {
            Ok(text) => {
                env.insert(name.clone(), text);
            }
            Err(missing) => warnings.push(missing_variable(endpoint, name, &missing)),
        }
    }
    env
}

fn missing_variable(endpoint: &DeclaredEndpoint, name: &str, missing: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        rule: "missing-variable",
        message: format!("`{}` gets no `{name}`: the variable `{missing}` is not set", endpoint.name),
        primary: Some(Label { span: endpoint.span.clone(), text: String::new() }),
        secondary: Vec::new(),
        hint: Some(format!("set it in the shell or in `.env`: {missing}=…")),
    }
}

/// Changes when the endpoint's code (its module and all it imports), configuration, variables or
/// packages change.
fn fingerprint(
    project: &Project,
    hashes: &HashMap<&Path, &[u8]>,
    file: &ProjectFile,
    endpoint: &DeclaredEndpoint,
    (load, unset): (&LoadHead, &[String]),
) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(format!("{:?}", endpoint.config).as_bytes());
    add(format!("{load:?}").as_bytes());
    for name in unset {
        add(name.as_bytes());
    }
    for requirement in &project.requirements {
        add(requirement.as_bytes());
    }
    for path in &file.closure {
        add(path.as_os_str().as_encoded_bytes());
        add(hashes.get(path.as_path()).copied().unwrap_or_default());
    }
    // Its own text counts even where the closure should not name it.
    add(&file.hash);
    let digits: Vec<String> = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::endpoint::Template;
    use crate::project::samples::{file, project, queue};

    fn specs(project: &Project, variables: &Variables) -> (Vec<EndpointSpec>, Vec<Diagnostic>) {
        let (_, state) = watch::channel(EnvironmentState::Preparing { message: String::new() });
        build(project, variables, |_| state.clone())
    }

    fn shop() -> Project {
        let mut api = file("api.py", vec![queue("api", "run", &[])]);
        api.closure.insert(PathBuf::from("helper.py"));
        project(vec![api, file("helper.py", Vec::new()), file("other.py", vec![queue("other", "run", &[])])])
    }

    #[test]
    fn fingerprint_follows_the_closure_only() {
        let before = specs(&shop(), &Variables::default()).0;
        let mut changed = shop();
        Arc::make_mut(&mut changed.files[1]).hash = [9; 32];
        let after = specs(&changed, &Variables::default()).0;
        assert_ne!(before[0].fingerprint, after[0].fingerprint);
        assert_eq!(before[1].fingerprint, after[1].fingerprint);
    }

    #[test]
    fn env_is_resolved_and_what_is_missing_is_named() {
        let mut project = shop();
        let endpoint = &mut Arc::make_mut(&mut project.files[0]).endpoints[0];
        let variable = |name: &str, default: Option<&str>| Value::Environment {
            name: name.to_owned(),
            default: default.map(str::to_owned),
        };
        endpoint.config.env = Some(vec![
            ("PLAIN".to_owned(), Value::Str("x".to_owned())),
            ("GIVEN".to_owned(), variable("SHOP_KEY", None)),
            ("FALLBACK".to_owned(), variable("SHOP_OTHER", Some("y"))),
            ("MISSING".to_owned(), variable("SHOP_MISSING", None)),
            ("JOINED".to_owned(), {
                let mut text = Template::default();
                text.push_text("Bearer ");
                text.push(&variable("SHOP_KEY", None));
                text.into_value()
            }),
        ]);
        let variables = Variables::of([("SHOP_KEY", "secret")]);
        let (specs, warnings) = specs(&project, &variables);
        let expected = [("FALLBACK", "y"), ("GIVEN", "secret"), ("JOINED", "Bearer secret"), ("PLAIN", "x")];
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(specs[0].env, expected);
        assert_eq!(specs[0].flash().unwrap().load.env, expected);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].message.contains("SHOP_MISSING"), "{}", warnings[0].message);
    }
}
