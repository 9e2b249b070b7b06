//! Where Runpod's APIs are (`wire.md` 0.1).

use std::env;
use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

use super::error::{ErrorKind, RunpodError};
use crate::project::dotenv;

const VARIABLES: [&str; 4] =
    ["RUNPOD_API_BASE_URL", "RUNPOD_ENDPOINT_BASE_URL", "RUNPOD_CONSOLE_URL", "RUNPOD_HAPI_URL"];

/// Addresses of Runpod's APIs, read from the environment at the time of the call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Urls {
    /// Control plane, without a slash at its end: GraphQL is `{api}/graphql`, REST `{api}/v2/…`.
    pub api: String,
    /// Data plane, without a slash at its end: jobs are at `{endpoints}/{id}/run`.
    pub endpoints: String,
    /// Console, for links.
    pub console: String,
    /// Logs of workers.
    pub logs: String,
}

/// Host of a load-balanced endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancedHost {
    /// Where to connect to, without a slash at its end.
    pub base: String,
    /// `Host` header where it differs from `base`: names below `localhost` are in no DNS.
    pub host: Option<String>,
}

impl Urls {
    /// Reads `RUNPOD_API_BASE_URL`, `RUNPOD_ENDPOINT_BASE_URL`, `RUNPOD_CONSOLE_URL` and
    /// `RUNPOD_HAPI_URL`; a blank one counts as unset.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] names the variable whose value is no http or https URL.
    pub fn from_environment() -> Result<Self, RunpodError> {
        Ok(Self {
            api: read("RUNPOD_API_BASE_URL", "https://api.runpod.io")?,
            endpoints: read("RUNPOD_ENDPOINT_BASE_URL", "https://api.runpod.ai/v2")?,
            console: read("RUNPOD_CONSOLE_URL", "https://console.runpod.io")?,
            logs: read("RUNPOD_HAPI_URL", "https://hapi.runpod.net")?,
        })
    }

    /// Whether jobs go to this machine.
    pub fn is_here(&self) -> bool {
        Url::parse(&self.endpoints).is_ok_and(|url| url.scheme() == "http" && is_loopback(&url))
    }

    /// Returns the host of a load-balanced endpoint, `flash` for those of deployed apps.
    ///
    /// # Errors
    /// Where the data plane's address has no host.
    pub fn balanced(&self, endpoint: &str) -> Result<BalancedHost, RunpodError> {
        let url = Url::parse(&self.endpoints).map_err(|error| {
            RunpodError::new(ErrorKind::Configuration, format!("`{}`: {error}", self.endpoints))
        })?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        if url.scheme() == "https" {
            return Ok(BalancedHost { base: format!("https://{endpoint}.{host}{port}"), host: None });
        }
        // Plain http is a platform on this machine: it is reached by its own address.
        Ok(BalancedHost {
            base: format!("http://{host}{port}"),
            host: Some(format!("{endpoint}.api.localhost")),
        })
    }
}

fn read(name: &str, default: &str) -> Result<String, RunpodError> {
    parse(name, &env::var(name).unwrap_or_default(), default)
}

/// A key goes to these addresses: it is only sent in clear to this machine.
fn parse(name: &str, value: &str, default: &str) -> Result<String, RunpodError> {
    let value = value.trim().trim_end_matches('/');
    if value.is_empty() {
        return Ok(default.to_owned());
    }
    // A name, a password or a query may be secret.
    let shown = value.split(['?', '#']).next().unwrap_or_default();
    let shown = shown.rsplit('@').next().unwrap_or_default();
    let refuse = |what: &str| RunpodError::new(ErrorKind::Configuration, format!("{name}=`{shown}` {what}"));
    let url = Url::parse(value)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
        .ok_or_else(|| refuse("is not a valid http or https URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RunpodError::new(
            ErrorKind::Configuration,
            format!("{name} has a name or password in its URL, which would be shown in messages"),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("has a query or fragment: paths are put behind it"));
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(refuse("would send the API key without encryption")
            .with_hint("use https; plain http is for addresses of this machine, such as `flash platform`"));
    }
    Ok(value.to_owned())
}

