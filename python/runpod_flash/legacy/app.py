"""``FlashApp``: an app on Runpod, its environments and builds."""

import asyncio
import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from .. import _official
from ..errors import FlashAppError, FlashAppNotFoundError, FlashEnvironmentNotFoundError
from . import cloud, constants

__all__ = ["FlashApp", "FlashAppError", "FlashAppNotFoundError", "FlashEnvironmentNotFoundError"]


class FlashApp:
    """An app on Runpod; found by its name, and made where it is missing, at the first use."""

    #: Called with the number of bytes of each piece that was uploaded.
    _upload_progress_callback: ClassVar[Callable[[int], None] | None] = None

    def __init__(self, name: str, id: str | None = "", eager_hydrate: bool = False) -> None:
        self.name = name
        self.id = id
        self.resources: dict[str, Any] = {}
        self._hydrated = False
        if eager_hydrate:
            asyncio.run(self._hydrate())

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the decorator ``remote`` does, and keep the resource."""
        from .base import DeployableResource
        from .remote import remote

        resource = args[0] if args else kwargs.get("resource_config")
        if isinstance(resource, DeployableResource):
            self.resources[getattr(resource, "name", None) or resource.resource_id] = resource
        return remote(*args, **{"_internal": True, **kwargs})

    async def _hydrate(self) -> None:
        if self._hydrated:
            return
        found = await _find(self.name) or await cloud.manage("createFlashApp", {"name": self.name})
        if self.id and self.id != found["id"]:
            raise ValueError("provided id for app class does not match existing app resource.")
        self.id = found["id"]
        self._hydrated = True

    async def create_environment(self, environment_name: str) -> dict[str, Any]:
        """Make an environment of this name."""
        await self._hydrate()
        return _fields(await cloud.manage("createFlashEnvironment", {"flashAppId": self.id, "name": environment_name}))

    async def deploy_build_to_environment(
        self, build_id: str, environment_id: str | None = "", environment_name: str | None = ""
    ) -> dict[str, Any]:
        """Let an environment, given by its ID or its name, run a build."""
        _exactly_one(environment_id, environment_name, "environment_id", "environment_name")
        await self._hydrate()
        if not environment_id:
            environment_id = (await self.get_environment_by_name(environment_name or ""))["id"]
        return _fields(
            await cloud.manage(
                "deployBuildToEnvironment", {"flashEnvironmentId": environment_id, "flashBuildId": build_id}
            )
        )

    async def upload_build(self, tar_path: str | Path) -> dict[str, Any]:
        """Upload a build with the manifest of the current folder, ``.flash/flash_manifest.json``."""
        path = Path(tar_path)
        _check_build(path)
        file = Path.cwd() / ".flash" / "flash_manifest.json"
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"Manifest not found at {file}. Run 'flash build' first.") from None
        except ValueError as error:
            raise ValueError(f"Invalid manifest JSON at {file}: {error}") from error
        await self._hydrate()
        fields = {"flashAppId": self.id, "path": str(path), "manifest": manifest}
        return _fields(await cloud.manage("uploadFlashBuild", fields, type(self)._upload_progress_callback))

    @classmethod
    async def from_name(cls, app_name: str) -> "FlashApp":
        """Return the app of a name; :class:`FlashAppNotFoundError` where there is none."""
        found = await _find(app_name)
        if found is None:
            raise FlashAppNotFoundError(app_name)
        return cls._of(found)

    @classmethod
    async def create(cls, app_name: str) -> "FlashApp":
        """Make an app."""
        return cls._of(await cloud.manage("createFlashApp", {"name": app_name}))

    @classmethod
    async def get_or_create(cls, app_name: str) -> "FlashApp":
        """Return the app of a name, made where it is missing."""
        found = await _find(app_name)
        return await cls.create(app_name) if found is None else cls._of(found)

    @classmethod
    async def create_environment_and_app(
        cls, app_name: str, environment_name: str
    ) -> "tuple[FlashApp, dict[str, Any]]":
        """Return an app, made where it is missing, and a new environment of it."""
        app = await cls.get_or_create(app_name)
        return app, await app.create_environment(environment_name)

    @classmethod
    async def list(cls) -> "builtins.list[dict[str, Any]]":
        """Return all apps of the account."""
        return _rows(await cloud.manage("getFlashApps"))

    @classmethod
    async def delete(cls, app_name: str | None = None, app_id: str | None = None) -> bool:
        """Remove an app, given by its name or its ID."""
        _exactly_one(app_name, app_id, "app_name", "app_id")
        if app_name:
            app_id = (await cls.from_name(app_name)).id
        await cloud.manage("deleteFlashApp", {"flashAppId": app_id})
        return True

    async def delete_environment(self, environment_name: str) -> bool:
        """Remove an environment."""
        environment = await self.get_environment_by_name(environment_name)
        await cloud.manage("deleteFlashEnvironment", {"flashEnvironmentId": environment["id"]})
        return True

    async def delete_endpoints(self) -> "tuple[builtins.list[dict[str, str]], builtins.list[dict[str, str]]]":
        """Remove the endpoints of all environments; return those that are gone and those that are not."""
        removed: list[dict[str, str]] = []
        failed: list[dict[str, str]] = []
        for environment in await self.list_environments():
            detail = await self.get_environment_by_name(environment["name"])
            for endpoint in detail.get("endpoints") or ():
                entry = {"id": endpoint["id"], "name": endpoint.get("name", ""), "env": environment["name"]}
                try:
                    await cloud.manage("deleteEndpoint", {"id": endpoint["id"]})
                    removed.append(entry)
                except Exception:
                    failed.append(entry)
        return removed, failed

    async def list_builds(self) -> "builtins.list[dict[str, Any]]":
        """Return the builds of this app."""
        await self._hydrate()
        return _rows(await cloud.manage("listFlashBuilds", {"flashAppId": self.id}))

    async def get_environment_by_name(self, environment_name: str) -> dict[str, Any]:
        """Return an environment; :class:`FlashEnvironmentNotFoundError` where there is none."""
        await self._hydrate()
        found = await cloud.manage("getFlashEnvironmentByName", {"flashAppId": self.id, "name": environment_name})
        if not found:
            raise FlashEnvironmentNotFoundError(f"Environment '{environment_name}' not found in app '{self.name}'")
        return _fields(found)

    async def list_environments(self) -> "builtins.list[dict[str, Any]]":
        """Return the environments of this app."""
        await self._hydrate()
        return _rows(await cloud.manage("listFlashEnvironments", {"flashAppId": self.id}))

    async def get_build_manifest(self, build_id: str) -> dict[str, Any]:
        """Return the manifest of a build."""
        return _fields((await cloud.manage("getFlashBuild", {"flashBuildId": build_id}))["manifest"])

    async def update_build_manifest(self, build_id: str, manifest: dict[str, Any]) -> None:
        """Replace the manifest of a build."""
        await cloud.manage("updateFlashBuildManifest", {"flashBuildId": build_id, "manifest": manifest})

    @classmethod
    def _of(cls, found: dict[str, Any]) -> "FlashApp":
        app = cls(found["name"], found["id"])
        app._hydrated = True
        return app


async def _find(name: str) -> dict[str, Any] | None:
    found = await cloud.manage("getFlashAppByName", {"flashAppName": name})
    return _fields(found) if found else None


def _fields(answer: Any) -> dict[str, Any]:
    return answer if isinstance(answer, dict) else {}


def _rows(answer: Any) -> list[dict[str, Any]]:
    return answer if isinstance(answer, list) else []


def _exactly_one(first: Any, second: Any, first_name: str, second_name: str) -> None:
    if bool(first) == bool(second):
        raise ValueError(f"Provide exactly one of {first_name} or {second_name}")


def _check_build(path: Path) -> None:
    """Refuse what is no build, before anything is asked of Runpod."""
    if not path.exists():
        raise FileNotFoundError(f"Tarball file not found: {path}")
    if not path.is_file():
        raise ValueError(f"Path is not a file: {path}")
    if not path.name.endswith(constants.VALID_TARBALL_EXTENSIONS):
        extensions = ", ".join(constants.VALID_TARBALL_EXTENSIONS)
        raise ValueError(f"Invalid file extension: {path.name}; expected one of {extensions}")
    with path.open("rb") as file:
        if file.read(2) != bytes(constants.GZIP_MAGIC_BYTES):
            raise ValueError(f"File is not a valid gzip file: {path}")
    size = path.stat().st_size / 1024**2
    if size > constants.MAX_TARBALL_SIZE_MB:
        raise ValueError(f"Tarball is {size:.1f} MB, over the {constants.MAX_TARBALL_SIZE_MB} MB that Runpod takes")


_official.adopt("legacy.app")
