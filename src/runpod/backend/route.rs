//! Requests for routes of load-balanced endpoints: live workers take `/execute` alone, so the whole
//! request is a shipped function's argument, and its answer what that returns.
//!
//! On the worker the routes are FastAPI's, by the rules of this machine's own workers, which travel
//! with the call. What `/execute` cannot carry: it answers once, so a streamed answer comes whole.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer;
use crate::endpoint::pattern::Pattern;
use crate::project::DeclaredEndpoint;
use crate::project::model::in_declared_order;
use crate::runpod::balanced::{BalancedRequest, HttpAnswer};
use crate::runpod::client::Client;
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::EndpointRef;
use crate::wire::backend::HttpReply;
use crate::wire::message::{HttpHead, HttpStartHead};
use crate::wire::payload::Payload;

/// What answers a request on the worker, as modules of one package.
pub(super) const MODULES: [(&str, &str); 9] = [
    ("_flash_http/__init__.py", ""),
    ("_flash_http/worker/__init__.py", ""),
    ("_flash_http/worker/bodies.py", include_str!("../../../python/runpod_flash/worker/bodies.py")),
    ("_flash_http/worker/encoding.py", include_str!("../../../python/runpod_flash/worker/encoding.py")),
    ("_flash_http/worker/functions.py", include_str!("../../../python/runpod_flash/worker/functions.py")),
    ("_flash_http/worker/report.py", include_str!("../../../python/runpod_flash/worker/report.py")),
    ("_flash_http/worker/routes.py", include_str!("../../../python/runpod_flash/worker/routes.py")),
    ("_flash_http/worker/shipped.py", include_str!("../../../python/runpod_flash/worker/shipped.py")),
    ("_flash_http/worker/validation.py", include_str!("../../../python/runpod_flash/worker/validation.py")),
];

/// Returns code whose function `_flash_http_call` takes a request's head as JSON text and its body,
/// and gives the answer as bytes.
pub(super) fn adapter(name: &str, method: &str, path: &str) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    format!(
        "async def _flash_http_call(head, body):\n    \
             from _flash_http.worker.shipped import answer\n    \
             return await answer({}, {}, _flash_http_target, head, body)\n\
         _flash_http_target = {name}\n",
        quoted(method),
        quoted(path)
    )
}

/// The route that a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Name of its function.
    pub(super) callable: String,
    /// Method.
    pub(super) method: &'static str,
    /// Path in FastAPI's syntax.
    pub(super) path: String,
}

/// Finds the route for a request as Starlette does; its refusal otherwise.
pub(super) fn resolve(endpoint: &DeclaredEndpoint, head: &HttpHead) -> Result<Found, HttpReply> {
    let path = urlencoding::decode(&head.path).map_or_else(|_| head.path.clone(), Cow::into_owned);
    let fits = |path: &str| {
        let routes = in_declared_order(&endpoint.callables).into_iter();
        let routes = routes.filter_map(|(_, callable)| {
            let (method, pattern) = callable.route.as_ref()?;
            Pattern::new(pattern).matches(path).then(|| Found {
                callable: callable.name.clone(),
                method: method.as_str(),
                path: pattern.clone(),
            })
        });
        routes.collect::<Vec<_>>()
    };
    let fitting = fits(&path);
    let allowed = fitting.first().map(|route| route.method);
    if let Some(route) = fitting.into_iter().find(|route| route.method == head.method) {
        return Ok(route);
    }
    if let Some(allowed) = allowed {
        return Err(refusal(405, "Method Not Allowed", &[("allow", allowed)]));
    }
    let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), ToOwned::to_owned);
    if path.len() > 1 && !fits(&other).is_empty() {
        let raw = head.path.strip_suffix('/').map_or_else(|| format!("{}/", head.path), ToOwned::to_owned);
        let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
        let host = head.headers.iter().find(|(name, _)| name == "host");
        let host = host.map(|(_, host)| format!("http://{}", String::from_utf8_lossy(host)));
        let location = format!("{}{}{raw}{query}", host.unwrap_or_default(), head.root_path);
        return Err(reply(307, &[("location".to_owned(), location.into())], Bytes::new(), ""));
    }
    Err(refusal(404, "Not Found", &[]))
}

