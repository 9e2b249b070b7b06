//! What workers say about their endpoints, and when it is worth asking one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::table::Table;
use crate::project::model::Parameter;
use crate::project::{Callable, DeclaredEndpoint};
use crate::wire::message::ReadyHead;

/// How long the API document waits for a worker that loads.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Knows what workers said.
pub(super) trait Describe: Send + Sync + 'static {
    /// What an endpoint's worker said, once one has loaded.
    fn get(&self, endpoint: &str) -> Option<Arc<ReadyHead>>;
    /// Starts a worker, so that there will be something to say.
    fn warm(&self, endpoint: &str);
}

/// Asks workers where the source alone does not tell what a function takes.
pub(super) struct Descriptions {
    /// Knows what workers said.
    pub(super) source: Arc<dyn Describe>,
    /// Changes when a worker has loaded, or could not.
    pub(super) changes: watch::Receiver<u64>,
    /// Endpoints that were asked: one that cannot load is not waited for twice.
    asked: Mutex<HashSet<String>>,
}

impl Descriptions {
    pub(super) fn new(source: Arc<dyn Describe>, changes: watch::Receiver<u64>) -> Self {
        Self { source, changes, asked: Mutex::default() }
    }

    /// Waits, not for long, for workers whose description says more than the source does.
    pub(super) async fn complete(&self, table: &Table) {
        let is_new =
            |name: &String| self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        let wanted: Vec<String> = table
            .project
            .files
            .iter()
            .flat_map(|file| &file.endpoints)
            .filter(|endpoint| is_unclear(endpoint) && self.source.get(&endpoint.name).is_none())
            .map(|endpoint| endpoint.name.clone())
            .filter(is_new)
            .collect();
        if wanted.is_empty() {
            return;
        }
        let mut changes = self.changes.clone();
        for name in &wanted {
            self.source.warm(name);
        }
        let all = async {
            while wanted.iter().any(|name| self.source.get(name).is_none()) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // After that, what the source says has to do.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }

    /// Lets endpoints be asked again: the code has changed.
    pub(super) fn forget(&self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether a parameter of an endpoint has an annotation that the source alone does not explain.
fn is_unclear(endpoint: &DeclaredEndpoint) -> bool {
    let unclear = |callable: &Callable| match &callable.methods {
        Some(methods) => methods.iter().any(|method| has_gap(&method.parameters, &method.input_schema)),
        None => has_gap(&callable.parameters, &callable.input_schema),
    };
    endpoint.callables.iter().any(unclear)
}

fn has_gap(parameters: &[Parameter], schema: &Value) -> bool {
    let explains = |property: &Value| {
        ["type", "$ref", "anyOf", "allOf", "oneOf", "enum", "const"]
            .iter()
            .any(|key| property.get(key).is_some())
    };
    parameters.iter().any(|parameter| {
        let is_any = parameter
            .annotation
            .as_deref()
            .is_none_or(|text| matches!(text, "Any" | "typing.Any" | "object"));
        !is_any && !explains(&schema["properties"][&parameter.name])
    })
}
