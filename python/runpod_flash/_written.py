"""A function or class as it is written: the text that defines it, and the names that it sees."""

from __future__ import annotations

import inspect
import linecache
import sys
from types import FunctionType
from typing import Any

from . import _core, _decorate, _sources, errors


class Written:
    """What is known of a definition: file, its text, and where in it."""

    __slots__ = ("_scopes", "file", "line", "module", "qualname", "target", "text")

    def __init__(
        self,
        target: Any,
        file: str,
        text: str,
        qualname: str,
        line: int | None,
        module: str,
        scopes: tuple[dict[str, Any], ...] | None = None,
    ) -> None:
        self.target = target
        self.file = file
        self.text = text
        self.qualname = qualname
        #: First line of the definition or of its decorators, from 1.
        self.line = line
        self.module = module
        self._scopes = scopes

    @property
    def name(self) -> str:
        """The name that the definition binds."""
        return self.qualname.rpartition(".")[2]

    def names(self) -> dict[str, Any]:
        """Return the values that all names it can see have now."""
        if self._scopes is None:
            return _names_of(self.target)
        return {name: value for scope in self._scopes for name, value in scope.items()}


def find(target: Any) -> Written:
    """Find the definition of a function or class, or of what a decorator has made its own function of.

    Raises `ShipmentError` where there is no text of it.
    """
    place = _decorate.places.get(id(target))
    if place is not None:
        found = _decorated(*place)
        if found is not None:
            return found
    definition = target if isinstance(target, type) else inspect.unwrap(target)
    if not isinstance(definition, (FunctionType, type)):
        raise _no_definition(definition, place)
    file, text, line = _text_of(definition)
    return Written(definition, file, text, definition.__qualname__, line, definition.__module__ or "")


def _decorated(
    target: Any, file: str, line: int, outer: dict[str, Any], inner: dict[str, Any] | None
) -> Written | None:
    """Find what is written below the decorators whose outermost was called on a line."""
    lines = _lines(file, outer)
    qualname = _core.decorated_on("".join(lines), line) if lines else None
    if qualname is None:
        return None
    module = str(outer.get("__name__") or "")
    scope = "<locals>." if inner is not None else ""
    return Written(target, file, "".join(lines), f"{scope}{qualname}", line, module, (outer, inner or {}))


def _text_of(definition: Any) -> tuple[str, str, int | None]:
    """Return file, text and first line of a function or class; raises where there is no text."""
    if getattr(definition, "__name__", "") == "<lambda>":
        raise errors.ShipmentError(
            "a lambda cannot travel to a live endpoint", hint="write it as a function with `def`, in a file"
        )
    code = _sources.code_of(definition)
    file = code.co_filename if code is not None else getattr(sys.modules.get(definition.__module__), "__file__", None)
    lines = _lines(file, getattr(definition, "__globals__", None)) if isinstance(file, str) else []
    if not isinstance(file, str) or not lines:
        raise errors.ShipmentError(
            f"`{definition.__qualname__}` has no source text that could travel to a live endpoint",
            hint="define it in a file or a notebook cell, not by `exec` or at the plain interpreter's prompt",
        )
    line = getattr(definition, "__firstlineno__", None)
    if line is None and not isinstance(definition, type) and code is not None:
        line = code.co_firstlineno
    return file, "".join(lines), line


def _lines(file: str, names: dict[str, Any] | None) -> list[str]:
    linecache.checkcache(file)
    return linecache.getlines(file, names)


def _no_definition(target: Any, place: tuple[Any, ...] | None) -> Exception:
    where = f"{place[1]}:{place[2]}: " if place is not None else ""
    kind = type(target).__name__
    return errors.ShipmentError(
        f"{where}a `{kind}` object has no source text that could travel to a live endpoint",
        hint="decorate a function that is written with `def`, and call the object in it",
    )


def _names_of(definition: Any) -> dict[str, Any]:
    """Return the values of all names that a function or class can see."""
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
