//! Asks a running platform, over its management API, to run a command as an endpoint's workers.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A command that is to be the worker of an endpoint.
#[derive(Debug, Clone)]
pub struct WorkerRequest {
    /// Address of the platform, such as `http://localhost:8890`.
    pub url: String,
    /// Token of the account.
    pub token: String,
    /// Name of the endpoint; it is made when there is none.
    pub endpoint: String,
    /// Most workers at once.
    pub workers: u32,
    /// Fewest workers.
    pub least: u32,
    /// Seconds that an idle worker stays; the platform's default when `None`.
    pub idle_timeout: Option<u32>,
    /// Whether it is load-balanced: the command listens on `PORT`.
    pub balanced: bool,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Folder to start it in.
    pub directory: PathBuf,
}

/// The endpoint that now runs the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// ID, as URLs have it.
    pub id: String,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Why a platform did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It could not be reached.
    #[error("no platform answers at `{url}`")]
    Unreachable {
        /// Address that was asked.
        url: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The token is not one of its accounts'.
    #[error("the platform at `{url}` does not accept this token")]
    Unauthorized {
        /// Address that was asked.
        url: String,
    },
    /// Several endpoints have the name.
    #[error("{count} endpoints are named `{name}`")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// It refused, or it is something else than a platform.
    #[error("the platform at `{url}` answered {status}: {message}")]
    Refused {
        /// Address that was asked.
        url: String,
        /// Status of its answer.
        status: StatusCode,
        /// What it said.
        message: String,
    },
}

impl ProvisionError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "start one with `flash platform`, and give its address with `--url`",
            Self::Unauthorized { .. } => "give the token that `flash platform` printed with `--token`",
            Self::Ambiguous { .. } => "choose another name, or delete those that are not needed",
            Self::Refused { .. } => "look at what the platform says on its terminal",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    id: String,
    name: String,
}

/// Makes the endpoint, or gives the one that has the name this command.
///
/// # Errors
/// [`ProvisionError`] says what the platform had against it.
pub async fn provision(request: &WorkerRequest) -> Result<Provisioned, ProvisionError> {
    // Fails where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(TIMEOUT).build().map_err(|source| request.unreachable(source))?;
    let list = request.build(&client, Method::GET, "");
    let known: Endpoints = request.send(list).await?;
    let mut named = known.endpoints.into_iter().filter(|endpoint| endpoint.name == request.endpoint);
    let found = named.next();
    let others = named.count();
    if others > 0 {
        return Err(ProvisionError::Ambiguous { name: request.endpoint.clone(), count: others + 1 });
    }
    let body = request.body();
    if let Some(endpoint) = found {
        let change = request.build(&client, Method::PATCH, &format!("/{}", endpoint.id)).json(&body);
        request.send::<Value>(change).await?;
        return Ok(Provisioned { id: endpoint.id, is_new: false });
    }
    let made: Endpoint = request.send(request.build(&client, Method::POST, "").json(&body)).await?;
    Ok(Provisioned { id: made.id, is_new: true })
}

impl WorkerRequest {
    fn body(&self) -> Value {
        let mut workers = json!({ "min": self.least, "max": self.workers });
        if let Some(seconds) = self.idle_timeout {
            workers["idleTimeout"] = seconds.into();
        }
        let mut body = json!({
            "name": self.endpoint,
            "type": if self.balanced { "LOAD_BALANCER" } else { "QUEUE" },
            "workers": workers,
            "command": self.command,
            "directory": self.directory,
        });
        if self.balanced {
            body["scaling"] = json!({ "type": "REQUEST_COUNT", "requestCount": 4 });
        }
        body
    }

    fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    fn build(&self, client: &Client, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/v2/serverless{path}", self.base());
        client.request(method, url).bearer_auth(&self.token)
    }

    async fn send<T: for<'de> Deserialize<'de>>(&self, request: RequestBuilder) -> Result<T, ProvisionError> {
        let answer = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = answer.status();
        let url = self.base().to_owned();
        if status == StatusCode::UNAUTHORIZED {
            return Err(ProvisionError::Unauthorized { url });
        }
        let text = answer.text().await.map_err(|source| self.unreachable(source))?;
        if status.is_success()
            && let Ok(read) = serde_json::from_str(&text)
        {
            return Ok(read);
        }
        let said = serde_json::from_str::<Value>(&text).unwrap_or_default();
        let said = ["detail", "error", "title"].iter().find_map(|key| said.get(key)?.as_str());
        let message = said.map_or_else(|| "what is not this API's answer".to_owned(), str::to_owned);
        Err(ProvisionError::Refused { url, status, message })
    }

    fn unreachable(&self, source: reqwest::Error) -> ProvisionError {
        // The URL is in the message already; reqwest's own may hold a password.
        ProvisionError::Unreachable { url: self.base().to_owned(), source: source.without_url() }
    }
}
