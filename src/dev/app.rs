//! Answers requests: project routes first, then the server's own, then the platform's `/v2`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::json;

use super::body::RequestBody;
use super::console::{Console, RequestLog};
use super::describe::Descriptions;
use super::table::{Found, Table, Target, method_name};
use super::{answer, cors, openapi, pages, queue, v2};
use crate::endpoint::EndpointKind;
use crate::platform::balance::frames;
use crate::project::Project;
use crate::runpod::backend::LiveBackend;
use crate::server::Answer;
use crate::server::guard::{Guard, request_host};
use crate::wire::job::error_text;
use crate::wire::{Backend, BoxFuture};

/// Largest body taken, in bytes; more would be held in memory whole.
const MAX_BODY: usize = 256 << 20;

/// The served project at one moment.
#[derive(Debug)]
struct Snapshot {
    table: Table,
    problems: Vec<String>,
}

/// Everything that a request needs.
pub(super) struct App {
    backend: Arc<dyn Backend>,
    platform: Router,
    descriptions: Descriptions,
    guard: Guard,
    console: Arc<Console>,
    snapshot: ArcSwap<Snapshot>,
    in_flight: Arc<AtomicUsize>,
    /// Endpoints on Runpod, where there are some.
    cloud: Option<Arc<LiveBackend>>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("App").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

impl Answer for App {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move { self.respond(request, peer).await })
    }
}

