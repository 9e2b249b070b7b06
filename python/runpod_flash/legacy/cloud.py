"""The core's management of Runpod, as the rest of this folder needs it."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import _core

if TYPE_CHECKING:
    from .serverless import ServerlessResource
    from .volume import NetworkVolume


async def manage(
    operation: str, arguments: dict[str, Any] | None = None, progress: Callable[[int], Any] | None = None
) -> Any:
    """Do an operation of Runpod's management API, by its name there, and return its answer."""
    return json.loads(await _core.manage(operation, json.dumps(arguments or {}), progress))


def volume_input(volume: "NetworkVolume") -> dict[str, Any]:
    """Return a volume to find or make, as the core takes it."""
    return volume.model_dump(mode="json")


def endpoint_input(resource: "ServerlessResource") -> dict[str, Any]:
    """Return an endpoint to find, change or make, as the core takes it."""
    volumes = [volume_input(volume) for volume in resource.networkVolumes or ()]
    return {**resource.payload(), "volumes": volumes}


async def provision(resource: "ServerlessResource", *, needs_key: bool = False) -> str:
    """Find, change or make an endpoint, once; return its ID.

    ``needs_key`` gives its workers the account's key: their code calls other endpoints.
    """
    fields = endpoint_input(resource)
    if needs_key:
        fields["needsKey"] = True
    found: tuple[str, bool] = await _core.provision(json.dumps(fields))
    return found[0]


async def volumes() -> list[dict[str, Any]]:
    """Return all volumes of the account."""
    found: list[dict[str, Any]] = await manage("listNetworkVolumes")
    return found


async def ensure_volume(volume: "NetworkVolume") -> str:
    """Return the ID of a volume, which is made where it is missing."""
    return str(await manage("ensureNetworkVolume", volume_input(volume)))
