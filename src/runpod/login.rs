//! `flash login`: a request that is approved in a browser, and answered with a key (`wire.md` 7).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::client::Client;
use super::control::{Graph, Operation, Sender};
use super::credentials::ApiKey;
use super::error::{ErrorKind, RunpodError};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// A login that waits to be approved.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    id: String,
    /// Page on which it is approved.
    pub url: String,
    expires_at: Option<Timestamp>,
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// ID.
    pub id: String,
    /// E-mail address, where the key may see it.
    pub email: Option<String>,
}

impl std::fmt::Display for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.email.as_ref().unwrap_or(&self.id))
    }
}

fn graph(client: &Client) -> Graph {
    Graph { sender: Sender::new(client.clone()) }
}

/// Asks for a login; no key is needed or sent.
///
/// # Errors
/// By [`ErrorKind`].
pub async fn request(client: &Client) -> Result<LoginRequest, RunpodError> {
    let query = "mutation createFlashAuthRequest { createFlashAuthRequest { id status expiresAt } }";
    let operation = Operation::mutation("ask for a login", query, json!({})).without_key();
    let data = graph(client).ask(operation).await?;
    let made = &data["createFlashAuthRequest"];
    let Some(id) = made["id"].as_str().filter(|id| !id.is_empty()) else {
        return Err(RunpodError::new(ErrorKind::Malformed, "auth request failed to initialize"));
    };
    Ok(LoginRequest {
        url: format!("{}/flash/login?request={}", client.urls.console, urlencoding::encode(id)),
        id: id.to_owned(),
        expires_at: made["expiresAt"].as_str().and_then(|text| text.parse().ok()),
    })
}

/// Waits until a login is approved and returns the key.
///
/// Runpod tells a key once: whatever happens to it then, the login has to be repeated.
///
/// # Errors
/// [`ErrorKind::Authentication`] where it was denied, expired or its key was taken by somebody
/// else; [`ErrorKind::DeadlineExceeded`] after `timeout`, or when the request itself expires.
pub async fn wait(client: &Client, request: &LoginRequest, timeout: Duration) -> Result<ApiKey, RunpodError> {
    let graph = graph(client);
    let mut deadline = Instant::now() + timeout;
    if let Some(expires) = request.expires_at {
        let left = expires.duration_since(Timestamp::now());
        deadline = deadline.min(Instant::now() + Duration::try_from(left).unwrap_or_default());
    }
    loop {
        let look = look(&graph, &request.id);
        let look = tokio::time::timeout_at(deadline, look).await.map_err(|_| timed_out())?;
        match look {
            Ok(Some(key)) => return Ok(key),
            Ok(None) => {}
            // Who approves in a browser should not have to again because of one bad minute.
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::Connection | ErrorKind::Unavailable | ErrorKind::RateLimited
                ) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() + INTERVAL > deadline {
            sleep_until(deadline).await;
            return Err(timed_out());
        }
        sleep_until(Instant::now() + INTERVAL).await;
    }
}

async fn look(graph: &Graph, id: &str) -> Result<Option<ApiKey>, RunpodError> {
    let query = "query flashAuthRequestStatus($flashAuthRequestId: String!) { \
                 flashAuthRequestStatus(flashAuthRequestId: $flashAuthRequestId) { id status expiresAt apiKey } }";
    let variables = json!({ "flashAuthRequestId": id });
    let operation = Operation::query("look at the login", query, variables).without_key();
    let data = graph.ask(operation).await?;
    let found = &data["flashAuthRequestStatus"];
    let key = found["apiKey"].as_str().and_then(ApiKey::new);
    match (found["status"].as_str().unwrap_or_default(), key) {
        ("APPROVED" | "CONSUMED", Some(key)) => Ok(Some(key)),
        (status @ ("DENIED" | "EXPIRED" | "CONSUMED"), _) => Err(failed(status)),
        _ => Ok(None),
    }
}

fn failed(status: &str) -> RunpodError {
    let hint = match status {
        "DENIED" => "it was refused in the browser; run `flash login` again to be asked again",
        "EXPIRED" => "it was not approved in time; run `flash login` again",
        _ => {
            "its key was given out already, perhaps to another program; run `flash login` again, and if it was not \
              you, remove that key in the console"
        }
    };
    RunpodError::new(ErrorKind::Authentication, format!("login failed: {}", status.to_lowercase()))
        .with_hint(hint)
}

fn timed_out() -> RunpodError {
    RunpodError::new(ErrorKind::DeadlineExceeded, "login timed out").with_hint(
        "run `flash login` again and approve it in the browser, or give it more time with --timeout",
    )
}

/// Returns whose key a client uses.
///
/// # Errors
/// [`ErrorKind::Authentication`] where Runpod does not take the key.
pub async fn account(client: &Client) -> Result<Account, RunpodError> {
    let query = "query myself { myself { id email } }";
    let data = graph(client).ask(Operation::query("check the API key", query, json!({}))).await?;
    let text = |name: &str| data["myself"][name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match (&data["myself"], text("id")) {
        (Value::Object(_), Some(id)) => Ok(Account { id, email: text("email") }),
        _ => {
            Err(RunpodError::new(ErrorKind::Malformed, "cannot check the API key: the answer has no account"))
        }
    }
}
