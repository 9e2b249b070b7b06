//! What an endpoint is to Runpod, in the words of GraphQL's `EndpointInput` (`wire.md` 5.3).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::runpod::credentials::ApiKey;

/// Variable that carries the account's key to a worker.
pub(super) const API_KEY: &str = "RUNPOD_API_KEY";

/// An endpoint as it is to be.
///
/// Reads and writes the JSON that 1.21 sends as `saveEndpoint`'s input, with two fields of our own
/// that are never sent; fields that are `None` are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names are Runpod's own, described in platform.md 5.1")]
pub struct EndpointInput {
    pub name: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_ids: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers_min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers_max: Option<i64>,
    #[serde(rename = "workersPFBTarget", skip_serializing_if = "Option::is_none")]
    pub workers_pfb_target: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_timeout_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaler_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaler_value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_boot_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locations: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cuda_versions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_cuda_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_volume_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_volume_ids: Option<Vec<VolumeId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_environment_id: Option<String>,
    /// Volumes to find or make first; their IDs are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeInput>,
    /// Whether its code calls other endpoints, and so needs the account's key on the worker.
    ///
    /// The key is put into the template when it is sent, and is in no input, state or log. 1.21
    /// gives it to every endpoint; nobody else who can read a template should have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_key: bool,
}

impl EndpointInput {
    /// Returns the variables, those of the template.
    pub fn env(&self) -> &[EnvironmentVariable] {
        self.template.as_ref().map_or(&[], |template| &template.env)
    }

    /// Returns the template with the key where it is needed and not named already.
    pub(super) fn template_to_wire(&self, key: Option<&ApiKey>) -> Option<TemplateInput> {
        let mut template = self.template.clone()?;
        if let (true, Some(key)) = (self.needs_key, key)
            && !template.env.iter().any(|variable| variable.key == API_KEY)
        {
            let variable = EnvironmentVariable { key: API_KEY.to_owned(), value: key.reveal().to_owned() };
            template.env.push(variable);
        }
        Some(template)
    }

    /// Returns what `saveEndpoint` is sent; volumes are IDs by then.
    pub(super) fn to_wire(&self, key: Option<&ApiKey>) -> Result<Value, serde_json::Error> {
        let input = Self {
            template: self.template_to_wire(key),
            volumes: Vec::new(),
            needs_key: false,
            ..self.clone()
        };
        serde_json::to_value(input)
    }
}

/// One entry of `networkVolumeIds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeId {
    /// Volume ID.
    pub network_volume_id: String,
}

/// The container of an endpoint's workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names are Runpod's own, described in platform.md 5.1")]
pub struct TemplateInput {
    pub name: String,
    pub image_name: String,
    pub container_disk_in_gb: i64,
    pub docker_args: String,
    pub env: Vec<EnvironmentVariable>,
    pub ports: String,
    pub start_script: String,
    pub container_registry_auth_id: String,
    pub advanced_start: bool,
    pub config: serde_json::Map<String, Value>,
}

/// A variable of a worker's environment. Its `Debug` form hides the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

impl fmt::Debug for EnvironmentVariable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=…", self.key)
    }
}

/// A network volume to find or make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeInput {
    /// ID of one that exists; then the rest is not looked at.
    pub id: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Size in GB, for a new one.
    pub size: Option<i64>,
    /// Data center value.
    pub data_center_id: String,
}

/// An endpoint as Runpod has it. Its `Debug` form hides the key.
#[derive(Clone, PartialEq, Default)]
pub struct RemoteEndpoint {
    /// ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Its template's ID.
    pub template_id: Option<String>,
    /// Key that opens this endpoint alone (`aiKey`). A secret.
    pub key: Option<String>,
    /// `QB` or `LB`.
    pub kind: Option<String>,
    /// Fewest workers.
    pub workers_min: Option<i64>,
    /// Most workers.
    pub workers_max: Option<i64>,
    /// What people should know of how it was made; empty where nothing was.
    pub warnings: Vec<String>,
}

impl fmt::Debug for RemoteEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteEndpoint")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A network volume as Runpod has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteVolume {
    /// ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Size in GB.
    pub size: Option<i64>,
    /// Data center.
    pub data_center_id: String,
    /// Whether it was made just now.
    #[serde(skip)]
    pub is_new: bool,
    /// What people should know: that it is of another size, for one.
    #[serde(skip)]
    pub warning: Option<String>,
}
