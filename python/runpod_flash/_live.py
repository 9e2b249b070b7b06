"""Live calls: the source of a function travels with its arguments to an endpoint made for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

from . import _core, errors
from ._definitions import homes
from ._shipment import shipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from ._shipment import Shipment
    from .endpoint import Endpoint


#: Endpoints that were made, or found. Before, arguments are checked: none is made for a call that cannot be sent.
_made: weakref.WeakSet[Endpoint] = weakref.WeakSet()


async def call(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: tuple[Any, ...] | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    place: str | None = None,
    timeout: float | None = None,
) -> Any:
    """Call a function, or a class's method, on its live endpoint.

    A load-balanced endpoint takes it by `/execute`. ``place`` is the ID of an endpoint that is there
    already, ``timeout`` the seconds that the call may take.
    """
    shipment = shipped(target, homes((args, kwargs, constructor)))
    name = shipment.name if method is None else f"{shipment.name}.{method}"
    found = None if constructor is None else (constructor[0], constructor[1])
    is_balanced = _is_balanced(endpoint)
    if place is None and endpoint not in _made:
        _core.live_check(name, "balanced" if is_balanced else "runsync", args, kwargs, found)

    def sent(place: str, head: dict[str, Any]) -> Awaitable[Any]:
        return _core.live_call(place, name, json.dumps(head), args, kwargs, found, timeout, is_balanced)

    with _written_here(shipment):
        value, stdout = await _sent(endpoint, shipment, method, constructor, sent, place)
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
    """Call a generator function and yield its items.

    Our workers send each as it comes; the official one sends them together, when it has them all.
    A job whose items nobody wants any more is cancelled.
    """
    if _is_balanced(endpoint):
        for item in await call(endpoint, target, method, constructor, args, kwargs):
            yield item
        return
    shipment = shipped(target, homes((args, kwargs, constructor)))
    name = shipment.name if method is None else f"{shipment.name}.{method}"
    found = None if constructor is None else (constructor[0], constructor[1])
    where = ""
    if endpoint not in _made:
        # Over the limit of `/run` it goes as a call.
        _core.live_check(name, "runsync", args, kwargs, found)

    def sent(place: str, head: dict[str, Any]) -> Awaitable[str]:
        nonlocal where
        where = place
        head["stream"] = method or shipment.name
        return _core.live_submit(place, name, json.dumps(head), args, kwargs, found)

    try:
        job = await _sent(endpoint, shipment, method, constructor, sent)
    except errors.PayloadTooLargeError:
        # `/runsync` takes more than `/run`, and gives all items together.
        for item in await call(endpoint, target, method, constructor, args, kwargs):
            yield item
        return
    items = _core.job_stream((where,), job, None)
    has_ended = False
    try:
        while True:
            try:
                item = await items.next()
            except errors.JobError:
                break  # The job's state says it better.
            if item is None:
                break
            yield _core.load_text(item[0])
        with _written_here(shipment):
            value, stdout = await _core.live_wait(where, name, job)
        has_ended = True
        show(stdout)
        # An official worker knows nothing of streams: there all items are the result.
        for item in value or ():
            yield item
    except errors.RemoteExecutionError:
        has_ended = True
        raise
    finally:
        items.close()
        if not has_ended:
            with contextlib.suppress(errors.RunpodError):  # What cannot be cancelled has ended, or will.
                await asyncio.shield(_core.job_ask("cancel", (where,), job, 60.0))


@contextlib.contextmanager
def _written_here(shipment: Shipment) -> Iterator[None]:
    """Let a failure's traceback name the files and lines of this machine, not of what was sent."""
    try:
        yield
    except errors.RemoteExecutionError as error:
        from ._located import located

        error.remote_traceback = located(error.remote_traceback, shipment)
        raise


async def _sent(
    endpoint: Endpoint,
    shipment: Shipment,
    method: str | None,
    constructor: tuple[Any, ...] | None,
    send: Callable[[str, dict[str, Any]], Awaitable[Any]],
    place: str | None = None,
) -> Any:
    """Make the endpoints that are missing and send the call; those that Runpod no longer has are made again, once."""
    is_second = False
    while True:
        callees = await _callees(shipment)
        where = place or await _provision(endpoint, bool(shipment.callees))
        _made.add(endpoint)
        code, modules = shipment.code(callees)
        shipment.sent = code
        try:
            return await send(where, _head(endpoint, shipment, code, modules, method, constructor))
        except errors.JobNotFoundError:
            raise
        except errors.NotFoundError:
            # Nothing was accepted.
            if is_second or place is not None:
                raise
            is_second = True
            await _core.forget_endpoint(_name_of(endpoint))


def _head(
    endpoint: Endpoint,
    shipment: Shipment,
    code: str,
    modules: dict[str, str],
    method: str | None,
    constructor: tuple[Any, ...] | None,
) -> dict[str, Any]:
    name = shipment.name
    head: dict[str, Any] = {
        "modules": modules,
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


def _is_balanced(endpoint: Endpoint) -> bool:
    resource = getattr(endpoint, "resource", None)
    if resource is not None:
        return getattr(resource.type, "value", None) == "LB"
    return endpoint.is_load_balanced


def _name_of(endpoint: Endpoint) -> str:
    """Return the name that the endpoint has on Runpod."""
    resource = getattr(endpoint, "resource", None)
    if resource is not None:
        return str(resource.name)
    kind = "load_balanced" if _is_balanced(endpoint) else "queue"
    told = json.loads(_core.endpoint_input(endpoint, endpoint.name or "", kind, True))
    return str(told["name"])


async def _provision(endpoint: Endpoint, needs_key: bool) -> str:
    """Return the ID of the endpoint, which is made where it is missing."""
    resource = getattr(endpoint, "resource", None)
    if resource is not None:  # Of `@remote`: it says more than the endpoint can, an image of one's own.
        from .legacy import cloud

        return await cloud.provision(resource, needs_key=needs_key)
    is_balanced = _is_balanced(endpoint)
    place: str = await _core.live_ensure(endpoint, endpoint.name or "", os.getcwd(), needs_key, is_balanced)
    return place


async def _callees(shipment: Shipment) -> dict[str, Any]:
    """Make the endpoints that shipped code calls; return how it reaches each, further ones included."""
    table: dict[str, Any] = {}
    endpoints: dict[str, tuple[Endpoint, bool]] = {}
    pending = dict(shipment.callees)
    while pending:
        key, decorated = pending.popitem()
        if key in table:
            continue
        endpoint = decorated.__flash_endpoint__
        original = getattr(decorated, "_wrapped_class", None) or getattr(decorated, "local", decorated)
        inner = shipped(original)
        code, modules = inner.code({})
        endpoints[key] = (endpoint, bool(inner.callees))
        table[key] = {
            "request": _head(endpoint, inner, code, modules, None, None),
            "calls": bool(inner.callees),
            "generators": sorted(inner.generators),
        }
        pending.update(inner.callees)
    places = await asyncio.gather(*(_provision(*each) for each in endpoints.values()))
    for key, place in zip(endpoints, places, strict=True):
        table[key]["endpoint"] = place
    return table


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
    if name == "ModuleNotFoundError":
        hint = (
            "name the package that has it in the endpoint's `dependencies`: a live endpoint installs these alone, "
            "nothing of requirements.txt or pyproject.toml"
        )
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
