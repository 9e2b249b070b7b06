//! Routes of load-balanced endpoints.

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
