//! A run of `flash run`: project, environments, platform and server, from start to stop.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::app::App;
use super::cloud::Cloud;
use super::console::{Console, duration_text};
use super::keep;
use super::startup::{gpu_endpoints, has_gpu};
use super::targets::Targets;
use crate::platform::{Platform, app};
use crate::project::diagnostic::render;
use crate::project::variables::Variables;
use crate::project::{DeclaredEndpoint, Diagnostic, Project, Reader};
use crate::requirements::system::check_system;
use crate::requirements::{EnvironmentState, Environments};
use crate::runpod::backend::LiveBackend;

/// Declared packages of an endpoint, and how far their environment is.
type Prepared = (Vec<String>, Vec<String>, watch::Receiver<EnvironmentState>);

/// All that endpoints are made of.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    files: Vec<(PathBuf, [u8; 32])>,
    requirements: Vec<String>,
    variables: (BTreeMap<String, String>, Vec<String>),
    findings: Vec<Diagnostic>,
}

impl Reading {
    fn new(project: &Project, variables: &Variables) -> Self {
        Self {
            files: project.files.iter().map(|file| (file.path.clone(), file.hash)).collect(),
            requirements: project.requirements.clone(),
            variables: (variables.changed(), variables.removed()),
            findings: project.diagnostics.clone(),
        }
    }
}

/// Reads the project again when files change, and makes platform and routes follow.
pub(super) struct Session {
    reader: Reader,
    app: Arc<App>,
    platform: Arc<Platform>,
    environments: Arc<Environments>,
    console: Arc<Console>,
    variables: Variables,
    prepared: Mutex<HashMap<String, Prepared>>,
    /// What is served: the project with the last good version of what is broken.
    served: Arc<Project>,
    /// What was read last; a save that changes nothing does nothing.
    read: Option<Reading>,
    /// Findings that were printed and are still there.
    told: HashSet<String>,
    has_told_of_gpu: bool,
    told_packages: HashSet<String>,
    cloud: Option<(Arc<LiveBackend>, Targets)>,
    /// Where endpoints run, as it was told last.
    told_targets: Vec<String>,
}

impl Session {
    pub(super) fn new(
        reader: Reader,
        app: Arc<App>,
        platform: Arc<Platform>,
        environments: Arc<Environments>,
        console: Arc<Console>,
        variables: Variables,
        project: Arc<Project>,
    ) -> Self {
        Self {
            reader,
            app,
            platform,
            environments,
            console,
            variables,
            prepared: Mutex::default(),
            served: project,
            read: None,
            told: HashSet::new(),
            has_told_of_gpu: false,
            told_packages: HashSet::new(),
            cloud: None,
            told_targets: Vec::new(),
        }
    }

    /// Has some endpoints on Runpod.
    pub(super) fn with_cloud(self, cloud: Option<(Arc<LiveBackend>, Targets)>) -> Self {
        Self { cloud, ..self }
    }

    /// Serves `project`, or the last good version of its broken parts.
    pub(super) fn load(&mut self, project: &Project) {
        let served = Arc::new(keep::last_good(&self.served, project));
        if let Some((cloud, targets)) = &self.cloud {
            let before = cloud.in_use();
            Cloud::apply(cloud, targets, &served, &self.variables);
            for (name, id) in before.iter().filter(|(name, _)| !cloud.has(name)) {
                self.console.remark(name, &format!("stays on Runpod ({id}) until this run ends"));
            }
        }
        let here = self.on_this_machine(&served);
        let (specs, warnings) =
            app::build(&here, &self.variables, |endpoint| self.prepare(endpoint, &served));
        // Endpoints first: a route must not lead to one that is not there yet.
        self.platform.apply(specs);
        let targets = self.cloud.as_ref().map(|(_, targets)| targets.lines(&served)).unwrap_or_default();
        // The first ones are part of what is printed at the start.
        if self.read.is_some() {
            for line in targets.iter().filter(|line| !self.told_targets.contains(line)) {
                self.console.note(&format!("target  {line}"));
            }
        }
        self.told_targets = targets;
        let problems = keep::errors(project).map(|error| render(error, project, false)).collect();
        let notes = self.app.show(Arc::clone(&served), problems);
        self.served = served;
        self.read = Some(Reading::new(project, &self.variables));
        self.tell(project, &warnings, &notes);
    }

