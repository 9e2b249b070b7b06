//! Where what is not a job is kept: endpoints, templates, volumes, apps, builds, accounts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::platform::error::StoreError;
use crate::wire::BoxFuture;

/// Keeps JSON documents by kind and ID.
pub trait DocumentStore: Send + Sync + 'static {
    /// Returns all documents of a kind: IDs and JSON texts, by ID.
    fn all(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Stores a document, in place of one that has its ID; stored when this completes.
    fn put(&self, kind: &str, id: &str, json: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes a document; removed when this completes.
    fn delete(&self, kind: &str, id: &str) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Keeps documents in memory.
#[derive(Debug, Default)]
pub struct MemoryDocuments {
    documents: Mutex<BTreeMap<(String, String), String>>,
}

impl DocumentStore for MemoryDocuments {
    fn all(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = documents.iter().filter(|((known, _), _)| known == kind);
        Ok(of_kind.map(|((_, id), json)| (id.clone(), json.clone())).collect())
    }

    fn put(&self, kind: &str, id: &str, json: String) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.insert((kind.to_owned(), id.to_owned()), json);
        Box::pin(std::future::ready(Ok(())))
    }

    fn delete(&self, kind: &str, id: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        documents.remove(&(kind.to_owned(), id.to_owned()));
        Box::pin(std::future::ready(Ok(())))
    }
}
