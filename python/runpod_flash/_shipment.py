"""What travels with a live call: the source of a function or class, and what it needs.

It is computed by the core from the text of the file or notebook cell; this module knows the
objects: which value a name has, which of them are endpoints.
"""

from __future__ import annotations

import base64
import inspect
import json
import os
import sys
import threading
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _core, _written, errors
from ._definitions import (
    has_source,
    is_decorated,
    is_endpoint,
    roots,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._written import Written


#: Shipments that are kept, the latest at the end: a notebook makes new functions for as long as it runs.
KEPT = 512

_cache: dict[Any, tuple[Any, Shipment]] = {}
_lock = threading.Lock()


class Shipment:
    """What travels with the calls of one function or class, arguments left aside."""

    def __init__(self) -> None:
        self.future: list[str] = []
        self.imports: list[str] = []
        self.codes: list[str] = []
        #: Where parts of the source are written: file and lines, by their index in ``codes``.
        self.places: dict[int, tuple[str, list[dict[str, int]]]] = {}
        #: The whole source as it was sent last.
        self.sent = ""
        self.modules: dict[str, str] = {}
        self.callees: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.files: dict[str, Any] = {}
        self.module: str | None = None
        #: Names that were looked up, and what they meant, by where they are seen from.
        self.found: list[tuple[Written, dict[str, Any]]] = []
        self.name = ""
        self.is_class = False
        self.is_generator = False
        self.is_async = False
        self.generators: dict[str, bool] = {}
        self._seen: set[Any] = set()

    def refresh(self) -> bool:
        """Take the values that names have now; ``False`` where one means another function, class or module."""
        for written, found in self.found:
            names = written.names()
            for name, value in found.items():
                if name in self.values:
                    self.values[name] = names.get(name, value)
                elif names.get(name) is not value:
                    return False
        return True

    def code(self, table: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """Return the source with what brings values and other endpoints along, and its modules."""
        body, modules = "\n".join([*self.imports, *self._home(), *self._captured(), *self.codes]), self.modules
        if table:
            body, modules = _core.with_callees(json.dumps(table), body, modules)
        return "\n".join([*dict.fromkeys(self.future), body]), modules

    def _home(self) -> list[str]:
        """Give the code the name of its module, so that objects of its classes are the same on both sides."""
        if self.module is None or self.module.replace(".", "/") + ".py" in self.modules:
            return []
        return [_HOME % repr(self.module)]

    def _captured(self) -> list[str]:
        if not self.values:
            return []
        import cloudpickle

        text = base64.b64encode(cloudpickle.dumps(self.values)).decode()
        return [_CAPTURED % repr(text)]


_HOME = """\
__name__ = %s
def _flash_home(name, names):
    import sys, types
    class Home(types.ModuleType):
        __dict__ = property(lambda self: names)
        def __getattr__(self, name):
            try:
                return names[name]
            except KeyError:
                raise AttributeError(name) from None
    sys.modules[name] = Home(name)
_flash_home(__name__, globals())"""

_CAPTURED = """\
def _flash_captured(text):
    import base64, cloudpickle
    return cloudpickle.loads(base64.b64decode(text))
globals().update(_flash_captured(%s))"""


def shipped(target: Any, homes: Iterable[type] = ()) -> Shipment:
    """Return what travels with calls of ``target``; computed again when a file of it was changed.

    Objects of the classes ``homes`` travel with the call, so their source does, too. Raises
    `ShipmentError` where something cannot travel.
    """
    classes = frozenset(homes)
    key: Any = (target, classes)
    try:
        with _lock:
            known = _cache.pop(key, None)
            if known is not None:
                _cache[key] = known  # The latest is at the end.
    except TypeError:  # Not hashable.
        key = known = None
    if known is not None and known[0] == {file: stamp(file) for file in known[0]} and known[1].refresh():
        return known[1]
    shipment = Shipment()
    _add(shipment, _written.find(target), is_main=True, homes=classes)
    if key is not None:
        with _lock:
            _cache[key] = (dict(shipment.files), shipment)
            while len(_cache) > KEPT:
                del _cache[next(iter(_cache))]
    return shipment


def _generators(cls: type) -> dict[str, bool]:
    """Return the public generator methods of a class, and whether they are async."""
    found = {}
    for name in dir(cls):
        method = None if name.startswith("_") else getattr(cls, name, None)
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            found[name] = inspect.isasyncgenfunction(method)
    return found


def _add(shipment: Shipment, written: Written, *, is_main: bool, homes: frozenset[type] = frozenset()) -> str:
    """Add the source of a function or class; return the name that it defines."""
    file, text, qualname, line, names = written.file, written.text, written.qualname, written.line, written.names()
    mark = (file, qualname, line)
    if mark in shipment._seen:
        return written.name
    shipment._seen.add(mark)
    folders = roots(written.module, file)
    endpoints = [name for name, value in names.items() if is_endpoint(value)]
    also = sorted({home.__name__ for home in homes if home.__module__ == written.module})
    captured: dict[str, Any] = {}
    found = _ship(text, file, folders, qualname, line, captured, endpoints, also)
    again = False
    extra: list[str] = []
    for value in found["values"]:
        again |= _take(shipment, value, names, file, captured, extra)
    seen = {value["name"] for value in found["values"]}
    shipment.found.append((written, {name: names[name] for name in seen if name in names}))
    if again:
        found = _ship(text, file, folders, qualname, line, {**captured, **dict.fromkeys(extra)}, endpoints, also)
    shipment.values.update(captured)
    shipment.future.extend(found["future"].splitlines())
    shipment.modules.update(found["modules"])
    shipment.files[file] = stamp(file)
    for path in found["modules"]:
        for root in folders:
            module = os.path.join(root, path)
            if os.path.exists(module):
                shipment.files[module] = stamp(module)
                break
    for callee in found["callees"]:
        shipment.callees[callee["key"]] = _decorated(callee, names, file)
    shipment.places[len(shipment.codes)] = (file, found["lines"])
    shipment.codes.append(found["code"])
    if is_main:
        shipment.name = found["name"]
        for field in ("is_class", "is_generator", "is_async"):
            setattr(shipment, field, found[field])
        if isinstance(written.target, type):
            shipment.generators = _generators(written.target)
        module = written.module
        if module not in ("__main__", "__mp_main__") and os.path.isfile(file) and "<locals>" not in qualname:
            shipment.module = module
    return str(found["name"])


def _ship(
    text: str,
    file: str,
    roots: list[str],
    name: str,
    line: int | None,
    known: Iterable[str],
    endpoints: list[str],
    also: list[str],
) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        _core.ship_source(text, file, roots, name, line, set(known), set(endpoints), set(also))
    )
    if "error" in found:
        raise _refusal(found["error"], found["hint"], found["kind"])
    return found


def _refusal(message: str, hint: str | None, kind: str = "source") -> Exception:
    name = {"resolution": "LocalModuleResolutionError", "size": "LocalModulePayloadTooLargeError"}.get(kind)
    cls: type[errors.FlashError] = getattr(errors, name or "", None) or errors.ShipmentError
    return cls(message, hint=hint)


def _take(
    shipment: Shipment,
    value: dict[str, Any],
    names: dict[str, Any],
    file: str,
    captured: dict[str, Any],
    extra: list[str],
) -> bool:
    """Send a name's value along; return whether its source has to stay behind then."""
    name, place = value["name"], f"{file}:{value['line']}"
    if name not in names:
        if value["is_required"]:
            warnings.warn(f"{place}: `{name}` is not defined, and will not be on the worker", stacklevel=2)
        return False
    found = names[name]
    if isinstance(found, ModuleType):
        shipment.imports.append(f"import {found.__name__} as {name}")
    elif is_decorated(found):
        key = f"{place}:{name}"
        shipment.callees[key] = found
        shipment.codes.append(_stand_in(name, key, found))
    elif value["is_required"] and has_source(found):
        defined = _add(shipment, _written.find(found), is_main=False)
        if defined != name:
            shipment.codes.append(f"{name} = {defined}\n")
    else:
        import cloudpickle

        try:
            cloudpickle.dumps(found)
        except Exception as error:
            if not value["is_required"]:
                return False
            kind = type(found).__name__
            raise errors.ShipmentError(
                f"{place}: `{name}` ({kind}) cannot travel to the worker: {error}",
                hint=f"make `{name}` inside the function, or in a module that it imports",
            ) from error
        captured[name] = found
        return True
    extra.append(name)
    return False


def _stand_in(name: str, key: str, decorated: Any) -> str:
    runtime = '__import__("_flash_callees")'
    # As the core writes it: by this literal it finds the stand-ins.
    quoted = json.dumps(key, ensure_ascii=False)
    if isinstance(decorated, type):
        return (
            f"class {name}:\n"
            f"    def __init__(self, *args, **kwargs): self._flash = {runtime}.instance({quoted}, args, kwargs)\n"
            f"    def __getattr__(self, name): return self._flash.method(name)\n"
        )
    if inspect.isgeneratorfunction(decorated.local) or inspect.isasyncgenfunction(decorated.local):
        return f"def {name}(*args, **kwargs): return {runtime}.generation({quoted}, args, kwargs)\n"
    return f"async def {name}(*args, **kwargs): return await {runtime}.call({quoted}, args, kwargs)\n"


def _decorated(callee: dict[str, Any], names: dict[str, Any], file: str) -> Any:
    """Return the decorated object that a stand-in is for."""
    name = callee["name"]
    if os.path.abspath(callee["file"]) == os.path.abspath(file):
        if is_decorated(names.get(name)):
            return names[name]
    else:
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if path and os.path.abspath(path) == os.path.abspath(callee["file"]):
                found = getattr(module, name, None)
                if is_decorated(found):
                    return found
        from importlib import import_module

        folder, stem = os.path.split(os.path.splitext(callee["file"])[0])
        relative = os.path.relpath(os.path.join(folder, stem), os.path.dirname(os.path.abspath(file)))
        found = getattr(import_module(relative.replace(os.sep, ".")), name, None)
        if is_decorated(found):
            return found
    raise errors.ShipmentError(
        f"{callee['file']} has no endpoint `{name}`", hint="import the file before the call, or call it from outside"
    )
