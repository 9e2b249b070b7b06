"""Finds what an endpoint of a deployed app serves: the unpacked build and its manifest (``wire.md`` 6)."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from . import loader

#: In an environment that was made for this endpoint; the host's has none.
OWN_ENVIRONMENT = "flash-environment.json"


def load(program: loader.Program, source: dict[str, Any]) -> None:
    """Import the modules of a resource, and note its functions, classes and routes."""
    root = source["root"]
    with open(os.path.join(root, "flash_manifest.json"), encoding="utf-8") as stream:
        manifest = json.load(stream)
    resource = manifest["resources"][source["resource"]]
    add_to_path(root)
    for function in resource.get("functions") or []:
        module = loader.load_module(function["module"], file_of(root, function["module"]))
        value = loader.named(module, function["name"])
        method, path = function.get("http_method"), function.get("http_path")
        if method and path:
            program.routes.append((method, path, value))
        else:
            program.callables[function["name"]] = value


def add_to_path(root: str) -> None:
    """Let the build's own modules and packages come first, where they were made for this Python.

    What of it was compiled for another one is in this worker's own environment, which then comes first.
    """
    if os.path.exists(os.path.join(sys.prefix, OWN_ENVIRONMENT)):
        sys.path.append(root)
    else:
        sys.path.insert(0, root)
    importlib.invalidate_caches()


def file_of(root: str, module: str) -> str:
    """Return the file of a module of the build."""
    stem = os.path.join(root, *module.split("."))
    package = os.path.join(stem, "__init__.py")
    return package if os.path.exists(package) else stem + ".py"
