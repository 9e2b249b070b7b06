"""Where the program runs, and the files and names that follow from it."""

import os
from pathlib import Path
from typing import NamedTuple

from .. import _official

DEFAULT_ENV = "production"


class FlashPaths(NamedTuple):
    """Files of a project's state."""

    flash_dir: Path
    config_file: Path
    deployments_file: Path
    logs_dir: Path

    def ensure_flash_dir(self) -> None:
        """Make the folder of the state."""
        self.flash_dir.mkdir(exist_ok=True)


def get_paths() -> FlashPaths:
    """Return the files of the project in the current folder."""
    folder = Path.cwd() / ".flash"
    return FlashPaths(folder, folder / "config.json", folder / "deployments.json", folder / "logs")


def is_deployed_container() -> bool:
    """Return whether this is a worker on Runpod."""
    return bool(os.environ.get("RUNPOD_ENDPOINT_ID") or os.environ.get("RUNPOD_POD_ID"))


def is_local_development() -> bool:
    """Return whether this is a program of a developer."""
    live = os.environ.get("FLASH_IS_LIVE_PROVISIONING", "").lower() == "true"
    return live or not is_deployed_container()


def get_flash_app() -> str | None:
    """Return what ``FLASH_APP`` says."""
    return os.environ.get("FLASH_APP") or None


def get_flash_context() -> tuple[str, str] | None:
    """Return app and environment that calls are for; ``None`` where endpoints are live."""
    if os.environ.get("FLASH_IS_LIVE_PROVISIONING", "").lower() == "true":
        return None
    return get_flash_app() or Path.cwd().name, os.environ.get("FLASH_ENV") or DEFAULT_ENV


_official.adopt("legacy.paths")
