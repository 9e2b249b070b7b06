//! [`serve`]: from the command line to the last worker's end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::timeout;

use super::app::App;
use super::cloud::{Cloud, list_leftovers};
use super::console::{Console, Terminal};
use super::describe::{Describe, Descriptions};
use super::error::DevError;
use super::observer::Teller;
use super::options::DevOptions;
use super::router::Router;
use super::session::Session;
use super::startup;
use super::targets::Targets;
use super::watch::{Mode, Watch, worth_following};
use crate::endpoint::EndpointKind;
use crate::endpoint::target::parse_target;
use crate::platform::store;
use crate::platform::{Platform, PlatformOptions};
use crate::project::variables::Variables;
use crate::project::{Project, Reader, Severity};
use crate::requirements::{Environments, HostPython};
use crate::runpod::live::{Store, Tracked};
use crate::runpod::{ErrorKind, RunpodError, credentials};
use crate::server::guard::{Guard, host_name, new_token};
use crate::server::listen;
use crate::server::signals::Signals;
use crate::wire::Backend;

/// How long what runs may go on after the first Ctrl-C.
const GRACE: Duration = Duration::from_secs(10);
/// How long a run that needs nothing of Runpod waits for it.
const UNHURRIED: Duration = Duration::from_secs(5);
/// How long answers may take to reach their clients once the workers are gone.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Serves the project in the current folder until a signal ends it.
///
/// # Errors
/// [`DevError`] says why nothing could be served; a run that was ended by a signal is no error.
pub fn serve(options: DevOptions, host: HostPython, terminal: Box<dyn Terminal>) -> Result<(), DevError> {
    parse_target(options.target.as_deref())?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)))
        .thread_name("flash-server")
        .enable_all()
        .build()
        .map_err(DevError::Runtime)?;
    let result = runtime.block_on(run(options, host, Arc::new(Console::new(terminal))));
    // What is left (a reader of a pipe, a slow client) must not keep the process.
    runtime.shutdown_background();
    result
}

