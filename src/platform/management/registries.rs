//! Credentials of container registries: kept, and never given back.

use super::error::ManagementError;
use super::model::{Registry, State, find, insert, new_id, owned};

/// What is to be different about a registry auth; `None` leaves it.
#[derive(Default)]
pub(super) struct RegistryChange {
    pub(super) name: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl State {
    /// Makes a registry auth and returns its ID.
    pub(super) fn create_registry(
        &mut self,
        account: &str,
        now: u64,
        change: RegistryChange,
    ) -> Result<String, ManagementError> {
        let given = |value: Option<String>, what: &str| {
            let value = value.filter(|value| !value.is_empty());
            value.ok_or_else(|| ManagementError::Invalid(format!("a registry auth needs a {what}")))
        };
        let registry = Registry {
            id: new_id(25),
            account: account.to_owned(),
            created_at: now,
            name: given(change.name, "name")?,
            username: given(change.username, "username")?,
            password: given(change.password, "password")?,
        };
        if owned(&self.registries, account).iter().any(|known| known.name == registry.name) {
            let text = format!("there is a registry auth `{}` already", registry.name);
            return Err(ManagementError::Conflict(text));
        }
        let id = registry.id.clone();
        insert(&mut self.registries, registry);
        Ok(id)
    }

    /// Changes what is named.
    pub(super) fn update_registry(
        &mut self,
        account: &str,
        id: &str,
        change: RegistryChange,
    ) -> Result<(), ManagementError> {
        let mut registry = Registry::clone(find(&self.registries, account, id)?);
        let fields = [
            (&mut registry.name, change.name),
            (&mut registry.username, change.username),
            (&mut registry.password, change.password),
        ];
        for (field, value) in fields {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                *field = value;
            }
        }
        insert(&mut self.registries, registry);
        Ok(())
    }

    /// Removes a registry auth that no template uses.
    pub(super) fn delete_registry(&mut self, account: &str, id: &str) -> Result<(), ManagementError> {
        find(&self.registries, account, id)?;
        if let Some(user) = self.templates.values().find(|template| template.registry_id == id) {
            let text = format!("registry auth `{id}` is used by template `{}`", user.id);
            return Err(ManagementError::Conflict(text));
        }
        self.registries.remove(id);
        Ok(())
    }
}
