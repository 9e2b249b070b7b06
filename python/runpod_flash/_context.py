"""What a worker process knows of the call it is in; empty in any other process."""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any


class LoadStopped(BaseException):
    """Ends the loading of a script at a decorated call made while it loads.

    An unguarded ``asyncio.run(main())`` at the end of a file must not run again in a worker:
    the names bound so far are kept.
    """


#: Endpoint that this worker serves, once it knows it. User code may change or clear variables.
own_endpoint: str | None = None

#: True while a worker loads user code.
loading = False

#: ``(call_id, job_id, chain)`` of the call that runs in this context.
current_call: ContextVar[tuple[int, str | None, tuple[str, ...]] | None] = ContextVar("flash_call", default=None)

#: The worker's own functions while their module loads, with the code that they get back.
_guarded: list[tuple[Any, CodeType]] = []

_asyncio_run: Callable[..., Any] | None = None


def guard(target: Any) -> None:
    """Let a call of the worker's own function or class end the load, too.

    The object must stay what it is (it is the plain one here), so its code is exchanged for as long
    as the module loads.
    """
    if isinstance(target, type):
        for value in list(vars(target).values()):
            if hasattr(value, "__code__"):
                _exchange(value)
    elif hasattr(target, "__code__"):
        _exchange(target)


def guard_run() -> None:
    """Let ``asyncio.run(main())`` end the load where ``main`` leads to an endpoint.

    It would end there anyway, but only after what ``main`` does before its first call.
    """
    import asyncio

    global _asyncio_run
    if _asyncio_run is None:
        _asyncio_run = asyncio.run
        asyncio.run = _run


def finish_loading() -> None:
    """Note that user code is loaded, and take all guards away."""
    global loading, _asyncio_run
    loading = False
    if _asyncio_run is not None:
        import asyncio

        asyncio.run = _asyncio_run
        _asyncio_run = None
    while _guarded:
        function, code = _guarded.pop()
        function.__code__ = code


def _exchange(function: Any) -> None:
    # A code object fits only where the number of free variables is the same.
    if not function.__code__.co_freevars:
        _guarded.append((function, function.__code__))
        function.__code__ = _stop.__code__


def _run(main: Any, *args: Any, **kwargs: Any) -> Any:
    frame = getattr(main, "cr_frame", None)
    if frame is not None and _leads_to_endpoint(frame.f_code, frame.f_globals, set()):
        main.close()
        raise LoadStopped
    return _asyncio_run(main, *args, **kwargs)  # type: ignore[misc]


def _leads_to_endpoint(code: CodeType, namespace: dict[str, Any], seen: set[CodeType]) -> bool:
    """Return whether a function names a decorated one, itself or through functions of its module."""
    if code in seen:
        return False
    seen.add(code)
    for name in code.co_names:
        value = namespace.get(name)
        if hasattr(value, "__flash_endpoint__"):
            return True
        inner = getattr(value, "__code__", None)
        if inner is None or getattr(value, "__globals__", None) is not namespace:
            continue
        if _leads_to_endpoint(inner, namespace, seen):
            return True
    nested = (value for value in code.co_consts if isinstance(value, type(code)))
    return any(_leads_to_endpoint(inner, namespace, seen) for inner in nested)


def _stop(*args: Any, **kwargs: Any) -> Any:
    from runpod_flash import _context

    raise _context.LoadStopped
