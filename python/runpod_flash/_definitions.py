"""What is known of live objects that shipped code names: which are endpoints, which have source, where it is."""

from __future__ import annotations

import functools
import linecache
import os
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import _core, _sources, _written, errors

if TYPE_CHECKING:
    from collections.abc import Iterable


def is_decorated(value: Any) -> bool:
    """Return whether it is what `Endpoint(...)` makes of a function or class."""
    return (
        callable(value)
        and hasattr(value, "__flash_endpoint__")
        and (hasattr(value, "local") or hasattr(value, "_wrapped_class"))
    )


def is_endpoint(value: Any) -> bool:
    """Return whether a decorator of this name makes an endpoint: one, its class, or what returns one."""
    if isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, type):
        return issubclass(value, _core.EndpointBase)
    if isinstance(value, FunctionType):
        if value.__module__ == "builtins" or hasattr(value, "__flash_endpoint__"):
            return False
        seen = (value.__globals__.get(name) for name in value.__code__.co_names)
        return any(isinstance(one, type) and issubclass(one, _core.EndpointBase) for one in seen)
    return isinstance(value, _core.EndpointBase)


def has_source(value: Any) -> bool:
    """Return whether it is a function or class whose own text can travel."""
    if not isinstance(value, (FunctionType, type)) or getattr(value, "__name__", "") == "<lambda>":
        return False
    if isinstance(value, type) and value.__module__ == "builtins":
        return False
    module = sys.modules.get(value.__module__ or "")
    if getattr(module, value.__name__, None) is value and value.__module__ != "__main__":
        # What can be imported there is pickled by its name.
        return _sources.is_local(getattr(module, "__file__", None))
    try:
        _written.find(value)
    except errors.ShipmentError:
        return False
    return True


def roots(module: str, file: str) -> list[str]:
    """Return where local modules are looked for: the project's folder first."""
    if not os.path.isfile(file):
        first = os.getcwd()
    else:
        path = os.path.abspath(file)
        first = os.path.dirname(path)
        parts = module.split(".")
        stem = os.path.splitext(path)[0].split(os.sep)
        if stem[-1] == "__init__":
            stem.pop()
        if stem[-len(parts) :] == parts:
            first = os.sep.join(stem[: -len(parts)]) or os.sep
    others = [entry for entry in _sources.portable_path() if entry and os.path.isdir(entry)]
    return list(dict.fromkeys([first, *others]))


def homes(value: Any, depth: int = 0) -> set[type]:
    """Return the classes of arguments, as deep as one looks into containers."""
    if depth > 3 or isinstance(value, (str, bytes, int, float, bool, type(None))):
        return set()
    if isinstance(value, dict):
        items: Iterable[Any] = list(value.values())[:50]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = list(value)[:50]
    else:
        cls = type(value)
        return {cls} if _sources.is_local(getattr(sys.modules.get(cls.__module__), "__file__", None)) else set()
    return {home for item in items for home in homes(item, depth + 1)}


def stamp(file: str) -> Any:
    """Return what changes with a file, or with the cell that takes its place."""
    try:
        found = os.stat(file)
    except OSError:
        cached = linecache.cache.get(file)
        return None if cached is None else hash(tuple(cached[2])) if len(cached) > 2 else 0
    return (found.st_mtime_ns, found.st_size)
