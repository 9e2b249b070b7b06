"""Live calls: the source of a function travels with its arguments to an endpoint made for it.

What travels is computed by the core from the text of the file or notebook cell; this module knows
the objects: which value a name has, where a function was defined, which endpoint it calls.
"""

from __future__ import annotations

import base64
import functools
import inspect
import json
import linecache
import os
import sys
import threading
import warnings
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from . import _core, _sources, errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .endpoint import Endpoint

_cache: dict[Any, tuple[Any, Shipment]] = {}
_lock = threading.Lock()


class Shipment:
    """What travels with the calls of one function or class, arguments left aside."""

    def __init__(self) -> None:
        self.future: list[str] = []
        self.imports: list[str] = []
        self.codes: list[str] = []
        self.modules: dict[str, str] = {}
        self.callees: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.files: dict[str, Any] = {}
        self.module: str | None = None
        self.name = ""
        self.is_class = False
        self.is_generator = False
        self.is_async = False
        self.generators: dict[str, bool] = {}
        self._seen: set[Any] = set()

    def code(self, table: dict[str, Any]) -> str:
        """Return the source, with what brings values and other endpoints along."""
        body = "\n".join([*self.imports, *self._home(), *self._captured(), *self.codes])
        if table:
            body = _core.with_callees(json.dumps(table), body)
        return "\n".join([*dict.fromkeys(self.future), body])

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


