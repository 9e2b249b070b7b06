//! Routes of load-balanced endpoints.

use std::fmt;

use super::error::ConfigError;
use super::value::quoted;

/// An HTTP method that a route can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
}

impl Method {
    /// All methods, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// Returns the method in capital letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A route: a method, a path (FastAPI syntax, `/items/{item_id}`) and the function behind it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path, beginning with `/`.
    pub path: String,
    /// Name of the module-level function.
    pub function: String,
}

/// Paths that Runpod's worker serves itself.
pub const RESERVED_PATHS: [&str; 2] = ["/execute", "/ping"];

/// Checks a route's method (in any case) and path.
///
/// # Errors
/// Where the method is none of [`Method::ALL`], or the path does not begin with `/` or is reserved.
pub fn check(method: &str, path: &str) -> Result<Method, ConfigError> {
    let upper = method.to_uppercase();
    let Some(known) = Method::ALL.into_iter().find(|known| known.as_str() == upper) else {
        let all = Method::ALL.map(Method::as_str).join(", ");
        return Err(ConfigError::new(
            "method",
            format!("method must be one of {all}, got {}", quoted(method)),
        ));
    };
    if !path.starts_with('/') {
        return Err(ConfigError::new("path", format!("path must start with '/', got: {path}"))
            .with_hint(format!("write {}", quoted(&format!("/{path}")))));
    }
    if let Some(query) = path.find(['?', '#']) {
        return Err(ConfigError::new("path", format!("path must not contain `?` or `#`, got: {path}"))
            .with_hint(format!(
                "write {}; query parameters are parameters of the function",
                quoted(&path[..query])
            )));
    }
    if RESERVED_PATHS.contains(&path.trim_end_matches('/')) {
        let message = format!(
            "path '{path}' is reserved by the framework. reserved paths: {}",
            RESERVED_PATHS.join(", ")
        );
        return Err(
            ConfigError::new("path", message).with_hint("choose another path, such as '/health' or '/run'")
        );
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("get", "/x", Method::Get)]
    #[case("PATCH", "/items/{item_id}", Method::Patch)]
    #[case("POST", "/ping/x", Method::Post)]
    fn right_route_gives_its_method(#[case] method: &str, #[case] path: &str, #[case] expected: Method) {
        assert_eq!(check(method, path), Ok(expected));
    }

    #[rstest]
    #[case("HEAD", "/x", "method must be one of GET, POST, PUT, PATCH, DELETE, got 'HEAD'")]
    #[case("GET", "x", "path must start with '/', got: x")]
    #[case(
        "GET",
        "/execute/",
        "path '/execute/' is reserved by the framework. reserved paths: /execute, /ping"
    )]
    #[case("GET", "/x?a=1", "path must not contain `?` or `#`, got: /x?a=1")]
    #[case("GET", "/ping", "path '/ping' is reserved by the framework. reserved paths: /execute, /ping")]
    fn wrong_route_is_refused(#[case] method: &str, #[case] path: &str, #[case] expected: &str) {
        assert_eq!(check(method, path).unwrap_err().message, expected);
    }
}
