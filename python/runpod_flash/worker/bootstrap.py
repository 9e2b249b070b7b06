"""Starts a worker process: ``python <package>/worker/bootstrap.py``.

Runs before anything of ours can be imported. The user's environment always wins; the packages
that the worker itself needs are served from the supervisor's paths only where it has none.
Processes that user code spawns run this file again as ``__mp_main__``, and get the same finder.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
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


def show_volume(folder: str) -> None:
    """Let the endpoint's network volume be where it belongs; before any thread runs."""
    spec = importlib.util.spec_from_file_location("flash_volume", os.path.join(HERE, "volume.py"))
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.show(folder)


if __name__ == "__main__" and "FLASH_VOLUME" in os.environ:
    show_volume(os.environ.pop("FLASH_VOLUME"))

prepare()


def leave_at_exit(status: list[int]) -> None:
    """End the process after all other exit handlers, with the last of ``status``.

    The reader's thread may still be inside the interpreter when the main thread is done; what would
    take the interpreter down under it aborts the process.
    """
    process = os.getpid()

    def leave() -> None:
        if os.getpid() != process:  # A forked child ends as it wishes.
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(status[-1])

    atexit.register(leave)


if __name__ == "__main__":
    exit_status = [1]
    leave_at_exit(exit_status)
    from runpod_flash.worker import main

    exit_status.append(main.run(int(os.environ.pop("FLASH_WORKER_FD"))))