impl App {
    /// An app without a project; [`App::show`] gives it one.
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        platform: Router,
        descriptions: Descriptions,
        guard: Guard,
        console: Arc<Console>,
        project: Arc<Project>,
    ) -> Self {
        let snapshot = ArcSwap::from_pointee(Snapshot { table: Table::new(project), problems: Vec::new() });
        Self {
            backend,
            platform,
            descriptions,
            guard,
            console,
            snapshot,
            in_flight: Arc::default(),
            cloud: None,
        }
    }

    /// Has some endpoints on Runpod.
    pub(super) fn with_cloud(self, cloud: Option<Arc<LiveBackend>>) -> Self {
        Self { cloud, ..self }
    }

    /// Serves another state of the project from the next request on. `problems` are its located
    /// errors as text. Returns what there is to say about the routes.
    pub(super) fn show(&self, project: Arc<Project>, problems: Vec<String>) -> Vec<String> {
        let table = Table::new(project);
        let notes = table.notes.clone();
        self.descriptions.forget();
        self.snapshot.store(Arc::new(Snapshot { table, problems }));
        notes
    }

    /// Runs `read` on the current table.
    pub(super) fn with_table<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        read(&self.snapshot.load().table)
    }

    /// How many requests are being answered now.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Answers one request.
    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body);
        let rest = body.clone();
        // Such a client has sent no body yet, and need not.
        let is_held_back = parts.headers.contains_key(header::EXPECT);
        let path = decoded_path(&parts);
        let mut log = RequestLog::new(Arc::clone(&self.console), &self.in_flight, &parts.method, &path);
        let origin = cors::origin(&parts.headers).filter(|_| cors::is_open(&path));
        let is_from_allowed = origin.is_some() && self.guard.check_source(&parts).is_ok();
        let mut response = match self.guard.check(&parts) {
            // Whether it is alive may be asked by anything.
            Err(_) if path == "/ping" && parts.method == http::Method::GET => Self::ping(),
            _ if origin.is_some() && cors::is_preflight(&parts) => match self.guard.check_source(&parts) {
                Ok(()) => cors::allow_all(&parts),
                Err(refusal) => *refusal,
            },
            Err(refusal) => *refusal,
            Ok(()) => {
                let cookie = self.guard.cookie(&parts);
                let mut response = self.dispatch(parts, body, &path, peer, &mut log).await;
                if let Some(cookie) = cookie {
                    response.headers_mut().append(header::SET_COOKIE, cookie);
                }
                response
            }
        };
        if let Some(origin) = origin.filter(|_| is_from_allowed) {
            cors::let_read(&mut response, origin);
        }
        log.status = Some(response.status().as_u16());
        if !rest.is_end_stream() && !is_held_back {
            rest.drain().await;
        }
        finish(response, log)
    }

    async fn dispatch(
        &self,
        parts: Parts,
        body: RequestBody,
        path: &str,
        peer: SocketAddr,
        log: &mut RequestLog,
    ) -> Response<Body> {
        let snapshot = self.snapshot.load_full();
        if let Some(label) = endpoint_label(&parts) {
            return self.by_host(&snapshot.table, &label, parts, body, path, peer, log).await;
        }
        let found = snapshot.table.find(&parts.method, path);
        if let Found::Route(route) = found {
            let body = match read_body(body).await {
                Ok(body) => body,
                Err(refusal) => return *refusal,
            };
            return match &route.target {
                Target::Queue(target) => {
                    let (response, job) = queue::run(self.backend.as_ref(), target, &body).await;
                    log.job = job;
                    response
                }
                Target::Balanced(target) => {
                    self.forward(&target.endpoint, &target.prefix, &parts, body, peer, log).await
                }
            };
        }
        if let Some(response) = self.own(&snapshot, &parts, path, log).await {
            return response;
        }
        if let Some((name, rest)) = v2::parse(path)
            && self.cloud.as_ref().is_some_and(|cloud| cloud.has(name))
            && let Some(endpoint) = snapshot.table.declared(name)
        {
            let body = match read_body(body).await {
                Ok(body) => body,
                Err(refusal) => return *refusal,
            };
            return v2::answer(self.backend.as_ref(), endpoint, rest, &parts, body).await;
        }
        if path.starts_with("/v2/") {
            return self.to_platform(Request::from_parts(parts, Body::new(body))).await;
        }
        match found {
            Found::OtherMethods(methods) => {
                let methods: Vec<&str> = methods.into_iter().map(method_name).collect();
                answer::method_not_allowed(&methods)
            }
            Found::Slash(other) => redirect_to(&other, parts.uri.query(), StatusCode::TEMPORARY_REDIRECT),
            _ => missing(&snapshot, path),
        }
    }

    /// A request whose host is `{endpoint}.localhost`: the endpoint's own root.
    #[expect(clippy::too_many_arguments, reason = "all of one request's parts")]
    async fn by_host(
        &self,
        table: &Table,
        label: &str,
        parts: Parts,
        body: RequestBody,
        path: &str,
        peer: SocketAddr,
        log: &mut RequestLog,
    ) -> Response<Body> {
        let name = match table.endpoint_of_host(label) {
            Some((name, EndpointKind::LoadBalanced)) => name,
            Some((name, _)) => {
                let message = format!("`{name}` is queue-based: call it at /v2/{name}/runsync on localhost");
                return answer::detail(StatusCode::NOT_FOUND, message);
            }
            None => {
                return answer::detail(StatusCode::NOT_FOUND, format!("there is no endpoint `{label}` here"));
            }
        };
        let has_own_ping = table.declared(name).is_some_and(|endpoint| {
            endpoint
                .callables
                .iter()
                .any(|callable| matches!(&callable.route, Some((_, path)) if path == "/ping"))
        });
        if path == "/ping" && !has_own_ping {
            return Self::ping();
        }
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(refusal) => return *refusal,
        };
        self.forward(name, "", &parts, body, peer, log).await
    }

    async fn forward(
        &self,
        endpoint: &str,
        prefix: &str,
        parts: &Parts,
        body: Bytes,
        peer: SocketAddr,
        log: &mut RequestLog,
    ) -> Response<Body> {
        match frames::forward(self.backend.as_ref(), endpoint, prefix, parts, body, peer.to_string()).await {
            Ok(response) => response,
            Err(report) => {
                log.job.failed = Some(error_text(&report));
                answer::failure(&report)
            }
        }
    }

    /// The routes that every project has; `None` when this is not one of them.
    async fn own(
        &self,
        snapshot: &Snapshot,
        parts: &Parts,
        path: &str,
        log: &mut RequestLog,
    ) -> Option<Response<Body>> {
        let is_read = matches!(parts.method, http::Method::GET | http::Method::HEAD);
        let is_own = matches!(path, "/" | "/ping" | "/docs" | "/redoc" | "/openapi.json" | "/favicon.ico")
            || path.starts_with("/docs/");
        if !is_own {
            return None;
        }
        if !is_read {
            return Some(answer::method_not_allowed(&["GET"]));
        }
        log.is_shown = !path.starts_with("/docs/") && path != "/favicon.ico" && path != "/ping";
        let project = &snapshot.table.project;
        Some(match path {
            "/" => answer::json(StatusCode::OK, &json!({ "message": "Flash Dev Server", "docs": "/docs" })),
            "/ping" => Self::ping(),
            "/docs" => pages::docs(&project.app, &snapshot.problems),
            "/redoc" => redirect_to("/docs", None, StatusCode::TEMPORARY_REDIRECT),
            "/openapi.json" => {
                self.descriptions.complete(&snapshot.table).await;
                let source = self.descriptions.source.as_ref();
                let document = openapi::document(&snapshot.table, source, &snapshot.problems);
                answer::json(StatusCode::OK, &document)
            }
            "/favicon.ico" => answer::text(StatusCode::NO_CONTENT, "image/x-icon", Body::empty()),
            _ => return pages::asset(path, &parts.headers),
        })
    }

    fn ping() -> Response<Body> {
        answer::json(StatusCode::OK, &json!({ "status": "healthy" }))
    }

    async fn to_platform(&self, request: Request<Body>) -> Response<Body> {
        match TowerToHyperService::new(self.platform.clone()).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Percent-decodes a path, as servers hand it to Starlette.
fn decoded_path(parts: &Parts) -> String {
    let raw = parts.uri.path();
    String::from_utf8_lossy(&urlencoding::decode_binary(raw.as_bytes())).into_owned()
}

/// The endpoint that a host such as `shop.localhost` names, or `shop.api.localhost`, which clients make of
/// this machine as they make `shop.api.runpod.ai` of Runpod.
fn endpoint_label(parts: &Parts) -> Option<String> {
    let host = request_host(parts)?;
    let label = host.strip_suffix(".localhost")?;
    let label = label.strip_suffix(".api").unwrap_or(label);
    (!label.is_empty()).then(|| label.to_owned())
}

async fn read_body(body: RequestBody) -> Result<Bytes, Box<Response<Body>>> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body is larger than {} MiB", MAX_BODY >> 20);
            Err(Box::new(answer::detail(StatusCode::PAYLOAD_TOO_LARGE, message)))
        }
        Err(error) => Err(Box::new(answer::detail(
            StatusCode::BAD_REQUEST,
            format!("the body could not be read: {error}"),
        ))),
    }
}

