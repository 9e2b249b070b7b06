//! Who may call this server: Host, Origin and token checks.
//!
//! Loopback is not trust: any web page can make a browser call `localhost`. A page's request
//! carries its Origin, and a page that had its own name pointed here (DNS rebinding) carries that
//! name as Host; both are refused. Ports are ignored.

use std::net::IpAddr;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};

use super::answer;

/// The rules of one server.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Host names accepted besides loopback names and IP literals, lower case.
    pub allowed_hosts: Vec<String>,
    /// Hosts whose names are served here (`.runpod.ai`: all below it too); what their pages send
    /// to other hosts is still refused.
    pub served_hosts: &'static [&'static str],
    /// Token that every request must carry; `None` on loopback.
    pub token: Option<String>,
}

/// Name of the cookie that a browser gets after it opened a page with `?token=`.
const COOKIE: &str = "flash_token";

impl Guard {
    /// Refuses a request that must not be served.
    pub fn check(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        self.check_source(parts)?;
        self.check_token(parts)
    }

    /// Refuses a request by where it goes and where it comes from, whatever token it has.
    pub fn check_source(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        let hosts = parts.headers.get_all(header::HOST).iter().count();
        let needs_host = parts.version == Version::HTTP_11 && parts.uri.authority().is_none();
        if hosts > 1 || needs_host && hosts == 0 {
            // Who stands between may read the other one (RFC 9112, 3.2).
            return Err(Box::new(answer::detail(
                StatusCode::BAD_REQUEST,
                "a request names exactly one host",
            )));
        }
        let host = request_host(parts);
        if let Some(host) = &host
            && !self.accepts(host)
        {
            let message = format!(
                "the host `{host}` is not served here; start with `--allow-host {host}` (or FLASH_ALLOW_HOSTS) to accept it"
            );
            return Err(Box::new(answer::detail(StatusCode::FORBIDDEN, message)));
        }
        if let Some(origin) = text(&parts.headers, &header::ORIGIN) {
            let from = origin.split_once("://").map(|(_, rest)| host_name(rest));
            let is_own = from.is_some() && from == host;
            let is_local = from.as_deref().is_some_and(|from| is_loopback(from) || self.is_listed(from));
            if !is_own && !is_local {
                let message = format!(
                    "requests from `{origin}` are not accepted; start with `--allow-host` to accept its host"
                );
                return Err(Box::new(answer::detail(StatusCode::FORBIDDEN, message)));
            }
        } else if is_cross_site_subresource(&parts.headers) {
            // An image or script tag of a foreign page sends no Origin.
            return Err(Box::new(answer::detail(
                StatusCode::FORBIDDEN,
                "requests from other sites are not accepted",
            )));
        }
        Ok(())
    }

    /// The cookie to set when a browser came with `?token=`, so that its next requests carry it.
    pub fn cookie(&self, parts: &Parts) -> Option<HeaderValue> {
        let token = self.token.as_ref()?;
        query_token(parts).filter(|given| same(given, token))?;
        HeaderValue::from_str(&format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict")).ok()
    }

    fn check_token(&self, parts: &Parts) -> Result<(), Box<Response<Body>>> {
        let Some(token) = &self.token else { return Ok(()) };
        let bearer = text(&parts.headers, &header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
        let cookies = text(&parts.headers, &header::COOKIE).unwrap_or_default();
        let cookie = cookies
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == COOKIE).then_some(value));
        let is_known =
            [bearer, query_token(parts), cookie].into_iter().flatten().any(|given| same(given.trim(), token));
        if is_known {
            return Ok(());
        }
        let mut response = answer::detail(
            StatusCode::UNAUTHORIZED,
            "this server asks for its token: `Authorization: Bearer TOKEN` (it was printed when the server started)",
        );
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Err(Box::new(response))
    }

    fn accepts(&self, host: &str) -> bool {
        let is_served = || self.served_hosts.iter().any(|served| matches_host(served, host));
        is_loopback(host) || host.parse::<IpAddr>().is_ok() || self.is_listed(host) || is_served()
    }

    fn is_listed(&self, host: &str) -> bool {
        self.allowed_hosts.iter().any(|allowed| matches_host(allowed, host))
    }
}

/// Whether a host is the one of a rule: a name, `.name` for it and all below it, or `*`.
fn matches_host(rule: &str, host: &str) -> bool {
    match rule.strip_prefix('.') {
        Some(domain) => host == domain || host.ends_with(rule),
        None => rule == host || rule == "*",
    }
}

