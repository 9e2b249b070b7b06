"""Calls of an app that was deployed: named JSON arguments to an endpoint that is addressed by its name."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

from . import _core, _encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ._decorate import Constructor
    from .endpoint import Endpoint

#: Stands for no arguments: the platform drops an input that is empty.
_EMPTY = b'"__empty":true'


def address(endpoint: Endpoint) -> tuple[str, str, str]:
    """Return app, environment and name: what the headers of a call say."""
    name = endpoint._normalized_name(endpoint.name or "").removeprefix("live-")
    return app_name(), os.environ.get("FLASH_ENV") or "production", name


def app_name() -> str:
    """Return ``FLASH_APP``, else what ``pyproject.toml`` says, else the name of the current folder."""
    return os.environ.get("FLASH_APP") or _app_of(os.getcwd())


@functools.lru_cache(maxsize=16)
def _app_of(folder: str) -> str:
    return _core.app_name(folder)


async def call(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: Constructor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a function or a class's method of the deployed app and return the result."""
    body, sizes = _body(target, method, constructor, args, kwargs)
    where = address(endpoint)
    from .errors import DeadlineExceededError, JobFailedError, JobNotFoundError, NotFoundError

    try:
        return await _core.call_deployed(where, body, sizes, timeout())
    except JobFailedError as error:
        if error.__cause__ is None:
            error.__cause__ = _of_module(error, target)
        raise
    except JobNotFoundError:
        raise
    except NotFoundError as error:
        raise _explain(error, where) from None
    except DeadlineExceededError as error:
        error.hint = "the worker may still be starting; FLASH_SENTINEL_TIMEOUT says how many seconds a call may take"
        raise


async def stream(
    endpoint: Endpoint,
    target: Any,
    method: str | None,
    constructor: Constructor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> AsyncIterator[Any]:
    """Call a generator function of the deployed app and yield its items as they come."""
    body, sizes = _body(target, method, constructor, args, kwargs)
    where = address(endpoint)
    from .errors import JobNotFoundError, NotFoundError

    try:
        job = (await _core.job_run(where, body, sizes, timeout()))["id"]
    except JobNotFoundError:
        raise
    except NotFoundError as error:
        raise _explain(error, where) from None
    items = _core.job_stream(where, job, None)
    is_over = False
    try:
        while (found := await items.next()) is not None:
            yield found[0]
        is_over = True
    except Exception:
        is_over = True
        raise
    finally:
        items.close()
        if not is_over:  # Nobody takes the rest.
            await _core.job_ask("cancel", where, job, 30.0)


def timeout() -> float | None:
    """Return how many seconds a call may take; ``None`` leaves that to the endpoint."""
    try:
        seconds = float(os.environ.get("FLASH_SENTINEL_TIMEOUT", ""))
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def _body(
    target: Any,
    method: str | None,
    constructor: Constructor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[list[bytes], list[tuple[str, int]]]:
    if constructor is not None and (constructor[0] or constructor[1]):
        raise TypeError(
            f"{target.__name__}(...) was made with arguments, which a deployed worker does not get: it makes one "
            f"{target.__name__}() when it starts. Let the constructor read the endpoint's env instead"
        )
    if method is None:
        label, function = getattr(target, "__name__", "function"), target
    else:
        label = f"{target.__name__}.{method}"
        found = next(base.__dict__[method] for base in target.__mro__ if method in base.__dict__)
        function = found
        if isinstance(found, (staticmethod, classmethod)):
            function = found.__func__
        if not isinstance(found, staticmethod):
            args = (None, *args)
    named = _named(function, label, args, kwargs)
    if method is not None and args and not isinstance(found, staticmethod):
        named.pop(next(iter(named)), None)
    pieces: list[bytes] = []
    sizes: list[tuple[str, int]] = []
    if method is not None:
        if "method" in named:
            raise TypeError(
                f"{label}() has a parameter `method`, which cannot reach a deployed class: the key tells which method "
                "is called. Rename the parameter"
            )
        pieces.append(b'"method":' + _encode.encode(method, "method"))
    for name, value in named.items():
        text = _encode.encode(value, f"argument `{name}` of {label}()")
        pieces += (_encode.encode(name, "name") + b":", text)
        sizes.append((name, len(text)))
    if not named:
        pieces.append(_EMPTY)
    return _joined(pieces, method is not None), sizes


def _joined(pieces: list[bytes], has_method: bool) -> list[bytes]:
    """Put commas between members: pieces are an optional whole member, then names and values in turn."""
    body = [b'{"input":{']
    rest = pieces
    if has_method:
        body.append(pieces[0])
        rest = pieces[1:]
    for index, piece in enumerate(rest):
        starts_member = index % 2 == 0
        if starts_member and (has_method or index > 0):
            body.append(b",")
        body.append(piece)
    body.append(b"}}")
    return body


def _named(function: Any, label: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return arguments by the names of their parameters: a deployed worker gets them so."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        if args:
            raise TypeError(f"{label}() has no signature: call it with keywords") from None
        return dict(kwargs)
    named: dict[str, Any] = {}
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = value
        elif value:
            raise TypeError(
                f"{label}() takes *{name}, and a deployed call carries named arguments only: give it a list instead"
            )
    return named


def _explain(error: Any, where: tuple[str, str, str]) -> Any:
    app, environment, name = where
    error.args = (f"endpoint '{name}' not found in app '{app}' environment '{environment}'",)
    error.hint = (
        "deploy it first with 'flash deploy', or run this program's endpoints on this machine: with `flash run`, "
        "or with FLASH_TARGET=local"
    )
    return error


def _of_module(error: Any, target: Any) -> BaseException | None:
    """Return the remote exception where the function's own module has its class."""
    from .errors import rebuilt

    name = error.error_type.rpartition(".")[2]
    namespace = getattr(inspect.unwrap(target), "__globals__", {})
    return rebuilt(namespace.get(name), error.error_type, error.args[0])
