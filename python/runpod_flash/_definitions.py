"""What is known of live objects whose source is to travel: text, visible names, folders."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import _core, _sources, errors

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
        text_of(unwrapped(value))
    except Exception:
        return False
    return True


def unwrapped(target: Any) -> Any:
    """Return the function below the decorators that say so."""
    return target if isinstance(target, type) else inspect.unwrap(target)


def text_of(definition: Any) -> tuple[str, str, int | None]:
    """Return file, text and first line of a function or class; raises where there is no text."""
    if getattr(definition, "__name__", "") == "<lambda>":
        raise errors.ShipmentError(
            "a lambda cannot travel to a live endpoint", hint="write it as a function with `def`, in a file"
        )
    code = _sources.code_of(definition)
    file = code.co_filename if code is not None else getattr(sys.modules.get(definition.__module__), "__file__", None)
    if not isinstance(file, str):
        raise no_source(definition)
    linecache.checkcache(file)
    lines = linecache.getlines(file, getattr(definition, "__globals__", None))
    if not lines:
        raise no_source(definition)
    line = getattr(definition, "__firstlineno__", None)
    if line is None and not isinstance(definition, type) and code is not None:
        line = code.co_firstlineno
    return file, "".join(lines), line


def no_source(definition: Any) -> Exception:
    """Make the error for code without text."""
    name = getattr(definition, "__qualname__", repr(definition))
    return errors.ShipmentError(
        f"`{name}` has no source text that could travel to a live endpoint",
        hint="define it in a file or a notebook cell, not by `exec` or at the plain interpreter's prompt",
    )


def names_of(target: Any) -> dict[str, Any]:
    """Return the values of all names that a function or class can see."""
    definition = unwrapped(target)
    functions: list[Any] = [definition]
    if isinstance(definition, type):
        members = (getattr(value, "__func__", value) for value in vars(definition).values())
        functions = [member for member in members if isinstance(member, FunctionType)]
    names: dict[str, Any] = {}
    module = sys.modules.get(definition.__module__ or "")
    if module is not None and isinstance(definition, type):
        names.update(vars(module))
    for function in functions:
        names.update(function.__globals__)
    for function in functions:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                names[name] = cell.cell_contents
            except ValueError:  # Not bound yet.
                names.pop(name, None)
    return names


def roots(definition: Any, file: str) -> list[str]:
    """Return where local modules are looked for: the project's folder first."""
    if not os.path.isfile(file):
        first = os.getcwd()
    else:
        path = os.path.abspath(file)
        first = os.path.dirname(path)
        parts = (definition.__module__ or "").split(".")
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
