//! Accounts: one for whoever started the platform, and isolated ones, for tests above all.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::{delete, post};
use serde_json::json;

use super::Management;
use super::caller::Session;
use super::error::ManagementError;
use super::model::{Account, Document, State, Table, insert, new_id, new_key};
use super::problem::{Problem, method_not_allowed, no_content, ok};
use crate::platform::standalone::ACCOUNT;

/// Builds the router of `/_platform/accounts`.
pub(super) fn router() -> Router<Arc<Management>> {
    Router::new()
        .route("/_platform/accounts", post(create).fallback(method_not_allowed))
        .route("/_platform/accounts/{account}", delete(remove).fallback(method_not_allowed))
}

/// Only who started the platform makes and removes accounts.
fn check(session: &Session) -> Result<(), ManagementError> {
    if session.account == ACCOUNT {
        return Ok(());
    }
    Err(ManagementError::NotFound { what: "page".to_owned() })
}

async fn create(session: Session, Shared(management): Shared<Arc<Management>>) -> Result<Response, Problem> {
    check(&session)?;
    let id = format!("account-{}", new_id(12));
    let token = new_key();
    let account = Account {
        id: id.clone(),
        account: id.clone(),
        created_at: management.now(),
        token: Some(token.clone()),
        public_key: String::new(),
    };
    management
        .change(|state| {
            insert(&mut state.accounts, account);
            Ok(())
        })
        .await?;
    management.platform.options().access.admit(token.clone(), id.clone());
    Ok(ok(&json!({ "account": id, "token": token })))
}

async fn remove(
    session: Session,
    Shared(management): Shared<Arc<Management>>,
    Path(account): Path<String>,
) -> Result<Response, Problem> {
    check(&session)?;
    let state = management.state();
    if state.accounts.get(&account).is_none_or(|known| known.token.is_none()) {
        return Err(ManagementError::not_found(Account::NAME, &account).into());
    }
    management.platform.options().access.dismiss(&account);
    management
        .change(|state| {
            state.remove_account(&account);
            Ok(())
        })
        .await?;
    Ok(no_content())
}

impl State {
    fn remove_account(&mut self, account: &str) {
        fn keep_others<T: Document>(table: &mut Table<T>, account: &str) {
            table.retain(|_, document| document.account() != account);
        }
        keep_others(&mut self.accounts, account);
        keep_others(&mut self.endpoints, account);
        keep_others(&mut self.templates, account);
        keep_others(&mut self.volumes, account);
        keep_others(&mut self.registries, account);
        keep_others(&mut self.apps, account);
        keep_others(&mut self.environments, account);
        keep_others(&mut self.builds, account);
    }
}
