"""Runs programs of this folder and prints one JSON line for each: how it ended.

    python run_programs.py script 01_minimal ...     each program's `main`, as its own script would run it
    python run_programs.py worker 01_minimal ...     each program imported as every one of its endpoints' workers does

Arguments after the mode are JSON: `{module: [[function, input, output], ...]}`.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
import warnings
from typing import Any


def script(programs: dict[str, list[Any]]) -> None:
    """Run each program's `main`, four at a time: most of the time they wait for workers."""
    modules: dict[str, Any] = {}
    for name in programs:
        try:
            modules[name] = importlib.import_module(name)
        except BaseException:
            tell(name, traceback.format_exc())

    async def run(name: str, turn: asyncio.Semaphore) -> None:
        async with turn:
            try:
                await modules[name].main()
            except BaseException:
                tell(name, traceback.format_exc())
            else:
                tell(name, None)

    async def run_all() -> None:
        turn = asyncio.Semaphore(4)
        await asyncio.gather(*(run(name, turn) for name in modules))

    asyncio.run(run_all())


def workers(programs: dict[str, list[Any]]) -> None:
    """Import each program as its workers do."""
    for name, calls in programs.items():
        try:
            worker(name, calls)
        except BaseException:
            tell(name, traceback.format_exc())
        else:
            tell(name, None)


def tell(name: str, problem: str | None) -> None:
    """Print how a program ended."""
    print(json.dumps([name, problem]), flush=True)


def worker(name: str, calls: list[Any]) -> None:
    """Import the program as the worker of each of its endpoints; own functions are plain, others are not."""
    others = decorated(as_worker(name, "another-endpoint"))
    expected = {function: (given, output) for function, given, output in calls}
    for attribute, other in others.items():
        original = getattr(other, "_wrapped_class", None) or other.__wrapped__
        assert other is not original
        config = other.__remote_config__["resource_config"]
        module = as_worker(name, config.name.removesuffix("-fb"))
        own = getattr(module, attribute)
        assert not hasattr(own, "__wrapped__"), f"{attribute} is wrapped in its own worker"
        assert own.__code__.co_code == original.__code__.co_code if not isinstance(own, type) else True
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(original)
        if attribute in expected:
            given, output = expected[attribute]
            answer = own(**given)
            assert inspect.iscoroutine(answer) == inspect.iscoroutinefunction(original)
            answer = asyncio.run(answer) if inspect.iscoroutine(answer) else answer
            assert answer == output, f"{attribute}: {answer!r}"
    assert not os.path.exists(".flash"), "importing wrote .flash/"


def as_worker(name: str, endpoint: str) -> Any:
    """Import a program afresh in the environment of an endpoint's worker."""
    os.environ.update(RUNPOD_ENDPOINT_ID="abc123", FLASH_RESOURCE_NAME=endpoint)
    sys.modules.pop(name, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(name)
    assert not [warning for warning in caught if issubclass(warning.category, FutureWarning)]
    return module


def decorated(module: Any) -> dict[str, Any]:
    """Return the queue-based functions and classes that a module itself declares."""
    return {
        name: value
        for name, value in vars(module).items()
        if hasattr(value, "__remote_config__")
        and not hasattr(value, "__is_lb_route_handler__")
        and not hasattr(value, "__flash_local__")
        and value.__module__ == module.__name__
    }


def main() -> None:
    """Run all, whatever fails."""
    mode = {"script": script, "worker": workers}[sys.argv[1]]
    mode(json.loads(sys.argv[2]))


if __name__ == "__main__":
    main()
