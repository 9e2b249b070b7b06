"""What makes two resources one, and which change of a resource is a change on Runpod."""

import json
from typing import TYPE_CHECKING, Any

from .base import digest

if TYPE_CHECKING:
    from .serverless import ServerlessResource

#: Fields of ``resource_id``.
HASHED_FIELDS: set[str] = {
    "allowedCudaVersions",
    "datacenter",
    "env",
    "executionTimeoutMs",
    "gpuCount",
    "gpuIds",
    "locations",
    "minCudaVersion",
    "name",
    "networkVolumeId",
    "networkVolumes",
    "python_version",
    "scalerType",
    "scalerValue",
    "type",
    "workersMax",
    "workersMin",
    "workersPFBTarget",
}

#: Fields that Runpod sets, or that are made of others.
RUNTIME_FIELDS: set[str] = {
    "activeBuildid",
    "aiKey",
    "computeType",
    "createdAt",
    "flashBootType",
    "hubRelease",
    "repo",
    "template",
    "templateId",
    "userId",
}

#: What of a template is made of the endpoint's own fields.
_DERIVED = {"id", "name", "imageName", "env"}


def config_hash(resource: "ServerlessResource") -> str:
    """Return the digest of all that an update of the endpoint would change.

    As in 1.21, where that had it right; CPU endpoints have all their fields in it, too, and a
    template what it sets beyond the defaults.
    """
    excluded = resource.RUNTIME_FIELDS | resource.EXCLUDED_HASH_FIELDS
    fields: dict[str, Any] = resource.model_dump(exclude=excluded, exclude_none=True, mode="json")
    fields.pop("networkVolumeId", None)
    if not fields.get("instanceIds"):
        fields.pop("instanceIds", None)
    for volume in [fields.get("networkVolume"), *(fields.get("networkVolumes") or ())]:
        if isinstance(volume, dict):
            volume.pop("id", None)
    if resource.template is not None:
        settings = resource.template.model_dump(exclude=_DERIVED, exclude_defaults=True, mode="json")
        if settings:
            fields["template"] = settings
    return digest(type(resource).__name__, json.dumps(fields, sort_keys=True))