/// 404; where the path belongs to a file that could not be read, the reason instead.
fn missing(snapshot: &Snapshot, path: &str) -> Response<Body> {
    let Some(file) = snapshot.table.broken_file(path) else { return answer::not_found() };
    let marker = file.to_string_lossy();
    // Located errors have `--> file:line:column`.
    let located = format!("> {marker}:");
    let problems: Vec<&str> =
        snapshot.problems.iter().map(String::as_str).filter(|problem| problem.contains(&located)).collect();
    let message = format!("`{marker}` could not be read:\n\n{}", problems.join("\n\n"));
    answer::detail(StatusCode::SERVICE_UNAVAILABLE, message)
}

fn redirect_to(path: &str, query: Option<&str>, status: StatusCode) -> Response<Body> {
    let path: Vec<String> =
        path.split('/').map(|segment| urlencoding::encode(segment).into_owned()).collect();
    let mut location = path.join("/");
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Keeps the log with a body that streams, so that its line comes at the end of the stream.
fn finish(response: Response<Body>, log: RequestLog) -> Response<Body> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let pieces = body.into_data_stream();
        Body::from_stream(stream::unfold((pieces, log), |(mut pieces, mut log)| async move {
            let piece: Result<Bytes, axum::Error> = pieces.next().await?;
            if let Err(error) = &piece {
                // The status is sent already; the client sees a connection that breaks.
                log.job.failed = Some(error.to_string());
            }
            Some((piece.map_err(io::Error::other), (pieces, log)))
        }))
    })
}
