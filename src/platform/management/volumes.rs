//! Network volumes: folders that the workers of endpoints share.

use super::Management;
use super::error::ManagementError;
use super::model::{State, Volume, find, insert, new_id};

/// What is to be different about a volume; `None` leaves it.
#[derive(Debug, Default)]
pub(super) struct VolumeChange {
    pub(super) name: Option<String>,
    pub(super) size: Option<u32>,
    pub(super) data_center_id: Option<String>,
}

impl State {
    /// Makes a volume and returns its ID; its folder is made by [`Management::create_volume`].
    fn create_volume(
        &mut self,
        account: &str,
        id: String,
        now: u64,
        change: VolumeChange,
    ) -> Result<(), ManagementError> {
        let name = change.name.unwrap_or_default();
        let data_center_id = change.data_center_id.unwrap_or_default();
        if name.trim().is_empty() {
            return Err(ManagementError::Invalid("a network volume needs a name".to_owned()));
        }
        if data_center_id.is_empty() {
            return Err(ManagementError::Invalid("a network volume needs a `dataCenterId`".to_owned()));
        }
        let size = check_size(change.size.unwrap_or(0))?;
        insert(
            &mut self.volumes,
            Volume { id, account: account.to_owned(), created_at: now, name, size, data_center_id },
        );
        Ok(())
    }

    /// Changes what is named: a volume stays where it is, and only grows.
    pub(super) fn update_volume(
        &mut self,
        account: &str,
        id: &str,
        change: VolumeChange,
    ) -> Result<(), ManagementError> {
        let mut volume = Volume::clone(find(&self.volumes, account, id)?);
        if let Some(center) = change.data_center_id
            && center != volume.data_center_id
        {
            return Err(ManagementError::Conflict("a network volume cannot be moved".to_owned()));
        }
        if let Some(size) = change.size {
            if size < volume.size {
                return Err(ManagementError::Conflict("a network volume cannot be made smaller".to_owned()));
            }
            volume.size = check_size(size)?;
        }
        if let Some(name) = change.name.filter(|name| !name.trim().is_empty()) {
            volume.name = name;
        }
        insert(&mut self.volumes, volume);
        Ok(())
    }

    /// Removes a volume that no endpoint uses.
    pub(super) fn delete_volume(&mut self, account: &str, id: &str) -> Result<(), ManagementError> {
        find(&self.volumes, account, id)?;
        let user = self.endpoints.values().find(|endpoint| endpoint.volume_ids.iter().any(|used| used == id));
        if let Some(user) = user {
            let text = format!("network volume `{id}` is used by endpoint `{}`", user.id);
            return Err(ManagementError::Conflict(text));
        }
        self.volumes.remove(id);
        Ok(())
    }
}

impl Management {
    /// Makes a volume and its folder, and returns its ID.
    pub(super) async fn create_volume(
        &self,
        account: &str,
        change: VolumeChange,
    ) -> Result<String, ManagementError> {
        let id = new_id(10);
        let now = self.now();
        let folder = self.volume_folder(&id);
        self.change(|state| {
            state.create_volume(account, id.clone(), now, change)?;
            let action = "make the folder of the network volume";
            std::fs::create_dir_all(&folder).map_err(|source| ManagementError::File { action, source })
        })
        .await?;
        Ok(id)
    }
}

fn check_size(size: u32) -> Result<u32, ManagementError> {
    if (1..=4000).contains(&size) {
        return Ok(size);
    }
    Err(ManagementError::Invalid("the size of a network volume is 1 to 4000 GB".to_owned()))
}
