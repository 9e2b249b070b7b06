"""A user's program with live endpoints; each check prints its name. Run by `test_live_calls.py`."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import sys
from collections import OrderedDict

from helpers import shout
from runpod_flash import Endpoint

CPU = {"cpu": "cpu3c-1-2", "workers": (0, 2)}
FACTOR = 3
TABLE = {"a": 1}
TABLE.update(b=2)


def twice(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return [await function(*args, **kwargs)] * 2

    return wrapper


class Odd(ValueError):
    pass


@dataclasses.dataclass
class Shape:
    side: float
    tags: list[str] = dataclasses.field(default_factory=list)

    def area(self) -> float:
        return self.side**2 * FACTOR


class Counting:
    def __init__(self) -> None:
        self.count = 0

    def bump(self) -> int:
        self.count += 1
        return self.count


gpu = Endpoint(name="plain", **CPU)


@gpu
async def plain(x, y=FACTOR):
    print("on the worker", x)
    return math.floor(x) * y, OrderedDict(TABLE), shout("hi")


@Endpoint(name="none", **CPU)
def first(value, func=1, env=2, app=3, dependencies=4, method=5):
    return value, func, env, app, dependencies, method


@Endpoint(name="shape", **CPU)
def area(shape):
    return shape.area(), Shape(2.0), isinstance(shape, Shape)


@Endpoint(name="decorated", **CPU)
@twice
async def decorated(x):
    return x + FACTOR


@Endpoint(name="failing", **CPU)
def failing(kind):
    if kind == "own":
        raise Odd("not even")
    return {}[kind]


@Endpoint(name="items", **CPU)
def items(n):
    for i in range(n):
        yield i * FACTOR


@Endpoint(name="later", **CPU)
async def later(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@Endpoint(name="counter", **CPU)
class Counter(
    Counting,
):
    STEP = FACTOR

    def __init__(self, start, *, label="c"):
        super().__init__()
        self.count = start
        self.label = label

    async def add(self, n=1):
        self.count += n * self.STEP
        return self.label, self.count

    def listed(self, n):
        for i in range(n):
            yield self.count + i

    @staticmethod
    def double(x):
        return x * 2

    @classmethod
    def called(cls):
        return cls.__name__


@Endpoint(name="inner", **CPU)
def inner(a, b=7, *rest, c=3, **more):
    return a + b + sum(rest) + c * FACTOR, more


@Endpoint(name="outer", **CPU)
async def outer(x):
    call = inner
    both = await asyncio.gather(*(call(i, c=1) for i in range(2)))
    counter = Counter(100)
    last = await counter.add(2)
    return await inner(x), both, last, [item async for item in items(2)], await items(3)


def nested(n):
    word = "captured"

    @Endpoint(name="nested", **CPU)
    def within(x):
        return word, n + x

    return within


async def main() -> None:
    assert await plain(2.5) == (6, OrderedDict(a=1, b=2), "HI"), "function"
    assert await first(None) == (None, 1, 2, 3, 4, 5), "none"
    large = bytes(range(256)) * 12_000
    found = await first(large, func=[1], env={"a"}, app=b"x", dependencies=4, method=(5,))
    assert found[0] == large and found[1:] == ([1], {"a"}, b"x", 4, (5,)), "large"
    size, made, _ = await area(Shape(2.0, ["x"]))
    assert size == 12.0 and made.area() == 12.0, "objects"
    if sys.argv[1] == "13":  # Only there is numpy installed, and an object kept for its next call.
        import numpy

        array = numpy.arange(300_000.0).reshape(3, -1).T
        assert numpy.array_equal((await first(array))[0], array), "array"
    assert await decorated(1) == [4, 4], "decorator"
    for kind, cls in (("own", Odd), ("missing", KeyError)):
        try:
            await failing(kind)
        except RuntimeError as error:
            assert isinstance(error.__cause__, cls), (error, error.__cause__)
            assert "in failing" in error.remote_traceback, error.remote_traceback
            assert error.__cause__.args == (("not even",) if kind == "own" else ("missing",))
        else:
            raise AssertionError(kind)
    assert await items(3) == [0, 3, 6] and [i async for i in later(2)] == [0, 1], "generators"
    counter, other = Counter(10), Counter(20, label="other")
    assert await counter.add() == ("c", 13), "class"
    assert await counter.double(4) == 8 and await counter.called() == "Counter", "static"
    assert await counter.listed(2) == [int(sys.argv[1]), int(sys.argv[1]) + 1], "generator method"
    assert await other.add(2) == ("other", 26), "instances"
    assert await outer(1) == ((1 + 7 + 9, {}), [(10, {}), (11, {})], ("c", 106), [0, 3], [0, 3, 6]), "stacked"
    assert await nested(5)(1) == ("captured", 6), "closure"
    try:
        await plain(1, 2, 3)
    except TypeError as error:
        assert "too many" in str(error)
    many = await asyncio.gather(*(first(i) for i in range(100 if sys.argv[1] == "13" else 9)))
    assert [one[0] for one in many] == list(range(len(many))), "many"
    print("all is well")


if __name__ == "__main__":
    asyncio.run(main())
