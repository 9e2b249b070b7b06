"""What the decorators return: templates around the user's own functions and classes."""

from __future__ import annotations

import os
import sys

from .endpoint import Endpoint, declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from typing import Any

    #: Arguments by position and by name, and what tells one object from another.
    Constructor = tuple[tuple[Any, ...], dict[str, Any], str]

_GENERATOR_FLAGS = 0x20 | 0x200  # CO_GENERATOR | CO_ASYNC_GENERATOR, without importing inspect

#: Where decorators' own functions were decorated, by their identity: file, line, names.
places: dict[int, tuple[Any, ...]] = {}


def decorate(endpoint: Endpoint, target: Any) -> Any:
    """Make a function or class callable as a queue-based endpoint."""
    if not callable(target):
        raise TypeError(f"Endpoint(...) decorates a function or a class, got {type(target).__name__}")
    if endpoint.name is None:
        name = getattr(target, "__name__", None)
        if name is None:
            raise TypeError(f"Endpoint(...) needs name= to decorate a {type(target).__name__}")
        endpoint._check_name(name)
        endpoint.name = name
    config: dict[str, Any] = {
        "resource_config": endpoint._build_resource_config(),
        "method": None,
        "path": None,
        "dependencies": endpoint.dependencies,
        "system_dependencies": endpoint.system_dependencies,
    }
    if endpoint._max_concurrency > 1:
        config["max_concurrency"] = endpoint._max_concurrency
    endpoint._qb_target = target
    is_own = _is_own(endpoint.name)
    _guard_load(target if is_own else None)
    if is_own:
        _mark(target, endpoint, config)
        return target
    if isinstance(target, type):
        decorated = _class(endpoint, target)
    elif _is_generator(target):
        decorated = _generator_function(endpoint, target)
    else:
        decorated = _function(endpoint, target)
    _mark(decorated, endpoint, config)
    endpoint._targets[getattr(target, "__qualname__", endpoint.name)] = (target, decorated)
    _keep_place(target)
    if endpoint not in declared:
        declared.append(endpoint)
    return decorated


def route(endpoint: Endpoint, method: str, path: str, function: Any) -> Any:
    """Register a route handler; the function stays what it is."""
    if not callable(function) or isinstance(function, type):
        what = "a class" if isinstance(function, type) else type(function).__name__
        raise TypeError(f"@ep.{method.lower()}({path!r}) decorates a function, got {what}")
    for other in endpoint._routes:
        if (other["method"], other["path"]) == (method, path):
            raise _duplicate(method, path, other["function_name"])
    name = getattr(function, "__name__", type(function).__name__)
    endpoint._routes.append({"method": method, "path": path, "function": function, "function_name": name})
    config = {
        "resource_config": endpoint._build_resource_config(),
        "method": method,
        "path": path,
        "dependencies": endpoint.dependencies,
        "system_dependencies": endpoint.system_dependencies,
        "is_lb_route_handler": True,
    }
    _mark(function, endpoint, config)
    _set(function, "__is_lb_route_handler__", True)
    return function


class Generation:
    """A call of a generator function: ``await`` gives the list, ``async for`` the items as they come."""

    __slots__ = ("_arguments", "_endpoint", "_target")

    def __init__(
        self, endpoint: Endpoint, target: Any, arguments: tuple[str | None, Any, tuple[Any, ...], dict[str, Any]]
    ) -> None:
        self._endpoint = endpoint
        self._target = target
        self._arguments = arguments

    def __await__(self) -> Generator[Any, None, Any]:
        from . import _calls

        return _calls.call(self._endpoint, self._target, *self._arguments).__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        from . import _calls

        return _calls.stream(self._endpoint, self._target, *self._arguments)


def _function(endpoint: Endpoint, target: Any) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        from runpod_flash import _calls

        return await _calls.call(endpoint, target, None, None, args, kwargs)

    return _dress(call, target)


