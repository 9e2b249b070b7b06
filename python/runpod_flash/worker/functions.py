"""What kind of callable a function is, and a call whose exception is a value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether a call belongs on the event loop."""
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def outcome(job: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Run a job; its exception is a value, as a future cannot carry each of them."""
    try:
        return job(), None
    except BaseException as error:
        return None, error
