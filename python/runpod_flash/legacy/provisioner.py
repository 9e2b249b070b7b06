"""``create_resource_from_manifest``: the resource that an entry of a manifest describes."""

from typing import Any

from .. import _official
from . import balanced, live, serverless

_CLASSES: dict[str, Any] = {
    "ServerlessResource": serverless.ServerlessResource,
    "LiveServerless": live.LiveServerless,
    "CpuLiveServerless": live.CpuLiveServerless,
    "LoadBalancerSlsResource": balanced.LoadBalancerSlsResource,
    "LiveLoadBalancer": live.LiveLoadBalancer,
    "CpuLiveLoadBalancer": live.CpuLiveLoadBalancer,
}

#: Entries of a manifest that are fields of the resource under the same name.
_FIELDS = (
    "imageName",
    "templateId",
    "template",
    "gpuIds",
    "gpuCount",
    "instanceIds",
    "workersMin",
    "workersMax",
    "idleTimeout",
    "executionTimeoutMs",
    "flashboot",
    "scalerType",
    "scalerValue",
    "minCudaVersion",
    "locations",
    "datacenter",
    "networkVolume",
    "networkVolumes",
)


def create_resource_from_manifest(
    resource_name: str,
    resource_data: dict[str, Any],
    flash_environment_id: str | None = None,
    python_version: str | None = None,
    flash_app_name: str | None = None,
    flash_env_name: str | None = None,
) -> Any:
    """Return the resource of a manifest's entry, with the variables that its workers need."""
    kind = resource_data.get("resource_type", "ServerlessResource")
    if kind not in _CLASSES:
        raise ValueError(f"Unsupported resource type for auto-provisioning: {kind}")
    variables: dict[str, str] = {**(resource_data.get("env") or {}), "FLASH_RESOURCE_NAME": resource_name}
    if resource_data.get("is_load_balanced"):
        variables["FLASH_ENDPOINT_TYPE"] = "lb"
        for entry, variable in (
            ("main_file", "FLASH_MAIN_FILE"),
            ("app_variable", "FLASH_APP_VARIABLE"),
            ("module_path", "FLASH_MODULE_PATH"),
        ):
            if resource_data.get(entry):
                variables[variable] = resource_data[entry]
    place = {"FLASH_APP": flash_app_name, "FLASH_ENV": flash_env_name}
    variables.update({variable: value for variable, value in place.items() if value})
    if resource_data.get("makes_remote_calls"):
        from .credentials import get_api_key

        key = get_api_key()
        if key:
            variables["RUNPOD_API_KEY"] = key
        if flash_environment_id:
            variables["FLASH_ENVIRONMENT_ID"] = flash_environment_id
    fields = {name: resource_data[name] for name in _FIELDS if resource_data.get(name) is not None}
    return _CLASSES[kind](
        name=resource_name,
        env=variables,
        flashEnvironmentId=flash_environment_id,
        python_version=python_version,
        **fields,
    )


_official.adopt("legacy.provisioner")