/// Returns the proxy that requests to a URL go through, as errors may show it: without what opens it.
pub(super) fn proxy_of(url: &Url) -> Option<String> {
    let (_, value) = proxy_variable(url)?;
    let value = value.trim();
    let proxy = Url::parse(value).ok().filter(Url::has_host);
    let proxy = proxy.or_else(|| Url::parse(&format!("http://{value}")).ok())?;
    let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", proxy.scheme(), proxy.host_str()?))
}

/// Returns the variable that names the proxy of a URL, and its value, which may have a password.
pub(super) fn proxy_variable(url: &Url) -> Option<(String, String)> {
    if is_loopback(url) {
        return None;
    }
    let name = if url.scheme() == "https" { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let order = [name.to_lowercase(), name.to_owned(), "all_proxy".to_owned(), "ALL_PROXY".to_owned()];
    let mut found = order.into_iter().filter_map(|name| env::var(&name).ok().map(|value| (name, value)));
    let named = found.find(|(_, value)| !value.trim().is_empty())?;
    let excepted = env::var("no_proxy").or_else(|_| env::var("NO_PROXY")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let is_excepted = |rule: &str| {
        let rule = rule.trim().trim_start_matches('.');
        rule == "*" || !rule.is_empty() && (host == rule || host.ends_with(&format!(".{rule}")))
    };
    (!excepted.split(',').any(is_excepted)).then_some(named)
}

/// Returns the nearest `.env` and the variables of URLs that it sets, where it does: whoever wrote it
/// decides where the key goes.
pub fn set_by_dotenv() -> Option<(PathBuf, Vec<String>)> {
    let file = dotenv::nearest(&env::current_dir().ok()?)?;
    let is_in_use = |name: &str, value: &str| env::var(name).is_ok_and(|used| used == value);
    let names: Vec<String> = dotenv::read(&file)
        .into_iter()
        .filter(|(name, value)| VARIABLES.contains(&name.as_str()) && is_in_use(name, value))
        .map(|(name, _)| name)
        .collect();
    (!names.is_empty()).then_some((file, names))
}

/// Whether a URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(endpoints: &str) -> Urls {
        Urls {
            api: String::new(),
            endpoints: endpoints.to_owned(),
            console: String::new(),
            logs: String::new(),
        }
    }

    #[test]
    fn balanced_host_is_below_the_data_plane_and_plain_http_keeps_the_address() {
        let cloud = urls("https://api.runpod.ai/v2").balanced("ep1").expect("a URL");
        assert_eq!(cloud, BalancedHost { base: "https://ep1.api.runpod.ai".to_owned(), host: None });
        for (address, is_here) in [
            ("http://127.0.0.1:8890/v2", true),
            ("http://[::1]:8890/v2", true),
            ("http://api.localhost:8890/v2", true),
            ("https://localhost:8890/v2", false),
            ("https://api.runpod.ai/v2", false),
        ] {
            assert_eq!(urls(address).is_here(), is_here, "{address}");
        }
        let here = urls("http://localhost:8890/v2").balanced("ep1").expect("a URL");
        assert_eq!(here.base, "http://localhost:8890");
        assert_eq!(here.host.as_deref(), Some("ep1.api.localhost"));
    }

    #[test]
    fn address_is_https_or_this_machine() {
        let read = |value: &str| parse("NAME", value, "https://default");
        for good in
            ["https://api.example.com/", "http://localhost:8890/v2", "http://127.0.0.1:1", "http://[::1]:1"]
        {
            assert_eq!(read(good).expect("taken"), good.trim_end_matches('/'));
        }
        assert_eq!(read("  ").expect("unset"), "https://default");
        for (bad, reason) in [
            ("api.runpod.io", "is not a valid http or https URL"),
            ("ftp://x", "is not a valid http or https URL"),
            ("https://x:port", "is not a valid http or https URL"),
            ("http://api.example.com", "without encryption"),
            ("http://127.0.0.1.example.com", "without encryption"),
            ("https://me:SECRET@x", "name or password"),
            ("https://x?key=SECRET", "query or fragment"),
            ("https://me:SECRET@x:port", "is not a valid http or https URL"),
            ("x#SECRET", "is not a valid http or https URL"),
        ] {
            let error = read(bad).expect_err("refused");
            assert!(error.message.contains(reason) && !error.message.contains("SECRET"), "{}", error.message);
        }
    }
}
