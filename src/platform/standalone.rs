//! `flash platform`: the local Runpod as a server of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::adjustable::{self, AdjustableClock};
use super::app;
use super::balance;
use super::clock::Clock;
use super::error::{StandaloneError, StoreError};
use super::front::{Front, RUNPOD_HOSTS};
use super::leftover;
use super::management::{Management, ManagementOptions};
use super::options::RateLimits;
use super::running::Running;
use super::store::{self, DocumentStore};
use super::{Event, Observer, Platform, PlatformOptions};
use crate::project::variables::Variables;
use crate::project::{Project, Reader};
use crate::requirements::{DepsMode, Environments, HostPython, Reporter};
use crate::server::guard::{Guard, host_name, new_token};
use crate::server::signals::Signals;
use crate::server::{Answer, listen};
use crate::wire::BoxFuture;

/// The account that the platform's own token opens.
pub const ACCOUNT: &str = "local";
/// How long what runs may go on after the first signal.
const GRACE: Duration = Duration::from_secs(10);
/// How long answers may take to reach their clients once the workers are gone.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What `flash platform` is asked for.
#[derive(Debug, Clone)]
pub struct StandaloneOptions {
    /// Host or address to listen on.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Folder that jobs and endpoints are kept in; in memory when `None`.
    pub state: Option<PathBuf>,
    /// Token of the account; made when `None`.
    pub token: Option<String>,
    /// Folder of an app whose endpoints are served.
    pub app: Option<PathBuf>,
    /// Where packages of the app's endpoints come from.
    pub deps: DepsMode,
    /// Further host names that requests may carry.
    pub allowed_hosts: Vec<String>,
    /// Whether clients may ask only as often as on Runpod.
    pub limits_rates: bool,
    /// Most workers at once; cores and memory decide when `None`.
    pub max_workers: Option<usize>,
    /// Whether it ends when its standard input does: with whoever started it.
    pub follows_stdin: bool,
}

/// Where the platform is reached.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// The server.
    pub url: String,
    /// Base of the client API (`RUNPOD_ENDPOINT_BASE_URL`).
    pub api: String,
    /// Address of the GraphQL API.
    pub graphql: String,
    /// Base of the REST API of version 1 (`RUNPOD_REST_API_URL`).
    pub rest: String,
    /// Token of its account.
    pub token: String,
}

/// Serves until a signal ends it; `tell` is called once it is ready.
///
/// # Errors
/// [`StandaloneError`] says why nothing could be served.
pub fn serve(
    options: StandaloneOptions,
    host: HostPython,
    observer: Arc<dyn Observer>,
    reporter: Arc<dyn Reporter>,
    tell: impl FnOnce(&Ready),
) -> Result<(), StandaloneError> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)))
        .thread_name("flash-platform")
        .enable_all()
        .build()
        .map_err(StandaloneError::Runtime)?;
    let result = runtime.block_on(run(options, host, observer, reporter, tell));
    runtime.shutdown_background();
    result
}

async fn run(
    options: StandaloneOptions,
    host: HostPython,
    observer: Arc<dyn Observer>,
    reporter: Arc<dyn Reporter>,
    tell: impl FnOnce(&Ready),
) -> Result<(), StandaloneError> {
    let mut signals = Signals::listen().map_err(StandaloneError::Runtime)?;
    let listeners = listen::bind(&options.host, options.port).await?;
    let state = options.state.as_deref().map(store::open).transpose()?;
    let mut platform_options = PlatformOptions::new(host.clone());
    let environments = Environments::new(host.clone(), DepsMode::default(), Arc::clone(&reporter));
    // Images, which stand for Runpod's, have what they declare in any case.
    let of_app = Environments::new(host.clone(), options.deps, reporter);
    platform_options.environments = Some(Arc::clone(&environments));
    if let Some(state) = &state {
        platform_options.keep_in(state);
    }
    platform_options.max_workers = options.max_workers;
    let token = match options.token.clone().filter(|token| !token.trim().is_empty()) {
        Some(token) => token,
        None => kept_token(platform_options.documents.as_ref()).await?,
    };
    platform_options.access.admit(token.clone(), ACCOUNT.to_owned());
    if options.limits_rates {
        platform_options.rate_limits = RateLimits::Runpod;
    }
    let clock_routes = clock_routes(&mut platform_options);
    let platform = Platform::new(platform_options, Arc::clone(&observer));
    if let Some(folder) = &options.app {
        serve_app(folder, &host, &platform, &of_app)?;
    }
    let url = format!("http://{}:{}", listen::shown_host(&options.host), listeners.port);
    if let Some(state) = &state {
        state.lock.tell_url(&url);
    }
    // Without a folder, uploads and volumes go with the process.
    let scratch = tempfile::tempdir().map_err(StandaloneError::Scratch)?;
    let management = Management::open(
        Arc::clone(&platform),
        ManagementOptions {
            environments: Arc::clone(&environments),
            folder: options.state.clone().unwrap_or_else(|| scratch.path().to_path_buf()),
            url: url.clone(),
        },
    )?;
    let gate = Arc::new(Gate {
        guard: Guard {
            allowed_hosts: options.allowed_hosts.iter().map(|name| host_name(name)).collect(),
            served_hosts: &RUNPOD_HOSTS,
            token: None,
        },
        platform: Arc::clone(&platform),
        router: platform.router().merge(leftover::taken_in(
            management.router().merge(clock_routes),
            Arc::clone(&platform.shared.options.clock),
        )),
    });
    let (stop, stopping) = watch::channel(false);
    let mut running = Running::here(url.clone(), token.clone());
    // The files of its certificates go with it.
    let mut _files = None;
    let tls = match Front::open(options.state.as_deref(), &host, &listeners, options.port).await {
        Ok(front) => {
            front.describe(&mut running);
            let config = front.config();
            _files = front.serve(stopping.clone());
            Some(config)
        }
        Err(error) => {
            note(&observer, "load-balanced endpoints cannot be called by https", &error);
            None
        }
    };
    let serving = tokio::spawn(listen::serve_both(listeners, gate, tls, stopping));
    platform.listens_at(&url);
    // Its file goes when this returns.
    let announced = running.announce();
    if let Err(error) = &announced {
        note(&observer, "`flash platform env` will not find this platform", error);
    }
    tell(&Ready {
        api: format!("{url}/v2"),
        graphql: format!("{url}/graphql"),
        rest: format!("{url}/v1"),
        url,
        token,
    });

    tokio::select! {
        () = signals.next() => {}
        () = stdin_ended(options.follows_stdin) => {}
    }
    environments.close();
    of_app.close();
    let _ = stop.send(true);
    let drained = async {
        platform.shutdown(GRACE).await;
        // A client that does not read its answer must not keep the server.
        let _ = tokio::time::timeout(LAST_BYTES, serving).await;
    };
    tokio::select! {
        () = drained => {}
        () = signals.next() => platform.shutdown(Duration::ZERO).await,
    }
    if let Some(state) = &state {
        // With a full disk not all of it is stored; the next start goes by what is.
        state.store.close();
    }
    Ok(())
}

