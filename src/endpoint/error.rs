//! Why a configuration or a route is refused.

/// One problem with one argument of `Endpoint(...)`, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The user's parameter, such as `gpu`.
    pub parameter: String,
    /// Element, where the parameter is a list.
    pub index: Option<usize>,
    /// What is wrong, with the value and the nearest right one.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