async fn run(options: DevOptions, host: HostPython, console: Arc<Console>) -> Result<(), DevError> {
    let mut signals = Signals::listen().map_err(DevError::Runtime)?;
    let root = current_folder()?;
    let listeners = listen::bind(&options.host, options.port).await?;
    let teller = Arc::new(Teller::new(Arc::clone(&console)));
    let mut platform_options = PlatformOptions::new(host.clone());
    platform_options.warm_spare = true;
    let state = options.state.as_deref().map(store::open).transpose()?;
    if let Some(state) = &state {
        platform_options.keep_in(state);
    }
    let platform = Platform::new(platform_options, Arc::clone(&teller) as _);
    // Before the first reading, so that no save falls between the two.
    let follow = options.reload.then(|| Follow::begin(&root, options.poll));
    let mut reader = Reader::new(root.clone(), host.executable.clone());
    let project = Arc::new(reader.read());
    let decided = tokio::select! {
        decided = decide(&options, &root, &project, &console) => decided,
        // Somebody who is asked, or waits for a network, may not want to any more.
        () = signals.next() => {
            platform.shutdown(Duration::ZERO).await;
            console.line("");
            console.note("stopped");
            return Ok(());
        }
    };
    let Decided { targets, cloud, empty } = match decided {
        Ok(decided) => decided,
        Err(error) => {
            platform.shutdown(Duration::ZERO).await;
            if matches!(error, DevError::NoEndpoints) {
                console.line(startup::NO_ENDPOINTS);
            }
            return Err(error);
        }
    };
    let live = cloud.as_ref().map(|cloud| Arc::clone(&cloud.backend));

    let token = listeners
        .is_public()
        .then(|| options.token.filter(|token| !token.trim().is_empty()).unwrap_or_else(new_token));
    let guard = Guard {
        allowed_hosts: allowed(&options.allowed_hosts, &options.host),
        served_hosts: &[],
        token: token.clone(),
    };
    let router: Arc<dyn Backend> = Arc::new(Router { here: Arc::clone(&platform) as _, cloud: live.clone() });
    platform.send_calls_through(Arc::downgrade(&router));
    let app = App::new(
        router,
        platform.router(),
        Descriptions::new(Arc::clone(&platform) as Arc<dyn Describe>, teller.changes.subscribe()),
        guard,
        Arc::clone(&console),
        Arc::clone(&empty),
    );
    let app = Arc::new(app.with_cloud(live.clone()));
    let environments = Environments::new(host, options.deps, teller as _);
    let variables = Variables::read(&root);
    let mut session = Session::new(
        reader,
        Arc::clone(&app),
        Arc::clone(&platform),
        Arc::clone(&environments),
        Arc::clone(&console),
        variables,
        empty,
    )
    .with_cloud(live.map(|live| (live, targets.clone())));

    let port = listeners.port;
    if options.port != 0 && port != options.port {
        console.note(&format!("port {} is in use, taking {port}", options.port));
    }
    let address = format!("http://{}:{port}", listen::shown_host(&options.host));
    if let Some(state) = &state {
        state.lock.tell_url(&address);
    }
    let (stop, stopping) = watch::channel(false);
    session.load(&project);
    let serving = tokio::spawn(listen::serve(listeners, Arc::clone(&app) as _, stopping));
    let lines = targets.lines(&project);
    app.with_table(|table| startup::print(&console, table, &address, &lines, token.as_deref()));
    if let Some(cloud) = cloud.as_ref().filter(|_| targets.has_remote()) {
        cloud.announce(options.max_cost);
    } else if options.max_cost.is_some() {
        console.note("--max-cost: nothing of this run is on Runpod");
    }
    if options.start_workers {
        let (there, here) = startup::served(&project).partition(|name| targets.is_remote(name));
        start_workers(&console, &platform, here, cloud.as_ref(), there);
    }
    let follow = follow.map(|follow| follow.hand_to(session, &console));

    signals.next().await;
    drop(follow);
    environments.close();
    let running = app.in_flight();
    if running > 0 {
        let what = if running == 1 { "request".to_owned() } else { format!("{running} requests") };
        console.line("");
        console.note(&format!(
            "stopping: the running {what} may finish within {} s; ctrl+c again stops at once",
            GRACE.as_secs()
        ));
    }
    // Nobody listens where the server has already ended.
    let _ = stop.send(true);
    let mut serving = serving;
    let drained = async {
        if let Some(cloud) = &cloud {
            // What runs on Runpod may finish as well.
            let _ = timeout(GRACE, &mut serving).await;
            cloud.end("").await;
        }
        platform.shutdown(GRACE).await;
        // A client that does not read its answer must not keep the server.
        if !serving.is_finished() {
            let _ = timeout(LAST_BYTES, serving).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = signals.next() => {
            platform.shutdown(Duration::ZERO).await;
            if let Some(cloud) = &cloud {
                tokio::select! {
                    () = cloud.end(" (ctrl+c once more leaves them there)") => {}
                    () = signals.next() => {}
                }
            }
        }
    }
    if let Some(state) = &state {
        state.store.close();
    }
    console.note("stopped");
    cloud.map_or(Ok(()), |cloud| cloud.check_ended())
}

/// What is settled before anything is served.
struct Decided {
    targets: Targets,
    cloud: Option<Cloud>,
    empty: Arc<Project>,
}

/// Decides where endpoints run, reaches Runpod where that is needed, and sees to what a killed run
/// left there.
async fn decide(
    options: &DevOptions,
    root: &Path,
    project: &Project,
    console: &Arc<Console>,
) -> Result<Decided, DevError> {
    let store = Store::new(root);
    let has_key = credentials::find_key().is_some();
    let is_served = has_something(project, options.reload);
    let targets = if is_served {
        Targets::decide(&options.asked, options.target.as_deref(), has_key, &store, console).await?
    } else {
        Targets::here()
    };
    targets.check(project)?;
    // What a killed run left may cost money, wherever this one runs its functions.
    let left: Vec<Tracked> = match store.load() {
        Ok(state) => state.endpoints.into_iter().filter(Tracked::is_left_behind).collect(),
        Err(error) if targets.has_remote() || options.clean => return Err(error.into()),
        Err(error) => {
            console.warn(&error.to_string());
            Vec::new()
        }
    };
    let empty = Arc::new(Project { files: Vec::new(), ..Project::clone(project) });
    let mut cloud = None;
    if targets.has_remote() || (has_key && (options.clean || !left.is_empty())) {
        let start = Cloud::start(root, options.max_cost, console, &empty);
        let started = if targets.has_remote() || options.clean {
            start.await
        } else {
            // Who works here alone does not wait for a network that is not there.
            timeout(UNHURRIED, start).await.unwrap_or_else(|_| Err(silent()))
        };
        match started {
            Ok(started) => cloud = Some(started),
            Err(error) if targets.has_remote() => return Err(or_local(error).into()),
            Err(error) => {
                if !left.is_empty() {
                    list_leftovers(console, &left);
                }
                console.warn(&format!("Runpod cannot be asked to remove anything: {error}"));
            }
        }
    } else if !left.is_empty() {
        list_leftovers(console, &left);
        console.note("without an API key they cannot be removed: `flash login`, then `flash run --clean`");
    }
    if let Some(cloud) = &cloud {
        cloud.offer_leftovers(options.clean).await?;
    }
    if is_served { Ok(Decided { targets, cloud, empty }) } else { Err(DevError::NoEndpoints) }
}

fn silent() -> RunpodError {
    let text = format!("it did not answer within {} s", UNHURRIED.as_secs());
    RunpodError::new(ErrorKind::Connection, text)
}

/// Says as well what does without Runpod.
fn or_local(error: RunpodError) -> RunpodError {
    let ways = "`flash run --local` runs all functions on this machine";
    let hint = error.hint.as_ref().map_or_else(|| ways.to_owned(), |hint| format!("{hint}; {ways}"));
    error.with_hint(hint)
}

/// Whether there is anything to serve now, or after a file is mended.
fn has_something(project: &Project, reload: bool) -> bool {
    let serves = project
        .files
        .iter()
        .flat_map(|file| &file.endpoints)
        .any(|endpoint| endpoint.kind != EndpointKind::Client);
    let is_broken = project.diagnostics.iter().any(|finding| finding.severity == Severity::Error);
    serves || (reload && is_broken)
}

fn current_folder() -> Result<PathBuf, DevError> {
    let folder = std::env::current_dir().and_then(|folder| folder.canonicalize());
    folder.map_err(|source| DevError::Root { path: ".".into(), source })
}

/// Names that requests may carry: the listed ones, and the one that was listened on by name.
fn allowed(listed: &[String], host: &str) -> Vec<String> {
    let names = listed.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).map(host_or_domain);
    names.chain([host_name(host)]).collect()
}

