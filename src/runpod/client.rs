//! The HTTP client of a process: one pool of connections for all calls.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::ApiKey;
use super::error::{ErrorKind, RunpodError};
use super::urls::Urls;

/// How long it may take to reach Runpod.
const CONNECT: Duration = Duration::from_secs(10);

/// A client of Runpod's APIs; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) urls: Arc<Urls>,
    pub(super) key: Option<ApiKey>,
}

impl Client {
    /// Makes a client. Redirects are not followed: they would carry source and arguments elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where the system's certificates or proxies cannot be used.
    pub fn new(urls: Urls, key: Option<ApiKey>) -> Result<Self, RunpodError> {
        // Fails where one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(user_agent())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| RunpodError::new(ErrorKind::Configuration, error.to_string()))?;
        Ok(Self { http, urls: Arc::new(urls), key })
    }

    /// Returns where the APIs are.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }
}

fn user_agent() -> String {
    concat!("Runpod Flash/", env!("CARGO_PKG_VERSION")).to_owned()
}
