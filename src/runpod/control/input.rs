//! What an endpoint is to Runpod, in the words of GraphQL's `EndpointInput` (`wire.md` 5.3).

use serde::{Deserialize, Serialize};

/// An endpoint as it is to be.
///
/// Reads and writes the JSON that 1.21 sends as `saveEndpoint`'s input; fields that are `None` are
/// left out.
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
    /// Volumes to find or make first; never sent as they are.
    #[serde(skip)]
    pub volumes: Vec<VolumeInput>,
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
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// A variable of a worker's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// A network volume to find or make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

/// An endpoint as Runpod has it.
#[derive(Debug, Clone, PartialEq, Default)]
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
}