def _generator_function(endpoint: Endpoint, target: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        from runpod_flash import _calls, _decorate

        _calls.bind(target, args, kwargs)
        return _decorate.Generation(endpoint, target, (None, None, args, kwargs))

    return _dress(call, target)


def _class(endpoint: Endpoint, target: type) -> Any:
    """Make a class with the methods of ``target``, each of which runs on the worker's instance."""

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        from runpod_flash import _calls

        _calls.bind_constructor(target, args, kwargs)
        self._constructor_args = args
        self._constructor_kwargs = kwargs
        self._instance_id = f"{target.__name__}_{os.urandom(4).hex()}"

    def refuse(self: Any, name: str) -> Any:
        if isinstance(getattr(target, name, None), property):
            reason = f"{target.__name__}.{name} is a property of the worker's instance; add a method that returns it"
        else:
            reason = f"{target.__name__!r} object has no attribute {name!r}"
        raise AttributeError(reason)

    def reduce(self: Any) -> tuple[Any, ...]:
        from runpod_flash import _decorate

        return _decorate.construct, (type(self), self._constructor_args, self._constructor_kwargs)

    namespace: dict[str, Any] = {
        "__init__": initialize,
        "__getattr__": refuse,
        "__reduce__": reduce,
        "__module__": target.__module__,
        "__qualname__": target.__qualname__,
        "__doc__": target.__doc__,
        "_wrapped_class": target,
        "local": staticmethod(target),
    }
    for name in dir(target):
        if not name.startswith("_"):
            method = _method(endpoint, target, name)
            if method is not None:
                namespace[name] = method
    constructor = constructor_of(target)
    if constructor is not None:
        initialize.__wrapped__ = constructor  # type: ignore[attr-defined]
    return type(target.__name__, (), namespace)


def constructor_of(cls: type) -> Any:
    """Return the ``__init__`` that a class defines or inherits, ``object``'s left aside."""
    owners = (base for base in cls.__mro__ if "__init__" in base.__dict__)
    owner = next(owners, object)
    return None if owner is object else owner.__dict__["__init__"]


def construct(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make an instance from constructor arguments; on its own worker, of the real class."""
    return cls(*args, **kwargs)


def _method(endpoint: Endpoint, target: type, name: str) -> Any:
    attribute = next(base.__dict__[name] for base in target.__mro__ if name in base.__dict__)
    is_static = isinstance(attribute, (staticmethod, classmethod))
    function = attribute.__func__ if is_static else attribute
    if not callable(function) or isinstance(function, type):
        return None

    if _is_generator(function):

        def items(self: Any, *args: Any, **kwargs: Any) -> Any:
            from runpod_flash import _calls, _decorate

            _calls.bind_method(target, name, args, kwargs)
            constructor = (self._constructor_args, self._constructor_kwargs, self._instance_id)
            return _decorate.Generation(endpoint, target, (name, constructor, args, kwargs))

        return _dress(items, function)

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        from runpod_flash import _calls

        constructor = (self._constructor_args, self._constructor_kwargs, self._instance_id)
        return await _calls.call(endpoint, target, name, constructor, args, kwargs)

    return _dress(call, function)


def _dress(wrapper: Any, target: Any) -> Any:
    """Give a wrapper what ``functools.wraps`` gives, and ``local``."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__type_params__"):
        value = getattr(target, name, None)
        if value is not None:
            setattr(wrapper, name, value)
    # On 3.14 reading __annotations__ evaluates them, which names not defined yet would break.
    lazily = "__annotate__" if hasattr(target, "__annotate__") else "__annotations__"
    for name in (lazily, "__defaults__", "__kwdefaults__"):
        if getattr(target, name, None) is not None:
            setattr(wrapper, name, getattr(target, name))
    wrapper.__dict__.update(getattr(target, "__dict__", {}))
    wrapper.__wrapped__ = target
    wrapper.local = target
    return wrapper


def _mark(target: Any, endpoint: Endpoint, config: dict[str, Any]) -> None:
    _set(target, "__remote_config__", config)
    _set(target, "__flash_endpoint__", endpoint)


def _keep_place(target: Any) -> None:
    """Keep where a decorator's own function was decorated: nothing else leads to what is written there."""
    written = target
    while hasattr(written, "__wrapped__"):
        written = written.__wrapped__
    if "<locals>" not in getattr(written, "__qualname__", "<locals>"):
        return
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "runpod_flash":
        frame = frame.f_back
    inner = None if frame.f_locals is frame.f_globals else dict(frame.f_locals)
    place = frame.f_code.co_filename, frame.f_lineno, frame.f_globals, inner
    places[id(target)] = (target, *place)


def _guard_load(own_target: Any) -> None:
    """In a worker that loads code: let a call of an endpoint end the load."""
    context = sys.modules.get("runpod_flash._context")
    if context is None or not context.loading:
        return
    context.guard_run()
    if own_target is not None:
        context.guard(own_target)


def _set(target: Any, name: str, value: Any) -> None:
    try:
        setattr(target, name, value)
    except (AttributeError, TypeError):  # Built-in functions carry no attributes.
        pass


def _is_generator(target: Any) -> bool:
    return bool(getattr(getattr(target, "__code__", None), "co_flags", 0) & _GENERATOR_FLAGS)


def _is_own(name: str) -> bool:
    """Return whether this process is a worker of the endpoint of that name."""
    context = sys.modules.get("runpod_flash._context")
    own = None if context is None else context.own_endpoint
    if own is None:
        if not (os.environ.get("RUNPOD_ENDPOINT_ID") or os.environ.get("RUNPOD_POD_ID")):
            return False
        own = os.environ.get("FLASH_RESOURCE_NAME")
    if not own:
        return True
    from ._core import bare_name

    return bare_name(name) == bare_name(own)


def _duplicate(method: str, path: str, function_name: str) -> Exception:
    from .errors import ConfigurationError

    return ConfigurationError(
        f"duplicate route: {method} {path} (already registered to '{function_name}')",
        hint="give one of the two another path or method",
    )
