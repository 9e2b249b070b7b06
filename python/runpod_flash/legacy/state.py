"""``.flash/resources.json``: reading it, and the two changes that programs make by hand.

The core writes it in the same way: under a lock on ``.flash/locks/resources.lock``, by renaming.
"""

import contextlib
import datetime
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from . import balanced, live, serverless, urls
from .base import DeployableResource

_VERSION = 1
_CLASSES: dict[str, Any] = {
    name: value
    for module in (serverless, balanced, live)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, serverless.ServerlessResource)
}


def load() -> dict[str, DeployableResource]:
    """Return the endpoints that are tracked, by their keys."""
    found: dict[str, DeployableResource] = {}
    for entry in _read().get("endpoints", ()):
        resource = _resource(entry)
        if resource is not None:
            found[resource.get_resource_key()] = resource
    return found


def remember(resource: DeployableResource) -> None:
    """Track an endpoint; it stays when a run ends."""
    if not isinstance(resource, serverless.ServerlessResource):
        return
    entry = {
        "class": type(resource).__name__,
        "name": resource.name,
        "api": urls.RUNPOD_API_URL,
        "id": resource.id,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "is_temporary": False,
    }
    with _changed() as content:
        entries = content["endpoints"]
        entries[:] = [other for other in entries if not _is_same(other, resource)]
        entries.append(entry)


def forget(resource: DeployableResource) -> None:
    """Track an endpoint no longer."""
    if not _file().exists():
        return
    with _changed() as content:
        entries = content["endpoints"]
        entries[:] = [other for other in entries if not _is_same(other, resource)]


def _is_same(entry: dict[str, Any], resource: DeployableResource) -> bool:
    name = getattr(resource, "name", None)
    return (entry.get("class"), entry.get("name")) == (type(resource).__name__, name)


def _resource(entry: dict[str, Any]) -> DeployableResource | None:
    cls = _CLASSES.get(entry.get("class", ""))
    if cls is None:
        return None
    fields = {name: value for name, value in (entry.get("config") or {}).items() if name in cls.model_fields}
    # Values of variables are digests there, and belong to no template.
    template = fields.pop("template", None) or {}
    made: DeployableResource = cls(**{**fields, "imageName": template.get("imageName") or "-", "name": entry["name"]})
    made.id = entry.get("id")
    made.__dict__["name"] = entry["name"]
    return made


def _file() -> Path:
    return Path.cwd() / ".flash" / "resources.json"


def _read() -> dict[str, Any]:
    file = _file()
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigurationError(f"cannot read `{file}`: {error}", hint="mend it or move it away") from None
    if content.get("version", 0) > _VERSION:
        raise ConfigurationError(
            f"`{file}` has version {content['version']}; this program knows {_VERSION}",
            hint="a newer runpod_flash wrote it: install that one, or work in another folder",
        )
    return content


@contextlib.contextmanager
def _changed() -> Iterator[dict[str, Any]]:
    import fcntl

    file = _file()
    locks = file.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    ignore = file.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    with open(os.open(locks / "resources.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = _read() or {
            "version": _VERSION,
            "about": "endpoints on Runpod that were made from this folder; written by flash",
            "salt": secrets.token_hex(16),
            "endpoints": [],
        }
        yield content
        descriptor, name = tempfile.mkstemp(prefix=".write-", dir=file.parent)
        with open(descriptor, "w", encoding="utf-8") as written:
            json.dump(content, written, indent=2)
            written.write("\n")
        os.replace(name, file)
