"""Packages that a live call asks for: its supervisor makes an environment, this worker imports from it."""

from __future__ import annotations

import importlib
import os
import site
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

from .report import RefusedError, failure

if TYPE_CHECKING:
    from runpod_flash._core import WorkerLink

#: What the worker images bring beside our own runtime (`wire.md` D 7): shipped code counts on it,
#: calls of other endpoints above all.
BUNDLED = frozenset({"aiohttp", "httpx", "requests", "runpod"})


class Packages:
    """Environments that this worker imports from; the last one that was added comes first."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._known: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def require(self, dependencies: list[str]) -> None:
        """Make these importable; waits until they are installed. Not for the event loop."""
        key = tuple(sorted(set(dependencies)))
        with self._lock:
            if key in self._known:
                return
            try:
                python = self._link.environment(list(key))
            except OSError as error:
                raise RefusedError(failure("environment", "EnvironmentError", str(error))) from None
            if python:
                add(python)
            self._known.add(key)


class BundledFinder:
    """Finds what the official images bring when nothing else does: it is installed the first time."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._folders: dict[str, str | None] = {}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where ``name`` is; submodules are found through their package."""
        if path is not None or name not in BUNDLED:
            return None
        if name not in self._folders:
            self._folders[name] = None  # Not again, should it fail.
            try:
                python = self._link.environment([name])
            except OSError as error:
                print(f"flash: {name}, which Runpod's images bring, cannot be installed: {error}", file=sys.stderr)
                return None
            folder = self._folders[name] = packages_of(python)
            # What it needs itself.
            sys.path.append(folder)
        folder_or_none = self._folders[name]
        return PathFinder.find_spec(name, [folder_or_none]) if folder_or_none else None


def bring_bundled(link: WorkerLink) -> None:
    """Let code import what the official images bring."""
    sys.meta_path.append(BundledFinder(link))


def packages_of(python: str) -> str:
    """Return the folder of the packages of an environment."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.join(os.path.dirname(os.path.dirname(python)), "lib", version, "site-packages")


def add(python: str) -> None:
    """Put the packages of the environment that has this interpreter first on the search path."""
    scripts, folder = os.path.dirname(python), packages_of(python)
    before = list(sys.path)
    if folder in before:
        return
    site.addsitedir(folder)
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = [*added, *before]
    importlib.invalidate_caches()
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    loaded = loaded_from_elsewhere(folder)
    if loaded:
        print(f"flash: already loaded in this worker, and kept as they are: {', '.join(loaded)}", file=sys.stderr)


def loaded_from_elsewhere(folder: str) -> list[str]:
    """Return the packages of ``folder`` that this process has imported from another place."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or not file or file.startswith(folder + os.sep):
            continue
        if name not in sys.stdlib_module_names and PathFinder.find_spec(name, [folder]) is not None:
            found.append(name)
    return sorted(found)
