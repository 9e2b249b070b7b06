"""Calls of decorated functions: arguments are bound here, then handed to the core.

Loaded at the first call, not at import: a call needs ``inspect`` and an event loop anyway.
"""

from __future__ import annotations

import inspect
import os
import threading
from typing import TYPE_CHECKING, Any

from . import _context, _core, _decorate, _names, _sources
from .endpoint import declared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .endpoint import Endpoint

_signatures: dict[Any, inspect.Signature | None] = {}
_declared_count = -1
_refused: dict[str, Exception] = {}
_declaring = threading.RLock()
#: Only where somebody asked for it: logging is not loaded for nothing.
_log: Any = None
if os.environ.get("LOG_LEVEL", "").upper() == "DEBUG":
    import logging

    _log = logging.getLogger("runpod_flash.calls")


def _forked() -> None:
    """Start afresh in a forked child: its platform is its own, and knows nothing yet."""
    global _declared_count, _declaring
    _declared_count = -1
    _declaring = threading.RLock()
    _core.forked()


os.register_at_fork(after_in_child=_forked)


async def call(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: _decorate.Constructor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function, or a class's method, where its endpoint runs."""
    _check(endpoint, target, method, args, kwargs)
    elsewhere = _elsewhere()
    if elsewhere is not None:
        return await elsewhere.call(endpoint, target, method, constructor, args, kwargs)
    return await _core.call(*_prepare(endpoint, target, method, constructor, args, kwargs))


async def stream(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: _decorate.Constructor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncIterator[Any]:
    """Call a generator function and yield its items as they come."""
    _check(endpoint, target, method, args, kwargs)
    elsewhere = _elsewhere()
    if elsewhere is not None:
        found = elsewhere.stream(endpoint, target, method, constructor, args, kwargs)
        try:
            async for item in found:
                yield item
        finally:
            await found.aclose()
        return
    items = await _core.stream(*_prepare(endpoint, target, method, constructor, args, kwargs))
    try:
        while True:
            found = await items.next()
            if found is None:
                return
            yield found[0]
    finally:
        items.close()


def _elsewhere() -> Any:
    """Return what makes calls that do not stay on this machine; ``None`` where they do."""
    destination = _core.destination()
    if destination == "deployed":
        from . import _deployed

        return _deployed
    if destination == "live":
        from . import _live

        return _live
    return None


def _check(endpoint: Endpoint, target: Any, method: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if _context.loading:
        raise _context.LoadStopped
    if method is None:
        bind(target, args, kwargs)
    else:
        bind_method(target, method, args, kwargs)
    if _log is not None:
        name = getattr(target, "__name__", "") if method is None else f"{target.__name__}.{method}"
        _log.debug("calling `%s` of endpoint `%s`: %s", name, endpoint.name, _core.destination())


def _prepare(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: _decorate.Constructor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, ...]:
    callable_name = str(getattr(target, "__qualname__", endpoint.name))
    if method is not None:
        callable_name = f"{callable_name}.{method}"
    if "<locals>" in callable_name:
        callable_name = callable_name.rpartition("<locals>.")[2]
    name = endpoint._normalized_name(endpoint.name or "")
    _declare()
    if name in _refused:
        raise _refused[name].with_traceback(None)
    place = _sources.place(endpoint)
    by_value = place[0] == "value"
    current = _context.current_call.get()
    chain = () if current is None else (*current[2], _context.own_endpoint or "")
    found = None if constructor is None else constructor[:2]
    return (name, callable_name, (args, kwargs), found, target if by_value else None, by_value, chain)


def _declare() -> None:
    """Tell the core of all endpoints that this process has declared, when there are new ones."""
    global _declared_count, _refused
    if _count() == _declared_count:
        return
    with _declaring:
        # A list that another thread made earlier must not come after this one.
        for endpoint in declared:  # Grows while modules are imported.
            _sources.import_callees(endpoint)
        count = _count()
        found, _refused = _names.declarations(declared)
        _core.declare(found)
        _declared_count = count


def _count() -> int:
    return sum(len(endpoint._targets) for endpoint in declared)


def bind(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check arguments against a function's signature, as a plain call would."""
    _bind(target, getattr(target, "__name__", repr(target)), args, kwargs)


def bind_method(cls: type, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check arguments against a method's signature."""
    attribute = next(base.__dict__[method] for base in cls.__mro__ if method in base.__dict__)
    label = f"{cls.__name__}.{method}"
    if isinstance(attribute, staticmethod):
        _bind(attribute.__func__, label, args, kwargs)
    elif isinstance(attribute, classmethod):
        _bind(attribute.__func__, label, (cls, *args), kwargs)
    else:
        _bind(attribute, label, (None, *args), kwargs)


def bind_constructor(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check arguments against a class's constructor."""
    constructor = _decorate.constructor_of(cls)
    if constructor is not None:
        _bind(constructor, cls.__name__, (None, *args), kwargs)
    elif (args or kwargs) and not any("__new__" in base.__dict__ for base in cls.__mro__[:-1]):
        raise TypeError(f"{cls.__name__}() takes no arguments")


def _bind(function: Any, label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        signature = _signatures[function]
    except KeyError:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # Some built-in functions have none.
            signature = None
        _signatures[function] = signature
    except TypeError:  # Not hashable.
        signature = inspect.signature(function)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{label}() {error}") from None
