"""``RunpodGraphQLClient`` and ``RunpodRestClient``: the management API by 1.21's method names."""

from collections.abc import Callable, Coroutine
from typing import Any

from .. import _official
from . import cloud

_Method = Callable[..., Coroutine[Any, Any, Any]]


def _whole(operation: str) -> _Method:
    async def call(self: Any, input_data: dict[str, Any]) -> Any:
        return await cloud.manage(operation, **input_data)

    call.__doc__ = f"Do ``{operation}`` with these fields."
    return call


def _one(operation: str, argument: str, parameter: str) -> _Method:
    async def call(self: Any, value: str) -> Any:
        return await cloud.manage(operation, **{argument: value})

    call.__doc__ = f"Do ``{operation}`` for ``{parameter}``."
    return call


class _Client:
    def __init__(self, api_key: str | None = None) -> None:
        self.api_key = api_key

    async def close(self) -> None:
        """Do nothing: connections are the core's."""

    async def __aenter__(self) -> "_Client":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


class RunpodGraphQLClient(_Client):
    """Apps, environments, builds and endpoints, by the operations of Runpod's GraphQL API.

    The key is that of the process; ``api_key`` is there for code that passes it.
    """

    def __init__(self, api_key: str | None = None, require_api_key: bool = True) -> None:
        super().__init__(api_key)
        if require_api_key and not api_key:
            from .credentials import validate_api_key

            validate_api_key()

    create_flash_app = _whole("createFlashApp")
    create_flash_environment = _whole("createFlashEnvironment")
    delete_endpoint = _one("deleteEndpoint", "id", "endpoint_id")
    delete_flash_app = _one("deleteFlashApp", "flashAppId", "app_id")
    delete_flash_environment = _one("deleteFlashEnvironment", "flashEnvironmentId", "environment_id")
    deploy_build_to_environment = _whole("deployBuildToEnvironment")
    endpoint_exists = _one("endpointExists", "id", "endpoint_id")
    finalize_artifact_upload = _whole("FinalizeArtifactUpload")
    get_flash_app_by_name = _one("getFlashAppByName", "flashAppName", "app_name")
    get_flash_build = _one("getFlashBuild", "flashBuildId", "build_id")
    get_flash_environment = _whole("getFlashEnvironment")
    get_flash_environment_by_name = _whole("getFlashEnvironmentByName")
    list_flash_builds_by_app_id = _one("listFlashBuilds", "flashAppId", "app_id")
    list_flash_environments_by_app_id = _one("listFlashEnvironments", "flashAppId", "app_id")
    prepare_artifact_upload = _whole("PrepareArtifactUpload")

    async def list_flash_apps(self) -> Any:
        """Return all apps of the account."""
        return await cloud.manage("getFlashApps")

    async def update_build_manifest(self, build_id: str, manifest: dict[str, Any]) -> None:
        """Replace the manifest of a build."""
        await cloud.manage("updateFlashBuildManifest", flashBuildId=build_id, manifest=manifest)


class RunpodRestClient(_Client):
    """Network volumes."""

    async def create_network_volume(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Make a volume, or find the one of this name and data center."""
        return {**payload, "id": str(await cloud.manage("ensureNetworkVolume", **payload))}

    async def list_network_volumes(self) -> list[dict[str, Any]]:
        """Return all volumes of the account."""
        return await cloud.volumes()


_official.adopt("legacy.api")
