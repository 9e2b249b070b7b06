//! Network volumes, by REST v2 whichever control plane is used: v1, which 1.21 asks, is gone.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::graphql::malformed;
use super::input::{EndpointInput, RemoteVolume, VolumeId, VolumeInput};
use super::rest_v2::Rest;
use super::send::{Repeat, Sender};
use crate::runpod::client::Client;
use crate::runpod::error::{ErrorKind, RunpodError};

/// Size in GB where none is said, as in 1.21.
const DEFAULT_SIZE: i64 = 100;

/// Returns all network volumes of a client's account.
///
/// # Errors
/// By [`ErrorKind`].
pub async fn list_volumes(client: &Client) -> Result<Vec<RemoteVolume>, RunpodError> {
    Volumes::new(Sender::new(client.clone())).list().await
}

/// Finds and makes volumes.
#[derive(Debug, Clone)]
pub(super) struct Volumes {
    rest: Rest,
}

impl Volumes {
    pub(super) fn new(sender: Sender) -> Self {
        Self { rest: Rest { sender } }
    }

    /// Returns the input with the IDs of its volumes, and warnings about them.
    pub(super) async fn resolve(
        &self,
        input: &EndpointInput,
    ) -> Result<(EndpointInput, Vec<String>), RunpodError> {
        let mut input = input.clone();
        let mut ids = Vec::new();
        let mut warnings = Vec::new();
        for volume in std::mem::take(&mut input.volumes) {
            let found = self.ensure(&volume).await.map_err(|error| error.at_endpoint(&input.name))?;
            warnings.extend(found.warning);
            ids.push(found.id);
        }
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        if let [id] = &ids[..] {
            input.network_volume_id = Some(id.clone());
        } else if !ids.is_empty() {
            let list = ids.into_iter().map(|network_volume_id| VolumeId { network_volume_id });
            input.network_volume_ids = Some(list.collect());
        }
        Ok((input, warnings))
    }

    /// Returns the volume that is meant; makes it where there is none of its name in its data center.
    pub(super) async fn ensure(&self, volume: &VolumeInput) -> Result<RemoteVolume, RunpodError> {
        if let Some(id) = volume.id.as_deref().filter(|id| !id.is_empty()) {
            match self.by_id(id).await? {
                Some(found) => return Ok(found),
                None if volume.name.is_none() => {
                    let message = format!("there is no network volume `{id}`");
                    return Err(RunpodError::new(ErrorKind::NotFound, message)
                        .with_hint("give the volume a name too: then it is found again, or made"));
                }
                None => {}
            }
        }
        let Some(name) = volume.name.as_deref().filter(|name| !name.trim().is_empty()) else {
            let message = "a network volume needs a name or an ID";
            return Err(RunpodError::new(ErrorKind::InvalidRequest, message));
        };
        let is_meant =
            |known: &RemoteVolume| known.name == name && known.data_center_id == volume.data_center_id;
        let found = self.list().await?.into_iter().find(is_meant);
        match found {
            Some(mut found) => {
                if let (Some(has), Some(wanted)) = (found.size, volume.size)
                    && has != wanted
                {
                    found.warning = Some(format!(
                        "network volume `{name}` in {} exists with {has} GB, not {wanted} GB: it is used as it is",
                        volume.data_center_id
                    ));
                }
                Ok(found)
            }
            None => self.make(name, volume).await,
        }
    }

    async fn make(&self, name: &str, volume: &VolumeInput) -> Result<RemoteVolume, RunpodError> {
        let what = format!("create network volume `{name}` in {}", volume.data_center_id);
        let body = json!({
            "name": name,
            "size": volume.size.unwrap_or(DEFAULT_SIZE),
            "dataCenterId": volume.data_center_id,
        });
        let made =
            self.rest.ask(&what, Method::POST, "/v2/network-volumes", Some(&body), Repeat::Refused).await?;
        let made = read(&made).ok_or_else(|| malformed(&what, "the volume that was made has no ID"))?;
        Ok(RemoteVolume { is_new: true, ..made })
    }

    async fn by_id(&self, id: &str) -> Result<Option<RemoteVolume>, RunpodError> {
        let what = format!("look network volume `{id}` up");
        let path = format!("/v2/network-volumes/{}", urlencoding::encode(id));
        Ok(self.rest.find(&what, &path).await?.as_ref().and_then(read))
    }

    async fn list(&self) -> Result<Vec<RemoteVolume>, RunpodError> {
        let all = self.rest.all("list network volumes", "/v2/network-volumes", "networkVolumes").await?;
        Ok(all.iter().filter_map(read).collect())
    }
}

fn read(value: &Value) -> Option<RemoteVolume> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Some(RemoteVolume {
        id: text("id").filter(|id| !id.is_empty())?,
        name: text("name").unwrap_or_default(),
        size: value["size"].as_i64(),
        data_center_id: text("dataCenterId").unwrap_or_default(),
        is_new: false,
        warning: None,
    })
}
