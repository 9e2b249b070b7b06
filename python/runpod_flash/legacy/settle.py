"""How the fields of a resource that depend on each other are brought in line."""

import os
from typing import TYPE_CHECKING, Any

from .. import CudaVersion, DataCenter, GpuGroup
from .constants import LIVE_PREFIX
from .template import KeyValuePair, PodTemplate

if TYPE_CHECKING:
    from collections.abc import Collection

    from .serverless import ServerlessResource

#: Fields that CPU endpoints do not send.
GPU_FIELDS: set[str] = {"allowedCudaVersions", "gpuCount", "gpuIds", "minCudaVersion"}

CPU_CLASS_HINT = (
    ". Consider using CpuServerlessEndpoint or CpuLiveServerless, whose disk follows the instances by itself"
)


def is_live() -> bool:
    """Return whether endpoints are made for one run."""
    return os.environ.get("FLASH_IS_LIVE_PROVISIONING", "").lower() == "true"


def data_centers(value: Any) -> list[DataCenter] | None:
    """Return a data center, its value in any spelling, or a list of both, as a list."""
    if value is None:
        return None
    if isinstance(value, (str, DataCenter)):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"Invalid datacenter value: {value!r}")
    found = []
    for item in value:
        if isinstance(item, DataCenter):
            found.append(item)
        elif isinstance(item, str):
            found.append(DataCenter.from_string(item))
        else:
            raise ValueError(f"Invalid datacenter value: {item!r}")
    return found


def volumes(resource: "ServerlessResource") -> None:
    """Merge the one volume and the list; a data center has one at most."""
    found = list(resource.networkVolumes or ())
    if resource.networkVolume is not None and resource.networkVolume not in found:
        found.append(resource.networkVolume)
    names: dict[str, Any] = {}
    for volume in found:
        center = volume.dataCenterId.value
        if center in names:
            raise ValueError(
                f"Multiple volumes in datacenter {center} ('{names[center]}' and '{volume.name}'). "
                "Only one network volume is allowed per datacenter."
            )
        names[center] = volume.name
    if found:
        resource.networkVolumes = found
        resource.networkVolume = found[0]
        if isinstance(resource.datacenter, list) and resource.datacenter:
            allowed = [center.value for center in resource.datacenter]
            for center in names:
                if center not in allowed:
                    raise ValueError(
                        f"Network volume datacenter ({center}) is not in the endpoint's datacenter list "
                        f"({', '.join(allowed)})"
                    )


def name(resource: "ServerlessResource") -> None:
    """Give a live endpoint its prefix; FlashBoot's old suffix goes where FlashBoot is on."""
    found = resource.name
    if is_live():
        while found.startswith(LIVE_PREFIX):
            found = found[len(LIVE_PREFIX) :]
        found = LIVE_PREFIX + found
    if resource.flashboot:
        while found.endswith("-fb"):
            found = found[: -len("-fb")]
        resource.flashBootType = "FLASHBOOT"
    if found != resource.name:
        resource.name = found


def locations(resource: "ServerlessResource") -> None:
    """Say where workers may run: by the environment's word, else as given."""
    override = os.environ.get("RUNPOD_DEFAULT_LOCATIONS")
    if override:
        resource.locations = override
    elif not resource.locations and isinstance(resource.datacenter, list) and resource.datacenter:
        resource.locations = ",".join(center.value for center in resource.datacenter)
    elif not resource.locations:
        default = os.environ.get("RUNPOD_DEFAULT_DATACENTER")
        if default:
            try:
                resource.locations = DataCenter.from_string(default).value
            except ValueError:  # One that this release does not know.
                resource.locations = default


def gpus(resource: "ServerlessResource") -> None:
    """Make the GPU choices and their text say the same, and the CUDA versions theirs."""
    given = resource.model_fields_set
    if resource.gpuIds:
        resource.gpuIds = GpuGroup.normalize_gpu_ids_str(resource.gpuIds)
        if "gpus" not in given or not resource.gpus:
            resource.gpus = GpuGroup.from_gpu_ids_str(resource.gpuIds)
    elif resource.gpus:
        resource.gpuIds = GpuGroup.to_gpu_ids_str(resource.gpus)
    if resource.cudaVersions:
        resource.allowedCudaVersions = ",".join(version.value for version in resource.cudaVersions)
    elif resource.allowedCudaVersions:
        texts = [text.strip() for text in resource.allowedCudaVersions.split(",")]
        resource.cudaVersions = [CudaVersion(text) for text in texts if text]


def no_gpu(resource: "ServerlessResource") -> None:
    """Empty what is about GPUs."""
    resource.gpuCount = 0
    resource.allowedCudaVersions = ""
    resource.minCudaVersion = None
    resource.gpuIds = ""


def cpu_data_centers(centers: list[DataCenter], allowed: "Collection[DataCenter]") -> None:
    """Refuse data centers that have no CPUs."""
    wrong = [center.value for center in centers if center not in allowed]
    if wrong:
        supported = ", ".join(sorted(center.value for center in allowed))
        raise ValueError(
            f"CPU endpoints are not available in: {', '.join(wrong)}. Supported CPU data centers: {supported}"
        )


def template(resource: "ServerlessResource") -> None:
    """Give an endpoint the template that Runpod needs: a new one, or a copy of the user's."""
    if not (resource.imageName or resource.template or resource.templateId):
        raise ValueError("Either imageName, template, or templateId must be provided")
    variables = KeyValuePair.from_dict(resource.env or {})
    resource._own_template = resource.template
    if resource.template is None:
        if resource.templateId:
            return
        made = PodTemplate(name=resource.resource_id, imageName=resource.imageName, env=variables)
    else:
        # Not the user's object: another endpoint may have it, too.
        made = resource.template.model_copy(deep=True)
    digest = made.resource_id
    if resource.template is not None:
        if resource.imageName:
            made.imageName = resource.imageName
        if resource.env or (resource.env is not None and "env" not in made.model_fields_set):
            made.env = variables
    if f"__{type(made).__name__}_" not in (made.name or ""):
        made.name = f"{resource.resource_id}__{digest}"
    resource.template = made