/// Returns a new random token (122 bits from the system's generator).
pub fn new_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The host that a request names, without port, lower case.
pub fn request_host(parts: &Parts) -> Option<String> {
    let named = parts.uri.authority().map(http::uri::Authority::as_str);
    named.or_else(|| text(&parts.headers, &header::HOST)).map(host_name)
}

/// Cuts port, brackets, a final dot and letter case off an authority.
pub fn host_name(authority: &str) -> String {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let authority = authority.split('/').next().unwrap_or(authority);
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, _)) => literal,
        None => authority.split(':').next().unwrap_or(authority),
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Returns whether a name or literal always means this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_cross_site_subresource(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    value("sec-fetch-site") == Some("cross-site") && value("sec-fetch-mode") != Some("navigate")
}

fn query_token(parts: &Parts) -> Option<&str> {
    parts.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Compares without telling by its time where two texts differ.
pub fn same(given: &str, token: &str) -> bool {
    given.len() == token.len()
        && given.bytes().zip(token.bytes()).fold(0, |difference, (left, right)| difference | (left ^ right))
            == 0
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::{Guard, host_name};

    fn status(guard: &Guard, headers: &[(&str, &str)], uri: &str) -> u16 {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("request").into_parts();
        guard.check(&parts).map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[rstest]
    #[case(&[], 400)]
    #[case(&[("host", "localhost"), ("host", "localhost")], 400)]
    #[case(&[("host", "localhost:8888")], 200)]
    #[case(&[("host", "api.localhost")], 200)]
    #[case(&[("host", "127.0.0.1:1")], 200)]
    #[case(&[("host", "[::1]:8888")], 200)]
    #[case(&[("host", "192.168.1.7:8888")], 200)]
    #[case(&[("host", "evil.example")], 403)]
    #[case(&[("host", "localhost.evil.example:8888")], 403)]
    #[case(&[("host", "my.box:8888")], 200)]
    #[case(&[("host", "localhost:8888"), ("origin", "http://localhost:3000")], 200)]
    #[case(&[("host", "localhost:8888"), ("origin", "https://evil.example")], 403)]
    #[case(&[("host", "localhost:8888"), ("origin", "null")], 403)]
    #[case(&[("host", "192.168.1.7:8888"), ("origin", "http://192.168.1.7:8888")], 200)]
    #[case(&[("host", "192.168.1.7:8888"), ("origin", "http://192.168.1.8:8888")], 403)]
    #[case(&[("host", "ep1.api.runpod.ai")], 200)]
    #[case(&[("host", "ep1.api.runpod.ai"), ("origin", "https://ep1.api.runpod.ai")], 200)]
    #[case(&[("host", "localhost"), ("origin", "https://ep1.api.runpod.ai")], 403)]
    #[case(&[("host", "evilrunpod.ai")], 403)]
    #[case(&[("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], 403)]
    #[case(&[("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 200)]
    fn request_host_and_origin_are_checked(#[case] headers: &[(&str, &str)], #[case] expected: u16) {
        let guard =
            Guard { allowed_hosts: vec!["my.box".to_owned()], served_hosts: &[".runpod.ai"], token: None };
        assert_eq!(status(&guard, headers, "/"), expected);
    }

    #[rstest]
    #[case(&[("host", "localhost")], "/", 401)]
    #[case(&[("host", "localhost"), ("authorization", "Bearer s3cret")], "/", 200)]
    #[case(&[("host", "localhost"), ("authorization", "Bearer s3creT")], "/", 401)]
    #[case(&[("host", "localhost"), ("cookie", "a=b; flash_token=s3cret")], "/", 200)]
    #[case(&[("host", "localhost")], "/docs?token=s3cret", 200)]
    fn request_token_is_demanded_where_there_is_one(
        #[case] headers: &[(&str, &str)],
        #[case] uri: &str,
        #[case] expected: u16,
    ) {
        let guard = Guard { token: Some("s3cret".to_owned()), ..Guard::default() };
        assert_eq!(status(&guard, headers, uri), expected);
    }

    #[test]
    fn host_name_drops_port_brackets_and_case() {
        assert_eq!(host_name("LocalHost.:80"), "localhost");
        assert_eq!(host_name("[::1]:80"), "::1");
    }
}