/// `.example.com` stands for a domain with all below it.
fn host_or_domain(name: &str) -> String {
    if name.starts_with('.') { name.to_ascii_lowercase() } else { host_name(name) }
}

fn start_workers(
    console: &Console,
    platform: &Platform,
    here: Vec<String>,
    cloud: Option<&Cloud>,
    there: Vec<String>,
) {
    if !here.is_empty() {
        console.note("nothing to provision on this machine; starting workers now");
    }
    for name in here {
        platform.warm(&name);
    }
    if let Some(cloud) = cloud {
        cloud.make_all(there);
    }
}

/// The project's files being followed, and what reads those that changed.
struct Follow {
    watch: Option<Watch>,
    changes: Option<mpsc::Receiver<BTreeSet<PathBuf>>>,
    reading: Option<thread::JoinHandle<()>>,
}

impl Follow {
    fn begin(root: &Path, poll: bool) -> Self {
        let (sender, changes) = mpsc::channel();
        let watch = Watch::start(root.to_owned(), poll, worth_following(root), move |paths| {
            // Nobody receives once the server stops.
            let _ = sender.send(paths);
        });
        Self { watch: Some(watch), changes: Some(changes), reading: None }
    }

    fn hand_to(mut self, mut session: Session, console: &Console) -> Self {
        match self.watch.as_ref().map(|watch| watch.mode) {
            Some(Mode::Polled) => {
                console.note("changes are found by comparing files: the system does not notify of them here");
            }
            Some(Mode::Both) => {
                console.note("a network file system: files are compared as well, changes may take a moment");
            }
            Some(Mode::Notified | Mode::PolledAsAsked) | None => {}
        }
        self.reading = self.changes.take().and_then(|changes| {
            let follow = move || changes.iter().for_each(|paths| session.follow(&paths));
            thread::Builder::new().name("flash-reload".to_owned()).spawn(follow).ok()
        });
        self
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // The watch first: it holds the sending end that `reading` waits for.
        drop(self.watch.take());
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}
