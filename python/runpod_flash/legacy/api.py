"""``RunpodGraphQLClient`` and ``RunpodRestClient``: the management API by 1.21's method names."""

from typing import Any

from .. import _official
from . import cloud


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

    async def create_flash_app(self, input_data: dict[str, Any]) -> Any:
        """Make an app: ``name``."""
        return await cloud.manage("createFlashApp", input_data)

    async def create_flash_environment(self, input_data: dict[str, Any]) -> Any:
        """Make an environment: ``flashAppId``, ``name``."""
        return await cloud.manage("createFlashEnvironment", input_data)

    async def delete_endpoint(self, endpoint_id: str) -> Any:
        """Remove an endpoint."""
        return await cloud.manage("deleteEndpoint", {"id": endpoint_id})

    async def delete_flash_app(self, app_id: str) -> Any:
        """Remove an app."""
        return await cloud.manage("deleteFlashApp", {"flashAppId": app_id})

    async def delete_flash_environment(self, environment_id: str) -> Any:
        """Remove an environment."""
        return await cloud.manage("deleteFlashEnvironment", {"flashEnvironmentId": environment_id})

    async def deploy_build_to_environment(self, input_data: dict[str, Any]) -> Any:
        """Let an environment run a build: ``flashEnvironmentId``, ``flashBuildId``."""
        return await cloud.manage("deployBuildToEnvironment", input_data)

    async def endpoint_exists(self, endpoint_id: str) -> Any:
        """Return whether there is an endpoint of this ID."""
        return await cloud.manage("endpointExists", {"id": endpoint_id})

    async def finalize_artifact_upload(self, input_data: dict[str, Any]) -> Any:
        """Make what was uploaded a build: ``flashAppId``, ``objectKey``, ``manifest``."""
        return await cloud.manage("finalizeFlashArtifactUpload", input_data)

    async def get_flash_app(self, input_data: dict[str, Any]) -> Any:
        """Return an app: ``flashAppId``."""
        return await cloud.manage("getFlashApp", input_data)

    async def get_flash_app_by_name(self, app_name: str) -> Any:
        """Return the app of a name."""
        return await cloud.manage("getFlashAppByName", {"flashAppName": app_name})

    async def get_flash_build(self, build_id: str) -> Any:
        """Return a build with its manifest."""
        return await cloud.manage("getFlashBuild", {"flashBuildId": build_id})

    async def get_flash_environment(self, input_data: dict[str, Any]) -> Any:
        """Return an environment: ``flashEnvironmentId``."""
        return await cloud.manage("getFlashEnvironment", input_data)

    async def get_flash_environment_by_name(self, input_data: dict[str, Any]) -> Any:
        """Return an environment: ``flashAppId``, ``name``."""
        return await cloud.manage("getFlashEnvironmentByName", input_data)

    async def list_flash_builds_by_app_id(self, app_id: str) -> Any:
        """Return the builds of an app."""
        return await cloud.manage("listFlashBuilds", {"flashAppId": app_id})

    async def list_flash_environments_by_app_id(self, app_id: str) -> Any:
        """Return the environments of an app."""
        return await cloud.manage("listFlashEnvironments", {"flashAppId": app_id})

    async def prepare_artifact_upload(self, input_data: dict[str, Any]) -> Any:
        """Return where to upload a build to: ``flashAppId``, ``tarballSize``."""
        return await cloud.manage("prepareFlashArtifactUpload", input_data)

    async def save_endpoint(self, input_data: dict[str, Any]) -> Any:
        """Make an endpoint, or change the one whose ``id`` is given."""
        fields = dict(input_data)
        endpoint = fields.pop("id", None)
        if endpoint is None:
            return await cloud.manage("createEndpoint", fields)
        changed = {"id": endpoint, "templateId": fields.get("templateId"), "input": fields}
        return await cloud.manage("updateEndpoint", changed)

    async def list_flash_apps(self) -> Any:
        """Return all apps of the account."""
        return await cloud.manage("getFlashApps")

    async def update_build_manifest(self, build_id: str, manifest: dict[str, Any]) -> None:
        """Replace the manifest of a build."""
        await cloud.manage("updateFlashBuildManifest", {"flashBuildId": build_id, "manifest": manifest})


class RunpodRestClient(_Client):
    """Network volumes."""

    async def create_network_volume(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Make a volume, or find the one of this name and data center."""
        return {**payload, "id": str(await cloud.manage("ensureNetworkVolume", payload))}

    async def list_network_volumes(self) -> list[dict[str, Any]]:
        """Return all volumes of the account."""
        return await cloud.volumes()


_official.adopt("legacy.api")
