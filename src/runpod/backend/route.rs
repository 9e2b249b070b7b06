//! Requests for routes of load-balanced endpoints: live workers take `/execute` alone, so the
//! route's function is called with what path, query and body say.

use std::borrow::Cow;

use bytes::Bytes;
use serde_bytes::ByteBuf;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::project::DeclaredEndpoint;
use crate::project::model::in_declared_order;
use crate::runpod::balanced::BalancedRequest;
use crate::runpod::client::Client;
use crate::runpod::error::RunpodError;
use crate::runpod::job::EndpointRef;
use crate::wire::backend::{HttpReply, HttpRequest};
use crate::wire::message::HttpStartHead;
use crate::wire::payload::Payload;

/// A refusal: status and JSON text.
pub(super) type Refusal = (u16, Bytes);

/// Returns the function for a request and its arguments as a JSON object.
pub(super) fn resolve(
    endpoint: &DeclaredEndpoint,
    request: &HttpRequest,
) -> Result<(String, Vec<u8>), Refusal> {
    let head = &request.head;
    let mut methods = Vec::new();
    for (_, callable) in in_declared_order(&endpoint.callables) {
        let Some((method, pattern)) = &callable.route else { continue };
        let Some(parameters) = matched(pattern, &head.path) else { continue };
        if method.as_str() != head.method {
            methods.push(method.as_str());
            continue;
        }
        let mut arguments = body(request)?;
        for (name, value) in query(&head.query) {
            arguments.insert(name, value.into());
        }
        arguments.extend(parameters.into_iter().map(|(name, value)| (name, value.into())));
        if arguments.is_empty() {
            // A job's input must not be empty; a request may be.
            arguments.insert("__empty".to_owned(), true.into());
        }
        return Ok((callable.name.clone(), Value::Object(arguments).to_string().into_bytes()));
    }
    let (status, text) = if methods.is_empty() { (404, "Not Found") } else { (405, "Method Not Allowed") };
    Err((status, detail(text)))
}

/// Sends a call to `/execute`; returns the body of the answer.
pub(super) async fn execute(
    client: &Client,
    endpoint: EndpointRef,
    body: Payload,
) -> Result<Bytes, RunpodError> {
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
    Ok(answer.body)
}

/// A whole answer with a JSON body.
pub(super) fn reply(status: u16, body: &Bytes) -> HttpReply {
    let (sender, receiver) = mpsc::channel(1);
    // There is room for it.
    let _ = sender.try_send(Ok(body.clone()));
    let headers =
        [("content-type", "application/json".to_owned()), ("content-length", body.len().to_string())];
    let headers =
        headers.into_iter().map(|(name, value)| (ByteBuf::from(name), ByteBuf::from(value.into_bytes())));
    HttpReply {
        start: HttpStartHead { status, headers: headers.collect() },
        body: receiver,
        worker: String::new(),
    }
}

fn detail(text: impl Into<Value>) -> Bytes {
    json!({ "detail": text.into() }).to_string().into()
}

/// The parameters in a path, `None` where it does not fit.
fn matched(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| urlencoding::decode(text).map_or_else(|_| text.to_owned(), Cow::into_owned);
    let mut parameters = Vec::new();
    let mut rest = path.trim_start_matches('/').split('/');
    for part in pattern.trim_start_matches('/').split('/') {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        match name.map(|name| name.split_once(':').unwrap_or((name, ""))) {
            Some((name, "path")) => {
                let all: Vec<String> = rest.map(decode).collect();
                parameters.push((name.to_owned(), all.join("/")));
                return Some(parameters);
            }
            Some((name, _)) => {
                let value = rest.next().filter(|value| !value.is_empty())?;
                parameters.push((name.to_owned(), decode(value)));
            }
            None if decode(rest.next()?) == part => {}
            None => return None,
        }
    }
    rest.next().is_none().then_some(parameters)
}

fn query(text: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        urlencoding::decode(&text).map_or_else(|_| text.clone(), Cow::into_owned)
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(move |pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(move |(name, value)| (decode(name), decode(value)))
}

/// The fields of a JSON body.
fn body(request: &HttpRequest) -> Result<Map<String, Value>, Refusal> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    let kind = request.head.headers.iter().find(|(name, _)| name == "content-type");
    let kind = kind.map(|(_, value)| String::from_utf8_lossy(value).to_lowercase()).unwrap_or_default();
    if kind.starts_with("multipart/") || kind.starts_with("application/x-www-form-urlencoded") {
        let text =
            "live workers take JSON bodies alone; run this endpoint on this machine for forms and files";
        return Err((415, detail(text)));
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err((422, detail("the body must be a JSON object with the function's parameters"))),
        Err(error) => Err((422, detail(format!("the body is no JSON: {error}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::matched;

    #[test]
    fn path_gives_its_parameters() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(matched("/items/{id}", "/items/a%2Fb"), Some(vec![pair("id", "a/b")]));
        assert_eq!(matched("/files/{rest:path}", "/files/a/b"), Some(vec![pair("rest", "a/b")]));
        assert_eq!(matched("/items/{id}", "/items/"), None);
        assert_eq!(matched("/items", "/items/1"), None);
    }
}
