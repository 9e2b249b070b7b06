"""Loads the user's code and finds the callables to serve in it.

Runs on the main thread with no event loop running, so that module-level code behaves as it does
in a program of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

from runpod_flash import _context

from . import fresh, report

#: Module name of a script while it is executed: not ``__main__``, so that guards stay closed.
SCRIPT_MODULE = "__flash_main__"
#: Functions that came by value and are kept for their next call.
VALUES_KEPT = 64


class LoadError(Exception):
    """The code could not be loaded; carries the report for the parent."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__(found["message"])
        self.report = found


class Program:
    """Loaded user code: what this worker serves."""

    def __init__(self, head: dict[str, Any], module: types.ModuleType | None) -> None:
        self.endpoint: str = head["endpoint"]
        self.kind: str = head["kind"]
        self.max_concurrency: int = max(1, head["max_concurrency"])
        self.describes_itself: bool = head["source"]["kind"] in ("module", "artifact")
        #: Whether each call brings source, which is executed.
        self.is_live: bool = head["source"]["kind"] == "live"
        self.module = module
        self.callables: dict[str, Any] = {}
        self.routes: list[tuple[str, str, Callable[..., Any]]] = []
        self._values: dict[bytes, Any] = {}

    def value(self, pickled: bytearray) -> Any:
        """Return a function or class that came by value; equal bytes give the same object."""
        import cloudpickle

        key = hashlib.blake2b(pickled).digest()
        if key not in self._values:
            while len(self._values) >= VALUES_KEPT:
                self._values.pop(next(iter(self._values)))
            self._values[key] = cloudpickle.loads(pickled)
        return self._values[key]


def load(head: dict[str, Any]) -> Program:
    """Load what ``head`` (a ``LoadHead``) names; raises `LoadError`."""
    os.environ.update(head["env"])
    source = head["source"]
    _context.own_endpoint = head["endpoint"]
    if source["kind"] not in ("live", "artifact"):
        # What says it to other code, as when deployed; `env` cannot override it.
        os.environ["FLASH_RESOURCE_NAME"] = head["endpoint"]
        os.environ["RUNPOD_ENDPOINT_ID"] = head["endpoint"]
    try:
        if head["working_directory"]:
            os.chdir(head["working_directory"])
        if source["kind"] == "artifact":
            from . import artifact

            program = Program(head, None)
            with _Loading():
                artifact.load(program, source)
            return program
        module = _load_source(source)
    except LoadError:
        raise
    except BaseException as error:
        raise LoadError(report.load_failure(error)) from error
    program = Program(head, module)
    if module is not None:
        _find_callables(program, head, module)
    return program


def _load_source(source: dict[str, Any]) -> types.ModuleType | None:
    kind = source["kind"]
    if kind == "live":
        return None
    if kind == "module":
        set_search_path(source.get("sys_path", []))
        if not source.get("sys_path") or source["root"] not in sys.path:
            sys.path.insert(0, source["root"])
        fresh.watch(source["root"])
        with _Loading():
            return load_module(source["module"], source["file"])
    set_search_path(source["sys_path"])
    if kind == "script":
        # The script's command line: module-level code may parse it.
        sys.argv[:] = json.loads(os.environ.pop("FLASH_SCRIPT_ARGV", "null")) or [source["file"]]
        with _Loading():
            return load_script(source["file"])
    return None


def set_search_path(entries: list[str]) -> None:
    """Make the parent's search path this process's, with what this interpreter brings in place of ``""``.

    The parent's packages are not taken over: an endpoint with an environment of its own has others.
    """
    own = list(sys.path)
    merged = [place for entry in entries for place in (own if entry == "" else [entry])]
    sys.path[:] = dict.fromkeys([*merged, *own])
    importlib.invalidate_caches()


class _Loading:
    """Marks that user code loads: a decorated call made meanwhile ends the load."""

    def __enter__(self) -> None:
        _context.loading = True

    def __exit__(self, *_error: object) -> None:
        _context.finish_loading()


