"""Starts a worker process: ``python <package>/worker/bootstrap.py``.

Runs before anything of ours can be imported. The user's environment always wins; the packages
that the worker itself needs are served from the supervisor's paths only where it has none.
Processes that user code spawns run this file again as ``__mp_main__``, and get the same finder.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

HERE = os.path.dirname(os.path.abspath(__file__))

#: Top-level packages of our own runtime; nothing else is taken from the supervisor's paths.
RUNTIME_PACKAGES = frozenset(
    {
        "annotated_doc",
        "annotated_types",
        "anyio",
        "cloudpickle",
        "exceptiongroup",
        "fastapi",
        "idna",
        "multipart",
        "pydantic",
        "pydantic_core",
        "python_multipart",
        "sniffio",
        "starlette",
        "typing_extensions",
        "typing_inspection",
    }
)


class RuntimeFinder:
    """Finds the packages of our own runtime when nothing before it does."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where ``name`` is; submodules are found through their package."""
        if path is None and name in RUNTIME_PACKAGES:
            return PathFinder.find_spec(name, self.paths)
        return None


def prepare() -> None:
    """Set up ``sys.path`` and the finder, and import our own package, whatever else has its name."""
    if sys.path and os.path.abspath(sys.path[0]) == HERE:
        # The folder of this file: its `http.py` must not hide the standard library's.
        del sys.path[0]
    paths = [path for path in os.environ.get("FLASH_RUNTIME_PATHS", "").split(os.pathsep) if path]
    if not any(isinstance(finder, RuntimeFinder) for finder in sys.meta_path):
        sys.meta_path.append(RuntimeFinder(paths))
    if "runpod_flash" not in sys.modules:
        parent = os.path.dirname(os.path.dirname(HERE))
        sys.path.insert(0, parent)
        try:
            import runpod_flash  # noqa: F401
        finally:
            sys.path.remove(parent)


prepare()

if __name__ == "__main__":
    from runpod_flash.worker import main

    sys.exit(main.run(int(os.environ.pop("FLASH_WORKER_FD"))))