    /// Reads changed files again (absolute paths). Returns at once where nothing in them changed.
    pub(super) fn follow(&mut self, paths: &BTreeSet<PathBuf>) {
        let began = Instant::now();
        let root = self.served.root.clone();
        if paths.iter().any(|path| path.ends_with(".env")) {
            self.variables.reload(&root);
        }
        let is_whole = paths.iter().any(|path| path.ends_with(".gitignore"));
        let changed: Vec<PathBuf> = paths.iter().filter(|path| !path.ends_with(".env")).cloned().collect();
        let project = if is_whole { self.reader.read() } else { self.reader.update(&changed) };
        if self.read == Some(Reading::new(&project, &self.variables)) {
            return;
        }
        let before = self.routes();
        self.load(&project);
        let after = self.routes();
        let broken: HashSet<PathBuf> = keep::errors(&project)
            .filter_map(|error| error.primary.as_ref())
            .map(|label| root.join(&label.span.file))
            .collect();
        let (broken, read): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) =
            paths.iter().cloned().partition(|path| broken.contains(path));
        if !broken.is_empty() {
            let names = relative_names(&root, &broken);
            self.console.warn(&format!("{names}: what worked before is still served"));
        }
        if read.is_empty() {
            return;
        }
        let mut line = format!("reloaded {}", relative_names(&root, &read));
        for (sign, here, there) in [("+", &after, &before), ("-", &before, &after)] {
            for route in here.difference(there) {
                let _ = write!(line, "\n    {sign} {route}");
            }
        }
        self.console.note(&format!("{line}  ({})", duration_text(began.elapsed())));
    }

    /// The project without what runs on Runpod.
    fn on_this_machine(&self, project: &Arc<Project>) -> Arc<Project> {
        let Some((_, targets)) = &self.cloud else { return Arc::clone(project) };
        let mut here = Project::clone(project);
        for file in &mut here.files {
            if file.endpoints.iter().any(|endpoint| targets.is_remote(&endpoint.name)) {
                Arc::make_mut(file).endpoints.retain(|endpoint| !targets.is_remote(&endpoint.name));
            }
        }
        Arc::new(here)
    }

    fn routes(&self) -> BTreeSet<String> {
        self.app.with_table(|table| {
            let text = |route: &super::table::ProjectRoute| {
                format!("{} {}", super::table::method_name(route.method), route.path)
            };
            table.routes.iter().map(text).collect()
        })
    }

    /// Begins to make an endpoint's environment; an unchanged one is not asked for again, unless
    /// it failed.
    fn prepare(&self, endpoint: &DeclaredEndpoint, project: &Project) -> watch::Receiver<EnvironmentState> {
        let dependencies = &endpoint.config.dependencies;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, requirements, state)) = prepared.get(&endpoint.name) {
            let has_failed = matches!(*state.borrow(), EnvironmentState::Failed { .. });
            if known == dependencies && *requirements == project.requirements && !has_failed {
                return state.clone();
            }
        }
        let state = self.environments.prepare(&endpoint.name, dependencies, &project.requirements);
        prepared.insert(
            endpoint.name.clone(),
            (dependencies.clone(), project.requirements.clone(), state.clone()),
        );
        state
    }

    /// Prints what is new: findings, remarks on routes, what this machine lacks.
    fn tell(&mut self, project: &Project, warnings: &[Diagnostic], notes: &[String]) {
        let color = self.console.has_color();
        let found: Vec<String> = project
            .diagnostics
            .iter()
            .chain(warnings)
            .map(|finding| render(finding, project, color))
            .collect();
        for text in &found {
            if !self.told.contains(text) {
                self.console.line(text.trim_end());
                self.console.line("");
            }
        }
        self.told = found.into_iter().collect();
        for note in notes {
            self.console.warn_once(note);
        }
        self.tell_of_gpu();
        self.tell_of_packages();
    }

    fn tell_of_gpu(&mut self) {
        let here = self.on_this_machine(&self.served);
        let names = gpu_endpoints(&here);
        if self.has_told_of_gpu || names.is_empty() || has_gpu() {
            return;
        }
        self.has_told_of_gpu = true;
        self.console
            .warn(&format!("no GPU here: functions run on the CPU ({} would get one)", names.join(", ")));
    }

    /// Asking the package manager takes its time, so it is done beside the server.
    fn tell_of_packages(&mut self) {
        let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
        let here = self.on_this_machine(&self.served);
        for endpoint in here.files.iter().flat_map(|file| &file.endpoints) {
            let names: Vec<String> = endpoint.config.system_dependencies.clone();
            let key = format!("{} {}", endpoint.name, names.join(" "));
            if !names.is_empty() && self.told_packages.insert(key) {
                wanted.push((endpoint.name.clone(), names));
            }
        }
        if wanted.is_empty() {
            return;
        }
        let console = Arc::clone(&self.console);
        let look = move || {
            for (endpoint, names) in wanted {
                for missing in check_system(&names) {
                    console.warn(&format!(
                        "`{endpoint}` needs the system package `{}`, which is not here: {}",
                        missing.name, missing.install
                    ));
                }
            }
        };
        // Without a thread nobody is told, and nothing else is lost.
        let _ = std::thread::Builder::new().name("flash-packages".to_owned()).spawn(look);
    }
}

/// Names of changed files below the root, at most three.
fn relative_names(root: &Path, paths: &BTreeSet<PathBuf>) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned())
        .collect();
    match names.len() {
        0..=3 => names.join(", "),
        count => format!("{} and {} more", names[..3].join(", "), count - 3),
    }
}
