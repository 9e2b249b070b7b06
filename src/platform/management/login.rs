//! `flash login`: a request that is made without a token, and approved with one in a browser.
//!
//! A request is never approved by itself: whoever reaches this server would get its token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::Management;
use super::caller::read_body;
use super::error::ManagementError;
use super::model::new_id;
use super::problem::{Problem, method_not_allowed};
use crate::platform::access::Caller;

/// How long a request waits to be approved, in milliseconds: as long as `flash login` does.
const LIFE: u64 = 10 * 60 * 1000;
/// Most requests that wait at a time.
const MOST: usize = 1000;

/// A login that waits, or was approved.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) id: String,
    pub(super) status: &'static str,
    pub(super) expires_at: u64,
    /// Given once.
    pub(super) token: Option<String>,
}

/// The logins of the last minutes.
#[derive(Default)]
pub(super) struct Logins(Mutex<BTreeMap<String, Login>>);

impl Logins {
    /// Those that have not expired.
    fn lock(&self, now: u64) -> MutexGuard<'_, BTreeMap<String, Login>> {
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logins.retain(|_, login| login.expires_at > now);
        logins
    }

    /// Makes a request.
    pub(super) fn create(&self, now: u64) -> Result<Login, ManagementError> {
        let mut logins = self.lock(now);
        if logins.len() >= MOST {
            return Err(ManagementError::Conflict("too many logins wait to be approved".to_owned()));
        }
        let login = Login { id: new_id(25), status: "PENDING", expires_at: now + LIFE, token: None };
        logins.insert(login.id.clone(), login.clone());
        Ok(login)
    }

    /// Says how far a request is; the token of an approved one is told once.
    pub(super) fn status(&self, id: &str, now: u64) -> Option<Login> {
        let mut logins = self.lock(now);
        let login = logins.get_mut(id)?;
        let told = login.clone();
        if login.token.take().is_some() {
            login.status = "CONSUMED";
        }
        Some(told)
    }

    fn approve(&self, id: &str, token: &str, now: u64) -> bool {
        let mut logins = self.lock(now);
        let Some(login) = logins.get_mut(id).filter(|login| login.status == "PENDING") else { return false };
        login.status = "APPROVED";
        login.token = Some(token.to_owned());
        true
    }
}

/// Builds the router of `/flash/login`.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new().route("/flash/login", get(page).post(approve).fallback(method_not_allowed))
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    request: String,
}

/// The page that `flash login` opens.
async fn page(Query(asked): Query<Asked>) -> Response {
    // Only letters and digits: nothing that could leave the attribute.
    let request: String = asked.request.chars().filter(char::is_ascii_alphanumeric).collect();
    html(
        StatusCode::OK,
        &format!(
            "<p>Let <code>flash</code> use this machine's Runpod?</p>\
             <form method=\"post\"><input type=\"hidden\" name=\"request\" value=\"{request}\">\
             <label>Token that <code>flash platform</code> printed \
             <input type=\"password\" name=\"token\" autocomplete=\"off\" autofocus required></label> \
             <button>Approve</button></form>"
        ),
    )
}

#[derive(Deserialize)]
struct Approval {
    request: String,
    token: String,
}

async fn approve(Shared(management): Shared<Arc<Management>>, body: Body) -> Result<Response, Problem> {
    let body = read_body(body).await?;
    let approval =
        parse_form(&body).ok_or_else(|| ManagementError::Invalid("the form is incomplete".to_owned()))?;
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&approval.token) {
        headers.insert(header::AUTHORIZATION, value);
    }
    let caller = management.platform.options().access.caller(&headers);
    if !matches!(caller, Caller::Account(_) | Caller::Anyone) {
        return Ok(html(StatusCode::UNAUTHORIZED, "<p>This is not the platform's token.</p>"));
    }
    if management.logins.approve(&approval.request, approval.token.trim(), management.now()) {
        return Ok(html(StatusCode::OK, "<p>Approved. You can close this page.</p>"));
    }
    Ok(html(
        StatusCode::NOT_FOUND,
        "<p>This login is unknown or has expired: run <code>flash login</code> again.</p>",
    ))
}

fn parse_form(body: &[u8]) -> Option<Approval> {
    let text = std::str::from_utf8(body).ok()?;
    let value = |name: &str| {
        let pair = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(urlencoding::decode(&pair.replace('+', " ")).ok()?.into_owned())
    };
    Some(Approval { request: value("request")?, token: value("token")? })
}

fn html(status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>flash login</title>\
         <style>body{{font:16px system-ui;margin:4em auto;max-width:40em}}</style>{body}</html>"
    );
    let mut response = (status, Html(page)).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
