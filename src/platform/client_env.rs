//! The variables that point official clients at a running platform (`platform.md` 6).

use std::env;

use super::running::Running;

/// Variables by which programs are told which authorities to trust.
const BUNDLES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// Programs read one or the other.
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Reached without the proxy; load-balanced hosts below `localhost` are not.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Returns names and values for clients of a platform.
pub fn client_variables(running: &Running) -> Vec<(&'static str, String)> {
    let url = running.url.trim_end_matches('/');
    let at = |path: &str| format!("{url}{path}");
    let mut variables = vec![
        ("RUNPOD_API_KEY", running.token.clone()),
        ("RUNPOD_ENDPOINT_BASE_URL", at("/v2")),
        ("RUNPOD_API_BASE_URL", at("")),
        ("RUNPOD_REST_API_URL", at("/v1")),
        ("RUNPOD_HAPI_URL", at("")),
        ("RUNPOD_CONSOLE_URL", at("")),
        ("RUNPOD_API_URL", at("/v1")),
        ("RUNPOD_GRAPHQL_URL", at("/graphql")),
        ("RUNPOD_URL_MIXED_OK", "1".to_owned()),
    ];
    if let Some(proxy) = &running.proxy {
        variables.extend(PROXIES.map(|name| (name, proxy.clone())));
        let before = EXCEPTIONS.into_iter().find_map(|name| env::var(name).ok()).unwrap_or_default();
        let exceptions = exceptions(&before);
        variables.extend(EXCEPTIONS.map(|name| (name, exceptions.clone())));
    }
    if let Some(bundle) = &running.bundle {
        variables.extend(BUNDLES.map(|name| (name, bundle.display().to_string())));
    }
    if let Some(authority) = &running.authority {
        variables.push(("NODE_EXTRA_CA_CERTS", authority.display().to_string()));
    }
    variables
}

/// Adds loopback to what is reached without a proxy already.
fn exceptions(before: &str) -> String {
    let mut names: Vec<&str> = before.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in LOOPBACK {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_point_at_the_platform_and_keep_what_is_reached_directly() {
        let mut running = Running::here("http://localhost:8890".to_owned(), "t".to_owned());
        let value = |running: &Running, wanted: &str| {
            let mut variables = client_variables(running).into_iter();
            variables.find_map(|(name, value)| (name == wanted).then_some(value))
        };
        assert_eq!(value(&running, "RUNPOD_ENDPOINT_BASE_URL").as_deref(), Some("http://localhost:8890/v2"));
        assert_eq!(value(&running, "RUNPOD_GRAPHQL_URL").as_deref(), Some("http://localhost:8890/graphql"));
        assert_eq!(value(&running, "HTTPS_PROXY"), None);
        assert_eq!(value(&running, "SSL_CERT_FILE"), None);
        running.proxy = Some("http://127.0.0.1:1".to_owned());
        running.bundle = Some("/b.pem".into());
        assert_eq!(value(&running, "https_proxy").as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(value(&running, "REQUESTS_CA_BUNDLE").as_deref(), Some("/b.pem"));
        assert_eq!(exceptions(".corp, localhost"), ".corp,localhost,127.0.0.1,::1");
    }
}
