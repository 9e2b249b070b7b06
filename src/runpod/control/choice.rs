//! Which control plane is used, and why.

use std::env;
use std::sync::Arc;

use serde_json::json;

use super::ControlPlane;
use super::graphql::{Graph, GraphQl, Operation};
use super::rest_v2::RestV2;
use super::send::Sender;
use crate::runpod::client::Client;
use crate::runpod::error::{ErrorKind, RunpodError};

/// Variable that chooses.
const VARIABLE: &str = "FLASH_CONTROL_PLANE";

/// A control plane, with a line that says why it is this one.
#[derive(Clone)]
pub struct Chosen {
    /// The control plane.
    pub plane: Arc<dyn ControlPlane>,
    /// For consoles, such as `control plane: GraphQL (default)`.
    pub line: String,
    /// Whether it answered already, and so takes the key.
    pub has_answered: bool,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Chosen").field(&self.line).finish()
    }
}

/// Chooses the control plane: what `FLASH_CONTROL_PLANE` says (`graphql` or `rest`), else GraphQL
/// where it is still served, else REST v2.
///
/// GraphQL comes first because it is what 1.21 speaks and because REST v2, in beta, cannot ask for
/// CUDA versions. Runpod retires it in early 2027: from the day on which it is not there, REST v2
/// is used without anybody changing anything.
///
/// # Errors
/// [`ErrorKind::Configuration`] for another word; by [`ErrorKind`] where neither can be asked: an
/// outage is not taken for retirement.
pub async fn choose(client: &Client) -> Result<Chosen, RunpodError> {
    let word = env::var(VARIABLE).unwrap_or_default();
    by_word(&word, Sender::new(client.clone())).await
}

pub(super) async fn by_word(word: &str, sender: Sender) -> Result<Chosen, RunpodError> {
    match word.trim().to_ascii_lowercase().as_str() {
        "graphql" => Ok(graphql(sender, VARIABLE, false)),
        "rest" | "rest-v2" | "rest_v2" => Ok(rest(sender, VARIABLE)),
        "" | "auto" => {
            let graph = Graph { sender: sender.clone() };
            let question = Operation::query("reach Runpod", "query myself { myself { id } }", json!({}));
            match graph.ask(question).await {
                Ok(_) => Ok(graphql(sender, "default", true)),
                Err(error) if is_retired(&error) => Ok(rest(sender, "GraphQL is not served any more")),
                Err(error) => Err(error),
            }
        }
        _ => {
            let message = format!("{VARIABLE}=`{}` names no control plane", word.trim());
            Err(RunpodError::new(ErrorKind::Configuration, message)
                .with_hint("it is `graphql` or `rest`; unset, Flash chooses"))
        }
    }
}

/// Whether an API says that it is no more: by its status, or in words, as answers with another status
/// may have them. "Not now" is no retirement.
fn is_retired(error: &RunpodError) -> bool {
    let is_gone = error.kind == ErrorKind::NotFound && matches!(error.exchange.status, Some(404 | 410));
    let says_so = || {
        let words = error.message.to_ascii_lowercase();
        let is_refusal = matches!(error.kind, ErrorKind::InvalidRequest | ErrorKind::NotFound);
        is_refusal
            && ["deprecated", "retired", "sunset", "no longer", "has been removed", "discontinued"]
                .iter()
                .any(|word| words.contains(word))
    };
    is_gone || says_so()
}

fn graphql(sender: Sender, why: &str, has_answered: bool) -> Chosen {
    let line = format!("control plane: GraphQL ({why})");
    Chosen { plane: Arc::new(GraphQl::with(sender)), line, has_answered }
}

fn rest(sender: Sender, why: &str) -> Chosen {
    let line = format!("control plane: REST v2 ({why})");
    Chosen { plane: Arc::new(RestV2::with(sender)), line, has_answered: false }
}
