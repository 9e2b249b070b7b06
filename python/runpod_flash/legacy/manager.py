"""``ResourceManager``: the endpoints and volumes that this folder has on Runpod."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

from .. import _official
from . import state
from .base import DeployableResource

_making = threading.Lock()


class ResourceManager:
    """Knows what was made from this folder; there is one per process.

    What is tracked is in ``.flash/resources.json`` below the current folder, which all processes of
    the folder share.
    """

    _instance: "ResourceManager | None" = None
    _resources: dict[str, DeployableResource]
    _locks: dict[str, threading.Lock]

    def __new__(cls) -> "ResourceManager":
        """Return the one of this process."""
        with _making:
            if cls._instance is None:
                made = super().__new__(cls)
                made._resources = {}
                made._locks = {}
                cls._instance = made
            return cls._instance

    def list_all_resources(self) -> dict[str, DeployableResource]:
        """Return all resources by their keys, ``Class:name``."""
        return {**state.load(), **self._resources}

    def find_resources_by_name(self, name: str) -> list[tuple[str, DeployableResource]]:
        """Return the resources of a name, with their keys."""
        return [
            (key, found) for key, found in self.list_all_resources().items() if getattr(found, "name", None) == name
        ]

    def find_resources_by_provider_id(self, provider_id: str) -> list[tuple[str, DeployableResource]]:
        """Return the resources of an ID of Runpod's, with their keys."""
        return [(key, found) for key, found in self.list_all_resources().items() if found.id == provider_id]

    async def register_resource(self, resource: DeployableResource) -> str:
        """Track a resource; return its key."""
        key = resource.get_resource_key()
        self._resources[key] = resource
        state.remember(resource)
        return key

    async def get_or_deploy_resource(self, config: DeployableResource) -> DeployableResource:
        """Return a resource that Runpod has: found as it is, changed, or made."""
        key = config.get_resource_key()
        async with self.resource_lock(key):
            from . import cloud
            from .serverless import ServerlessResource

            if isinstance(config, ServerlessResource):
                config.id = await cloud.provision(config)
            else:
                await config.deploy()
            self._resources[key] = config
            return config

    @contextlib.asynccontextmanager
    async def resource_lock(self, uid: str) -> AsyncIterator[None]:
        """Keep others from changing a resource: tasks of this loop and of loops in other threads."""
        lock = self._locks.setdefault(uid, threading.Lock())
        # The lock may be held by another loop, so it is looked at rather than awaited.
        while not lock.acquire(blocking=False):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            lock.release()

    async def undeploy_resource(
        self, resource_id: str, resource_name: str | None = None, force_remove: bool = False
    ) -> dict[str, Any]:
        """Remove a resource from Runpod; ``force_remove`` forgets it even where that fails."""
        resource = self.list_all_resources().get(resource_id)
        if resource is None:
            for key, found in self.find_resources_by_provider_id(resource_id):
                resource_id, resource = key, found
        if resource is None:
            return _outcome(False, resource_name or "Unknown", "N/A", f"Resource {resource_id} not found in tracking")
        name = resource_name or getattr(resource, "name", None) or resource_id
        endpoint = resource.id or ""
        try:
            await _remove(resource)
        except Exception as error:
            if force_remove:
                self._forget(resource_id, resource)
            return _outcome(False, name, endpoint, f"Failed to undeploy '{name}': {error}")
        self._forget(resource_id, resource)
        return _outcome(True, name, endpoint, f"Successfully undeployed '{name}' ({endpoint})")

    def _forget(self, key: str, resource: DeployableResource) -> None:
        self._resources.pop(key, None)
        state.forget(resource)


async def _remove(resource: DeployableResource) -> None:
    from . import cloud
    from .volume import NetworkVolume

    if isinstance(resource, NetworkVolume):
        await resource.undeploy()
    elif resource.id:
        await cloud.manage("deleteEndpoint", {"id": resource.id})


def _outcome(success: bool, name: str, endpoint: str, message: str) -> dict[str, Any]:
    return {"success": success, "name": name, "endpoint_id": endpoint, "message": message}


_official.adopt("legacy.manager")
