"""Where a worker finds the code of an endpoint: a module, the script, or the call itself."""

from __future__ import annotations

import contextlib
import dis
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from .endpoint import Endpoint

VALUE: tuple[str, ...] = ("value",)

#: Names of the script's module: here, and in a worker that has loaded it.
_MAIN = ("__main__", "__flash_main__")


def place(endpoint: Endpoint) -> tuple[str, ...]:
    """Return ``("script", file)``, ``("module", root, module, file)`` or ``("value",)``.

    By name where all that the endpoint decorates is found under its name again; otherwise each
    call brings its function by value: cells of a notebook, the prompt, functions in functions.
    """
    places = {_place_of(target, decorated) for target, decorated in endpoint._targets.values()}
    return places.pop() if len(places) == 1 else VALUE


def description(endpoint: Endpoint) -> tuple[Any, ...]:
    """Return ``(endpoint, name, place, sys.path, callables)``, as the core takes it."""
    name = endpoint._normalized_name(endpoint.name or "")
    found = place(endpoint)
    callables = [] if found == VALUE else list(endpoint._targets)
    return endpoint, name, found, portable_path(), callables


def import_callees(endpoint: Endpoint) -> None:
    """Import modules that bodies import and that declare endpoints: a worker calls those through us.

    Only files outside of ``site-packages`` that name this package; what cannot be imported fails
    where it is used, in the worker, with its own error.
    """
    for target, _ in list(endpoint._targets.values()):
        for name in _imported_in(target):
            if name in sys.modules or not _declares_endpoints(name):
                continue
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _imported_in(target: Any) -> set[str]:
    functions = vars(target).values() if isinstance(target, type) else (target,)
    codes = [code for code in map(code_of, functions) if code is not None]
    names: set[str] = set()
    for code in codes:
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME" and instruction.argval:
                names.add(instruction.argval)
        codes.extend(value for value in code.co_consts if isinstance(value, type(code)))
    return names


def _declares_endpoints(module: str) -> bool:
    # Only names that a folder of sys.path has as a file: finding any other spec may import packages.
    relative = module.replace(".", os.sep)
    for folder in search_path():
        if folder.rstrip(os.sep).endswith(("site-packages", "dist-packages")):
            continue
        for file in (f"{relative}.py", os.path.join(relative, "__init__.py")):
            try:
                with open(os.path.join(folder, file), "rb") as source:
                    return b"runpod_flash" in source.read()
            except OSError:
                continue
    return False


def search_path() -> list[str]:
    """Return ``sys.path`` with the empty entry spelled out."""
    return [os.path.abspath(entry) if entry == "" else entry for entry in sys.path if isinstance(entry, str)]


def portable_path() -> list[str]:
    """Return ``sys.path`` with one ``""`` for all that the interpreter brings: a worker may run in another."""
    path = ["" if _is_interpreters(entry) else entry for entry in search_path()]
    return list(dict.fromkeys(path))


def is_local(file: str | None) -> bool:
    """Return whether a module's file is the user's own, not the interpreter's or a package's."""
    if not isinstance(file, str) or not file.endswith(".py"):
        return False
    path = os.path.abspath(file)
    parts = path.split(os.sep)
    is_package = "site-packages" in parts or "dist-packages" in parts or "runpod_flash" in parts
    return not is_package and not path.startswith(os.path.dirname(os.__file__) + os.sep)


def _is_interpreters(entry: str) -> bool:
    library = os.path.dirname(os.__file__)
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    return (
        entry.rstrip(os.sep).endswith(("site-packages", "dist-packages"))
        or entry == library
        or entry.startswith(library + os.sep)
        or os.path.basename(entry) == archive
    )


def _place_of(target: Any, decorated: Any) -> tuple[str, ...]:
    module_name = getattr(target, "__module__", None)
    qualname = getattr(target, "__qualname__", "")
    module = sys.modules.get(module_name) if isinstance(module_name, str) else None
    if module is None or not qualname.isidentifier():
        return VALUE
    if getattr(module, qualname, None) is not decorated:
        # Another decorator on top, or a name bound again: a worker would find something else.
        return VALUE
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not os.path.isfile(file) or not _is_from(target, file):
        return VALUE
    file = os.path.abspath(file)
    if module_name in _MAIN:
        return ("script", file) if _is_plain_script(module) else VALUE
    return _module_place(module, file)


def _is_plain_script(module: ModuleType) -> bool:
    # `python -m package.module` sets a spec; loaded as a script its relative imports would fail.
    return getattr(module, "__spec__", None) is None


def _module_place(module: ModuleType, file: str) -> tuple[str, ...]:
    parts = module.__name__.split(".")
    stem, suffix = os.path.splitext(file)
    if suffix != ".py":
        return VALUE
    path = stem.split(os.sep)
    if path[-1] == "__init__":
        path.pop()
    if path[-len(parts) :] != parts:
        return VALUE
    root = os.sep.join(path[: -len(parts)]) or os.sep
    return "module", root, module.__name__, file


def _is_from(target: Any, file: str) -> bool:
    code = code_of(target)
    return code is None or os.path.abspath(code.co_filename) == os.path.abspath(file)


def code_of(target: Any) -> Any:
    """Return the code of a function, or of a class's first method; ``None`` where it has none."""
    if isinstance(target, type):
        functions = (value for value in target.__dict__.values() if hasattr(value, "__code__"))
        return getattr(next(functions, None), "__code__", None)
    while hasattr(target, "__wrapped__"):
        target = target.__wrapped__
    return getattr(target, "__code__", None)