def load_module(name: str, file: str) -> types.ModuleType:
    """Import project module ``name`` from ``file``, whatever its file name looks like."""
    loaded = sys.modules.get(name)
    if loaded is not None and _is_same_file(getattr(loaded, "__file__", None), file):
        return loaded
    parent, _, last = name.rpartition(".")
    if parent:
        _ensure_package(parent, os.path.dirname(file))
    spec = _find_spec(name) if loaded is None else None
    if spec is None or not _is_same_file(spec.origin, file):
        # A file name that is no module name, or one that hides a module of the same name.
        spec = importlib.util.spec_from_file_location(name, file, loader=fresh.FreshLoader(name, file))
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {file!r} as Python source", name=name, path=file)
    module = importlib.util.module_from_spec(spec)
    if loaded is None:
        # A module of the standard library that is in use keeps its name.
        sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except _context.LoadStopped:
        # The names bound so far are what is served.
        pass
    except BaseException:
        if loaded is None:
            sys.modules.pop(name, None)
        raise
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)
    return module


def _ensure_package(name: str, folder: str) -> None:
    """Make parent package ``name`` exist: imported where it has an ``__init__``, else an empty one.

    Never left to the import system's namespace packages: looking into one inside another inside
    another takes it exponential time.
    """
    if name in sys.modules:
        return
    parent, _, last = name.rpartition(".")
    if parent:
        _ensure_package(parent, os.path.dirname(folder))
    spec = _find_spec(name)
    if spec is not None and spec.has_location:
        importlib.import_module(name)
        return
    package = types.ModuleType(name)
    found = spec.submodule_search_locations if spec is not None else None
    package.__path__ = list(dict.fromkeys([folder, *(found or [])]))
    sys.modules[name] = package
    if parent:
        setattr(sys.modules[parent], last, package)


def _find_spec(name: str) -> ModuleSpec | None:
    """Return where the import system finds ``name``, whose parent is imported already."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        # The parent is a module, not a package.
        return None


def load_script(file: str) -> types.ModuleType:
    """Execute a script without running it as main; pickle knows its names as ``__main__``'s."""
    module = types.ModuleType(SCRIPT_MODULE)
    module.__file__ = file
    module.__dict__["__builtins__"] = __builtins__
    sys.modules[SCRIPT_MODULE] = module
    # Names resolve from the first line on: pydantic looks a class's module up while it is made.
    sys.modules["__main__"] = module
    with open(file, "rb") as stream:
        code = compile(stream.read(), file, "exec", dont_inherit=True)
    with contextlib.suppress(_context.LoadStopped):
        exec(code, module.__dict__)
    for value in list(module.__dict__.values()):
        _adopt(value)
    return module


def _adopt(value: Any) -> None:
    """Let a class or function of the script be pickled as ``__main__``'s, as its parent knows it."""
    if getattr(value, "__module__", None) != SCRIPT_MODULE:
        return
    if isinstance(value, type):
        value.__module__ = "__main__"
        for inner in list(vars(value).values()):
            if isinstance(inner, (type, types.FunctionType)):
                _adopt(inner)
    elif isinstance(value, types.FunctionType):
        value.__module__ = "__main__"


def _is_same_file(found: str | None, file: str) -> bool:
    return found is not None and os.path.realpath(found) == os.path.realpath(file)


def _find_callables(program: Program, head: dict[str, Any], module: types.ModuleType) -> None:
    for name in head["callables"]:
        program.callables[name] = named(module, name)
    for route in head["routes"]:
        program.routes.append((route["method"], route["path"], named(module, route["function"])))


def named(module: types.ModuleType, name: str) -> Any:
    """Return what a module has to serve under a name; raises `LoadError` where there is nothing."""
    value = getattr(module, name, None)
    if value is None or not callable(value):
        what = "is not callable" if value is not None else "is not defined"
        raise LoadError(
            report.failure(
                "load",
                "AttributeError",
                f"`{name}` {what} in {getattr(module, '__file__', module.__name__)} after it was loaded",
                hint="define it at module level, not inside a function or under a condition",
            )
        )
    return value