/// Takes a clock that can be moved where the environment asks for it, and says how it is moved.
fn clock_routes(options: &mut PlatformOptions) -> Router {
    if std::env::var_os(adjustable::VARIABLE).is_none_or(|value| value != adjustable::MANUAL) {
        return Router::new();
    }
    let clock = Arc::new(AdjustableClock::new());
    options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    adjustable::router(clock, Arc::clone(&options.access), ACCOUNT.to_owned())
}

/// Says what does not work, and why, where it is no reason to end.
fn note(observer: &Arc<dyn Observer>, what: &str, error: &dyn std::error::Error) {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text.extend([" (", &source.to_string(), ")"]);
        cause = source.source();
    }
    observer.event(Event::Note { text });
}

/// The token that was made when the state was, so that clients go on after a restart; a new one
/// where nothing is kept.
async fn kept_token(documents: &dyn DocumentStore) -> Result<String, StoreError> {
    const KIND: &str = "token";
    if let Some((token, _)) = documents.all(KIND)?.into_iter().next() {
        return Ok(token);
    }
    let token = new_token();
    documents.put(KIND, &token, "{}".to_owned()).await?;
    Ok(token)
}

/// Completes when standard input ends; never where that does not matter.
async fn stdin_ended(matters: bool) {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let reading = || {
        // Where it cannot be read it has ended, too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    };
    // A thread of its own: the runtime would wait for one of its threads at the end.
    if matters && thread::Builder::new().name("flash-stdin".to_owned()).spawn(reading).is_ok() {
        let _ = end.await;
        return;
    }
    std::future::pending::<()>().await;
}

/// Serves the endpoints of the app in `folder`, as they are now.
fn serve_app(
    folder: &std::path::Path,
    host: &HostPython,
    platform: &Platform,
    environments: &Arc<Environments>,
) -> Result<(), StandaloneError> {
    let unreadable = |source| StandaloneError::App { path: folder.to_path_buf(), source };
    let root = folder.canonicalize().map_err(unreadable)?;
    let project: Project = Reader::new(root.clone(), host.executable.clone()).read();
    let problems = app::problems(&project);
    if !problems.is_empty() {
        return Err(StandaloneError::BrokenApp { path: root, problems });
    }
    if let Some(name) = root.file_name() {
        platform.set_app_name(name.to_string_lossy().into_owned());
    }
    let variables = Variables::read(&root);
    let (mut specs, _) = app::build(&project, &variables, |endpoint| {
        environments.prepare(&endpoint.name, &endpoint.config.dependencies, &project.requirements)
    });
    for spec in &mut specs {
        ACCOUNT.clone_into(&mut spec.account);
    }
    platform.apply(specs);
    Ok(())
}

/// Checks who calls and hands requests on.
struct Gate {
    guard: Guard,
    platform: Arc<Platform>,
    router: Router,
}

impl Answer for Gate {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if let Err(refusal) = self.guard.check(&parts) {
                return *refusal;
            }
            let route = balance::route(&parts);
            let request = Request::from_parts(parts, Body::new(body));
            if let Some(route) = route {
                return balance::serve(&self.platform, route, request, peer).await;
            }
            match TowerToHyperService::new(self.router.clone()).call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}
