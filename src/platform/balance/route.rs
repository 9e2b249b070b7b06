//! Which load-balanced endpoint a request is for: by its host, or by its path (`platform.md` 3.1).

use http::HeaderMap;
use http::request::Parts;

use crate::server::guard::request_host;

/// Domains below which an endpoint's ID is a host; the longest come first.
const DOMAINS: [&str; 4] = [".api.runpod.ai", ".api.runpod.io", ".api.localhost", ".localhost"];
/// Hosts of the platform's own, although their form is that of an endpoint.
const OWN: [&str; 1] = ["api.localhost"];
/// Path below which endpoints are reached where there is no name to call.
const PREFIX: &str = "/lb/";
/// The endpoint whose requests name another by headers.
const SENTINEL: &str = "flash";

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::platform) struct Route {
    /// What names the endpoint.
    pub(super) target: Target,
    /// What the worker gets: path and query as they came.
    pub(super) path_and_query: String,
}

/// What names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Its ID; hosts are lower case.
    Id(String),
    /// Names of app, environment and endpoint.
    Deployed { app: String, environment: String, endpoint: String },
}

/// Returns where a request goes; `None` where it is for no load-balanced endpoint.
pub(in crate::platform) fn route(parts: &Parts) -> Option<Route> {
    let whole = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let host = request_host(parts).filter(|host| !OWN.contains(&host.as_str()));
    let by_host = host.as_deref().and_then(|host| {
        let label = DOMAINS.iter().find_map(|domain| host.strip_suffix(domain))?;
        (!label.is_empty()).then_some(label)
    });
    let (id, path_and_query) = if let Some(label) = by_host {
        (label.to_owned(), whole.to_owned())
    } else {
        let rest = parts.uri.path().strip_prefix(PREFIX)?;
        let id = rest.split('/').next().filter(|id| !id.is_empty())?;
        let below = &whole[PREFIX.len() + id.len()..];
        let below = if below.starts_with('/') { below.to_owned() } else { format!("/{below}") };
        (String::from_utf8_lossy(&urlencoding::decode_binary(id.as_bytes())).into_owned(), below)
    };
    let target =
        if id == SENTINEL { deployed(&parts.headers).unwrap_or(Target::Id(id)) } else { Target::Id(id) };
    Some(Route { target, path_and_query })
}

fn deployed(headers: &HeaderMap) -> Option<Target> {
    let value = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
    Some(Target::Deployed {
        app: value("x-flash-app")?,
        environment: value("x-flash-environment")?,
        endpoint: value("x-flash-endpoint")?,
    })
}

#[cfg(test)]
mod tests {
    use http::Request;
    use rstest::rstest;

    use super::*;

    fn found(host: &str, path: &str) -> Option<(String, String)> {
        let (parts, ()) = Request::get(path).header("host", host).body(()).unwrap().into_parts();
        route(&parts).map(|route| match route.target {
            Target::Id(id) => (id, route.path_and_query),
            Target::Deployed { .. } => panic!("no headers were given"),
        })
    }

    #[rstest]
    #[case("ep1.api.runpod.ai", "/a%2Fb?x=1&x=2", "ep1", "/a%2Fb?x=1&x=2")]
    #[case("EP1.api.localhost:8890", "/", "ep1", "/")]
    #[case("ep1.localhost:8890", "/v2/x/run", "ep1", "/v2/x/run")]
    #[case("my.app.localhost", "/", "my.app", "/")]
    #[case("api.api.localhost", "/", "api", "/")]
    #[case("localhost:8890", "/lb/ep1/a/b?c", "ep1", "/a/b?c")]
    #[case("localhost", "/lb/ep1", "ep1", "/")]
    #[case("localhost", "/lb/ep1?x=1", "ep1", "/?x=1")]
    #[case("localhost", "/lb/my%20app/x", "my app", "/x")]
    fn request_is_for_an_endpoint(
        #[case] host: &str,
        #[case] path: &str,
        #[case] id: &str,
        #[case] rest: &str,
    ) {
        assert_eq!(found(host, path), Some((id.to_owned(), rest.to_owned())));
    }

    #[rstest]
    #[case("localhost", "/v2/ep1/run")]
    #[case("api.localhost:8890", "/v2/ep1/run")]
    #[case("api.runpod.ai", "/v2/ep1/run")]
    #[case("127.0.0.1", "/lb/")]
    #[case("rest.runpod.io", "/v1/endpoints")]
    fn request_is_for_the_platform(#[case] host: &str, #[case] path: &str) {
        assert_eq!(found(host, path), None);
    }

    #[test]
    fn sentinel_names_the_endpoint_by_headers() {
        let request = Request::get("/x").header("host", "flash.api.runpod.ai");
        let request = request.header("x-flash-app", "shop").header("x-flash-environment", "prod");
        let (parts, ()) = request.header("x-flash-endpoint", "api").body(()).unwrap().into_parts();
        let wanted = Target::Deployed {
            app: "shop".to_owned(),
            environment: "prod".to_owned(),
            endpoint: "api".to_owned(),
        };
        assert_eq!(route(&parts).map(|route| route.target), Some(wanted));
    }
}
