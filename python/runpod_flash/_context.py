"""What a worker process knows of the call it is in; empty in any other process."""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any


class LoadStopped(BaseException):
    """Ends the loading of a script at a decorated call made while it loads.

    An unguarded ``asyncio.run(main())`` at the end of a file must not run again in a worker:
    the names bound so far are kept.
    """


#: True while a worker loads user code.
loading = False

#: ``(call_id, job_id, chain)`` of the call that runs in this context.
current_call: ContextVar[tuple[int, str | None, tuple[str, ...]] | None] = ContextVar("flash_call", default=None)

#: The worker's own functions while their module loads, with the code that they get back.
_guarded: list[tuple[Any, CodeType]] = []


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


def finish_loading() -> None:
    """Note that user code is loaded, and give guarded functions their code back."""
    global loading
    loading = False
    while _guarded:
        function, code = _guarded.pop()
        function.__code__ = code


def _exchange(function: Any) -> None:
    # A code object fits only where the number of free variables is the same.
    if not function.__code__.co_freevars:
        _guarded.append((function, function.__code__))
        function.__code__ = _stop.__code__


def _stop(*args: Any, **kwargs: Any) -> Any:
    from runpod_flash import _context

    raise _context.LoadStopped
