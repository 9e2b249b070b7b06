//! Input objects as changes of the model.

use serde_json::Value;

use super::error::QueryError;
use crate::platform::management::endpoints::EndpointChange;
use crate::platform::management::fields::Fields;
use crate::platform::management::model::EndpointType;
use crate::platform::management::rest_v2::{flash_boot, scaler_type};
use crate::platform::management::templates::TemplateChange;

/// `EndpointInput`.
pub(super) fn endpoint(input: &Value) -> Result<EndpointChange, QueryError> {
    let fields = Fields::of(input)?;
    let template = fields.get("template").map(template).transpose()?;
    Ok(EndpointChange {
        name: fields.text("name")?,
        kind: fields.read("type", "QB or LB", |value| match value.as_str()? {
            "QB" => Some(EndpointType::Queue),
            _ => Some(EndpointType::LoadBalanced),
        })?,
        template_id: fields.text("templateId")?,
        template,
        gpu_ids: fields.text("gpuIds")?,
        gpu_count: fields.count("gpuCount")?,
        instance_ids: fields.texts("instanceIds")?,
        volume_ids: volume_ids(&fields)?,
        locations: fields.text("locations")?,
        idle_timeout: fields.count("idleTimeout")?,
        scaler_type: fields.read("scalerType", "QUEUE_DELAY or REQUEST_COUNT", scaler_type)?,
        scaler_value: fields.number("scalerValue")?,
        workers_min: fields.count("workersMin")?,
        workers_max: fields.count("workersMax")?,
        workers_pfb_target: fields.count("workersPFBTarget")?,
        execution_timeout_ms: fields.milliseconds("executionTimeoutMs")?,
        allowed_cuda_versions: fields.text("allowedCudaVersions")?,
        min_cuda_version: fields.text("minCudaVersion")?,
        flash_boot: fields.read("flashBootType", "FLASHBOOT", flash_boot)?,
        environment_id: fields.text("flashEnvironmentId")?,
        model_references: fields.texts("modelReferences")?,
        command: None,
        directory: None,
    })
}

/// One volume by its ID, or several.
fn volume_ids(fields: &Fields<'_>) -> Result<Option<Vec<String>>, QueryError> {
    let several = fields.read("networkVolumeIds", "a list of network volumes", |value| {
        let id = |item: &Value| item.get("networkVolumeId")?.as_str().map(str::to_owned);
        value.as_array()?.iter().map(id).collect::<Option<Vec<_>>>()
    })?;
    let single = fields.text("networkVolumeId")?.map(|id| vec![id]);
    Ok(several.filter(|ids| !ids.is_empty()).or(single))
}

/// `SaveTemplateInput`.
pub(super) fn template(input: &Value) -> Result<TemplateChange, QueryError> {
    let fields = Fields::of(input)?;
    Ok(TemplateChange {
        name: fields.text("name")?,
        image: fields.text("imageName")?,
        docker_args: fields.text("dockerArgs")?,
        container_disk_gb: fields.count("containerDiskInGb")?,
        volume_gb: fields.count("volumeInGb")?,
        volume_mount_path: fields.text("volumeMountPath")?,
        ports: fields.text("ports")?,
        env: fields.variables("env")?,
        start_script: fields.text("startScript")?,
        readme: fields.text("readme")?,
        registry_id: fields.text("containerRegistryAuthId")?,
        is_serverless: fields.flag("isServerless")?,
        is_public: fields.flag("isPublic")?,
    })
}
