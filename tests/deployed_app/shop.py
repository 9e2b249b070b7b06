"""Queue-based endpoints of the app that `test_deployed.py` deploys."""

import asyncio
import os
import time
from typing import Any

from runpod_flash import Endpoint


class VoiceError(Exception):
    """An exception of the app's own."""


@Endpoint(name="dep-sums", cpu="cpu3c-1-2", workers=(0, 3))
async def sums(a: int, b: int = 2, *, label: str = "") -> dict:
    """Parameters of all kinds that have names."""
    return {"sum": a + b, "label": label}


@Endpoint(name="dep-echo", cpu="cpu3c-1-2")
def echo(value):
    """Gives back what came, and of which type it was."""
    return [type(value).__name__, value]


@Endpoint(name="dep-empty", cpu="cpu3c-1-2")
def empty(extra: int = 1) -> Any:
    """May be called without arguments."""
    return extra


@Endpoint(name="dep-options", cpu="cpu3c-1-2")
def options(app, env="e", endpoint_name="n", func="f", **more):
    """Parameters with names of the package's own, and any others."""
    return [app, env, endpoint_name, func, more]


@Endpoint(name="dep-guide", cpu="cpu3c-1-2")
async def process_data(input: dict) -> dict:
    """The guide's first function."""
    return {"result": "processed", "got": input}


@Endpoint(name="dep-failing", cpu="cpu3c-1-2")
async def fail(kind: str, text: str = "no such voice"):
    """Fails as it is told."""
    if kind == "own":
        raise VoiceError(text)
    if kind == "builtin":
        raise KeyError(text)
    if kind == "word":
        return {"status": "error", "error": None, "text": text}
    if kind == "set":
        return {text}
    return {}


@Endpoint(name="dep-slow", cpu="cpu3c-1-2")
async def slow(seconds: float, gate: str = ""):
    """Takes its time, or until a file is there."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not os.path.exists(gate):
        await asyncio.sleep(0.02)
    return os.path.exists(gate)


@Endpoint(name="dep-counter", cpu="cpu3c-1-2")
class Counter:
    """A class whose instance stays."""

    def __init__(self, start: int = 10):
        self.n = start

    def up(self, by: int = 1):
        self.n += by
        return self.n

    async def value(self):
        return self.n

    @staticmethod
    def double(x):
        return 2 * x

    @classmethod
    def called(cls):
        return cls.__name__

    def fail(self, text):
        raise VoiceError(text)


@Endpoint(name="dep-single", cpu="cpu3c-1-2")
class Single:
    """A class with one method."""

    def predict(self, x, scale=1):
        return x * scale


@Endpoint(name="dep-items", cpu="cpu3c-1-2")
def items(n: int, gate: str = ""):
    """Yields, after the first time when a file is there."""
    for number in range(n):
        yield {"number": number}
        while gate and not os.path.exists(gate):
            time.sleep(0.02)


@Endpoint(name="dep-later", cpu="cpu3c-1-2")
async def later(n: int, fail_after: int = -1, gate: str = ""):
    """Yields asynchronously, and fails after some."""
    for number in range(n):
        if number == fail_after:
            raise VoiceError(f"after {number}")
        yield number
        while gate and not os.path.exists(gate):
            await asyncio.sleep(0.02)


@Endpoint(name="dep-caller", cpu="cpu3c-1-2")
async def call(a: int) -> dict:
    """Calls functions, methods and generators of other endpoints."""
    counter = Counter()
    return {
        "sum": (await sums(a, label="x"))["sum"],
        "many": [one["sum"] for one in await asyncio.gather(*(sums(n) for n in range(3)))],
        "none": await echo(None),
        "up": await counter.up(by=a),
    }


@Endpoint(name="dep-taker", cpu="cpu3c-1-2")
async def take(n: int) -> dict:
    """Takes the items of other endpoints' generators."""
    return {"list": await items(n), "items": [item async for item in later(n)]}


@Endpoint(name="dep-catcher", cpu="cpu3c-1-2")
async def catch(text: str) -> dict:
    """Tells of another endpoint's failure."""
    try:
        await fail("own", text)
    except Exception as error:
        return {"type": type(error).__name__, "text": str(error)}
    return {}