async def call(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: tuple[Any, ...] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function, or a class's method, on its live endpoint."""
    shipment = shipped(target, endpoint, _homes((args, kwargs, constructor)))
    callees = await _callees(shipment)
    place = await _provision(endpoint, bool(shipment.callees))
    head = _head(endpoint, shipment, shipment.code(callees), method, constructor)
    name = shipment.name if method is None else f"{shipment.name}.{method}"
    found = None if constructor is None else (constructor[0], constructor[1])
    timeout = None
    value, stdout = await _core.live_call(place, name, json.dumps(head), args, kwargs, found, timeout)
    show(stdout)
    return value


async def stream(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: tuple[Any, ...] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncIterator[Any]:
    """Call a generator function and yield its items: a live worker sends them when it has them all."""
    for item in await call(endpoint, target, method, constructor, args, kwargs):
        yield item


def _head(
    endpoint: Endpoint, shipment: Shipment, code: str, method: str | None, constructor: tuple[Any, ...] | None
) -> dict[str, Any]:
    name = shipment.name
    head: dict[str, Any] = {
        "modules": shipment.modules,
        "execution_type": "class" if shipment.is_class else "function",
        "method_name": method or "__call__",
        "create_new_instance": True,
        "accelerate_downloads": endpoint.accelerate_downloads,
        "serialization_format": "cloudpickle",
    }
    if endpoint.dependencies or shipment.is_class:
        head["dependencies"] = list(endpoint.dependencies or [])
    if endpoint.system_dependencies or shipment.is_class:
        head["system_dependencies"] = list(endpoint.system_dependencies or [])
    if shipment.is_class:
        # The text is the same for all methods: a worker takes another one for another class.
        for generator, is_async in shipment.generators.items():
            text, adapter = _core.list_adapter(name, is_async, generator)
            code += text
            if method == generator:
                head["method_name"] = adapter
        head.update(class_name=name, class_code=code)
        if constructor is not None and len(constructor) > 2:
            head.update(instance_id=constructor[2], create_new_instance=False)
        return head
    if shipment.is_generator:
        text, name = _core.list_adapter(name, shipment.is_async, None)
        code += text
    head.update(function_name=name, function_code=code)
    return head


def _generators(cls: type) -> dict[str, bool]:
    """Return the public generator methods of a class, and whether they are async."""
    found = {}
    for name in dir(cls):
        method = None if name.startswith("_") else getattr(cls, name, None)
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            found[name] = inspect.isasyncgenfunction(method)
    return found


async def _provision(endpoint: Endpoint, needs_key: bool) -> str:
    """Return the ID of the endpoint, which is made where it is missing."""
    resource = getattr(endpoint, "resource", None)
    if resource is not None:  # Of `@remote`: it says more than the endpoint can, an image of one's own.
        from .legacy import cloud

        return await cloud.provision(resource, needs_key=needs_key)
    place: str = await _core.live_ensure(endpoint, endpoint.name or "", os.getcwd(), needs_key)
    return place


async def _callees(shipment: Shipment) -> dict[str, Any]:
    """Make the endpoints that shipped code calls; return how it reaches each, further ones included."""
    table: dict[str, Any] = {}
    pending = dict(shipment.callees)
    while pending:
        key, decorated = pending.popitem()
        if key in table:
            continue
        endpoint = decorated.__flash_endpoint__
        original = getattr(decorated, "_wrapped_class", None) or getattr(decorated, "local", decorated)
        inner = shipped(original, endpoint)
        head = _head(endpoint, inner, inner.code({}), None, None)
        table[key] = {
            "endpoint": await _provision(endpoint, bool(inner.callees)),
            "request": head,
            "calls": bool(inner.callees),
            "generators": sorted(inner.generators),
        }
        pending.update(inner.callees)
    return table


def shipped(target: Any, endpoint: Endpoint | None = None, homes: Iterable[type] = ()) -> Shipment:
    """Return what travels with calls of ``target``; computed again when a file of it was changed.

    Raises `ShipmentError` where something cannot travel.
    """
    classes = frozenset(homes)
    key: Any = (target, classes)
    try:
        known = _cache.get(key)
    except TypeError:  # Not hashable.
        key = known = None
    if known is not None and known[0] == {file: _stamp(file) for file in known[0]}:
        shipment = known[1]
        if shipment.values:
            _refresh(shipment, target)
        return shipment
    shipment = Shipment()
    _add(shipment, target, is_main=True, homes=classes)
    if key is not None:
        with _lock:
            _cache[key] = (dict(shipment.files), shipment)
    return shipment


def _refresh(shipment: Shipment, target: Any) -> None:
    values = _names_of(target)
    for name in shipment.values:
        if name in values:
            shipment.values[name] = values[name]


def _add(shipment: Shipment, target: Any, *, is_main: bool, homes: frozenset[type] = frozenset()) -> str:
    """Add the source of a function or class; return the name that it defines."""
    definition = _unwrapped(target)
    file, text, line = _text_of(definition)
    qualname: str = definition.__qualname__
    mark = (file, qualname, line)
    if mark in shipment._seen:
        return str(definition.__name__)
    shipment._seen.add(mark)
    names = _names_of(definition)
    roots = _roots(definition, file)
    endpoints = [name for name, value in names.items() if _is_endpoint(value)]
    also = sorted({home.__name__ for home in homes if home.__module__ == definition.__module__})
    captured: dict[str, Any] = {}
    found = _ship(text, file, roots, qualname, line, captured, endpoints, also)
    again = False
    extra: list[str] = []
    for value in found["values"]:
        again |= _take(shipment, value, names, file, captured, extra)
    if again:
        found = _ship(text, file, roots, qualname, line, {**captured, **dict.fromkeys(extra)}, endpoints, also)
    shipment.values.update(captured)
    shipment.future.extend(found["future"].splitlines())
    shipment.modules.update(found["modules"])
    shipment.files[file] = _stamp(file)
    for path in found["modules"]:
        for root in roots:
            module = os.path.join(root, path)
            if os.path.exists(module):
                shipment.files[module] = _stamp(module)
                break
    for callee in found["callees"]:
        shipment.callees[callee["key"]] = _decorated(callee, names, file)
    shipment.codes.append(found["code"])
    if is_main:
        shipment.name = found["name"]
        for field in ("is_class", "is_generator", "is_async"):
            setattr(shipment, field, found[field])
        if isinstance(definition, type):
            shipment.generators = _generators(definition)
        module = definition.__module__
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
    elif _is_decorated(found):
        key = f"{place}:{name}"
        shipment.callees[key] = found
        shipment.codes.append(_stand_in(name, key, found))
    elif value["is_required"] and _has_source(found):
        defined = _add(shipment, found, is_main=False)
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
    if isinstance(decorated, type):
        return (
            f"class {name}:\n"
            f"    def __init__(self, *args, **kwargs): self._flash = {runtime}.instance({key!r}, args, kwargs)\n"
            f"    def __getattr__(self, name): return self._flash.method(name)\n"
        )
    if inspect.isgeneratorfunction(decorated.local) or inspect.isasyncgenfunction(decorated.local):
        return f"def {name}(*args, **kwargs): return {runtime}.generation({key!r}, args, kwargs)\n"
    return f"async def {name}(*args, **kwargs): return await {runtime}.call({key!r}, args, kwargs)\n"


def _decorated(callee: dict[str, Any], names: dict[str, Any], file: str) -> Any:
    """Return the decorated object that a stand-in is for."""
    name = callee["name"]
    if os.path.abspath(callee["file"]) == os.path.abspath(file):
        if _is_decorated(names.get(name)):
            return names[name]
    else:
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if path and os.path.abspath(path) == os.path.abspath(callee["file"]):
                found = getattr(module, name, None)
                if _is_decorated(found):
                    return found
        from importlib import import_module

        folder, stem = os.path.split(os.path.splitext(callee["file"])[0])
        relative = os.path.relpath(os.path.join(folder, stem), os.path.dirname(os.path.abspath(file)))
        found = getattr(import_module(relative.replace(os.sep, ".")), name, None)
        if _is_decorated(found):
            return found
    raise errors.ShipmentError(
        f"{callee['file']} has no endpoint `{name}`", hint="import the file before the call, or call it from outside"
    )


def _is_decorated(value: Any) -> bool:
    return (
        callable(value)
        and hasattr(value, "__flash_endpoint__")
        and (hasattr(value, "local") or hasattr(value, "_wrapped_class"))
    )


def _is_endpoint(value: Any) -> bool:
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


def _has_source(value: Any) -> bool:
    if not isinstance(value, (FunctionType, type)) or getattr(value, "__name__", "") == "<lambda>":
        return False
    if isinstance(value, type) and value.__module__ == "builtins":
        return False
    module = sys.modules.get(value.__module__ or "")
    if getattr(module, value.__name__, None) is value and value.__module__ != "__main__":
        # What can be imported there is pickled by its name.
        return _sources.is_local(getattr(module, "__file__", None))
    try:
        _text_of(_unwrapped(value))
    except Exception:
        return False
    return True


def _unwrapped(target: Any) -> Any:
    return target if isinstance(target, type) else inspect.unwrap(target)


def _text_of(definition: Any) -> tuple[str, str, int | None]:
    """Return file, text and first line of a function or class; raises where there is no text."""
    if getattr(definition, "__name__", "") == "<lambda>":
        raise errors.ShipmentError(
            "a lambda cannot travel to a live endpoint", hint="write it as a function with `def`, in a file"
        )
    code = _sources.code_of(definition)
    file = code.co_filename if code is not None else getattr(sys.modules.get(definition.__module__), "__file__", None)
    if not isinstance(file, str):
        raise _no_source(definition)
    linecache.checkcache(file)
    lines = linecache.getlines(file, getattr(definition, "__globals__", None))
    if not lines:
        raise _no_source(definition)
    line = getattr(definition, "__firstlineno__", None)
    if line is None and not isinstance(definition, type) and code is not None:
        line = code.co_firstlineno
    return file, "".join(lines), line


def _no_source(definition: Any) -> Exception:
    name = getattr(definition, "__qualname__", repr(definition))
    return errors.ShipmentError(
        f"`{name}` has no source text that could travel to a live endpoint",
        hint="define it in a file or a notebook cell, not by `exec` or at the plain interpreter's prompt",
    )


def _names_of(target: Any) -> dict[str, Any]:
    """Return the values of all names that a function or class can see."""
    definition = _unwrapped(target)
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


def _roots(definition: Any, file: str) -> list[str]:
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


def _homes(value: Any, depth: int = 0) -> set[type]:
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
    return {home for item in items for home in _homes(item, depth + 1)}


def _stamp(file: str) -> Any:
    try:
        found = os.stat(file)
    except OSError:
        cached = linecache.cache.get(file)
        return None if cached is None else hash(tuple(cached[2])) if len(cached) > 2 else 0
    return (found.st_mtime_ns, found.st_size)


def show(stdout: str | None) -> None:
    """Print what a worker printed."""
    if stdout:
        sys.stdout.write(stdout if stdout.endswith("\n") else stdout + "\n")


def unpicklable(name: str, which: str, value: Any, error: BaseException) -> Exception:
    """Make the error for an argument that cannot be sent."""
    cls: Any = getattr(errors, "SerializationError", errors.ShipmentError)
    made = cls(f"{which} of `{name}` ({type(value).__name__}) cannot be pickled: {error}")
    made.__cause__ = error
    return made  # type: ignore[no-any-return]


def unreadable(name: str, error: BaseException) -> Exception:
    """Make the error for a result that cannot be made here."""
    cls: Any = getattr(errors, "SerializationError", errors.ShipmentError)
    hint = None
    if isinstance(error, (ImportError, AttributeError)):
        hint = "install here what defines its class, or return plain data"
    made = cls(f"the result of `{name}` cannot be read here: {error}", hint=hint)
    made.__cause__ = error
    return made  # type: ignore[no-any-return]


def failed(
    endpoint: str, cls: str, message: str, traceback: str, hint: str | None, stdout: str | None
) -> errors.RemoteExecutionError:
    """Make the exception for what a function raised on its worker."""
    show(stdout)
    name = cls.rpartition(".")[2]
    made = errors.remote(
        "RemoteExecutionError",
        message,
        hint=hint,
        endpoint=endpoint,
        error_type=name,
        remote_traceback=traceback,
        exception=None,
        detail=None,
    )
    made.__cause__ = _again(cls, message)
    return made


def _again(path: str, message: str) -> BaseException | None:
    """Make an exception of a class that is known here; nothing is imported for it."""
    module, _, name = path.rpartition(".")
    found: Any = sys.modules.get(module or "builtins")
    for part in name.split("."):
        found = getattr(found, part, None)
    if not module and found is None:
        found = getattr(sys.modules["__main__"], name, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        return None
    if issubclass(found, (SystemExit, KeyboardInterrupt, GeneratorExit)):
        return None
    try:
        made = found.__new__(found, message)
        made.args = (_text_of_key(message),) if issubclass(found, KeyError) else (message,)
    except Exception:
        return None
    return made


def _text_of_key(message: str) -> Any:
    import ast

    try:
        return ast.literal_eval(message)
    except (ValueError, SyntaxError):
        return message