/// JSON of a request's head, as the shipped code reads it: values of headers as Latin-1.
pub(super) fn head_text(head: &HttpHead) -> String {
    let latin = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let headers: Vec<(&str, String)> =
        head.headers.iter().map(|(name, value)| (name.as_str(), latin(value))).collect();
    json!({
        "method": head.method,
        "path": head.path,
        "query": head.query,
        "headers": headers,
        "root_path": head.root_path,
        "client": head.client,
    })
    .to_string()
}

/// Sends a call to `/execute`.
pub(super) async fn execute(
    client: &Client,
    endpoint: EndpointRef,
    body: Payload,
) -> Result<HttpAnswer, RunpodError> {
    let request = BalancedRequest {
        endpoint,
        method: "POST".to_owned(),
        path: "/execute".to_owned(),
        query: Vec::new(),
        headers: [("Content-Type".to_owned(), "application/json".to_owned())].into(),
        body,
        timeout: None,
    };
    let answer = client.request(&request).await?;
    answer.check()?;
    Ok(answer)
}

/// Reads the answer of the shipped code out of that of `/execute`.
pub(super) fn answered(sent: &HttpAnswer) -> Result<HttpReply, RunpodError> {
    #[derive(Deserialize)]
    struct Head {
        status: u16,
        headers: Vec<(String, String)>,
    }
    let wrong = |why: String| {
        RunpodError::new(ErrorKind::Malformed, format!("the worker answered what is no HTTP answer: {why}"))
    };
    let pickled = answer::decoded(&answer::response(&sent.body)?)?;
    let whole: ByteBuf = serde_pickle::from_slice(&pickled, serde_pickle::DeOptions::new())
        .map_err(|error| wrong(error.to_string()))?;
    let mut whole = Bytes::from(whole.into_vec());
    let length = first(&mut whole, 4).and_then(|length| length.as_ref().try_into().ok());
    let length = length.map(u32::from_be_bytes).and_then(|length| usize::try_from(length).ok());
    let head = length.and_then(|length| first(&mut whole, length));
    let head = head.ok_or_else(|| wrong("it is too short".to_owned()))?;
    let head: Head = serde_json::from_slice(&head).map_err(|error| wrong(error.to_string()))?;
    let bytes = |text: &str| text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect();
    let headers: Vec<(String, Vec<u8>)> =
        head.headers.iter().map(|(name, value)| (name.clone(), bytes(value))).collect();
    Ok(reply(head.status, &headers, whole, sent.header("x-runpod-worker-id").unwrap_or_default()))
}

/// An answer of this server's own, in FastAPI's shape.
pub(super) fn refusal(status: u16, text: &str, headers: &[(&str, &str)]) -> HttpReply {
    let body: Bytes = json!({ "detail": text }).to_string().into();
    let mut all: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    all.push(("content-type".to_owned(), b"application/json".to_vec()));
    all.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    reply(status, &all, body, "")
}

fn reply(status: u16, headers: &[(String, Vec<u8>)], body: Bytes, worker: &str) -> HttpReply {
    let (sender, receiver) = mpsc::channel(1);
    if !body.is_empty() {
        // There is room for it.
        let _ = sender.try_send(Ok(body));
    }
    let mut headers: Vec<(ByteBuf, ByteBuf)> = headers
        .iter()
        .map(|(name, value)| (ByteBuf::from(name.as_bytes()), ByteBuf::from(value.clone())))
        .collect();
    if !worker.is_empty() {
        headers.push((ByteBuf::from("x-runpod-worker-id"), ByteBuf::from(worker)));
    }
    HttpReply { start: HttpStartHead { status, headers }, body: receiver, worker: worker.to_owned() }
}

/// Takes the first bytes away, where there are as many.
fn first(whole: &mut Bytes, count: usize) -> Option<Bytes> {
    (count <= whole.len()).then(|| whole.split_to(count))
}
