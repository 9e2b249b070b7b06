"""Calls the deployed app and prints, as one line of JSON, how each call ended. Run by either SDK in the app's folder."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from api import hello
from shop import Counter, Single, call, catch, echo, empty, fail, items, later, options, process_data, sums, take

#: Text, numbers and nesting that must come back as they were.
DEEP = {"a": [1, None, "é\u0000\U0001f600", 1.5, True, {}], "": {"b": []}}
FLOATS = [0.1, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3, 2**53 + 1, 10**30]

CASES: dict[str, Callable[[], Any]] = {
    "defaults": lambda: sums(1),
    "named": lambda: sums(b=5, a=-1, label="é"),
    "none": lambda: echo(None),
    "by keyword": lambda: echo(value=None),
    "deep": lambda: echo(DEEP),
    "floats": lambda: echo(FLOATS),
    "tuple": lambda: echo((1, (2, 3))),
    "false": lambda: echo(False),
    "empty text": lambda: echo(""),
    "empty list": lambda: echo([]),
    "nothing": lambda: empty(),
    "own names": lambda: options("a", env=1, func=2, other=[3]),
    "guide": lambda: process_data({"your": "data"}),
    "guide keyword": lambda: process_data(input={"input": {"a": 1}}),
    "state": lambda: Counter().up(by=2),
    "async method": lambda: Counter().value(),
    "static method": lambda: Counter().double(4),
    "single": lambda: Single().predict([1], scale=2),
    "caller": lambda: call(4),
    "taker": lambda: take(2),
    "catcher": lambda: catch("deep down"),
    "list": lambda: items(3),
    "async list": lambda: later(2),
    "result with a null error": lambda: fail("word"),
    "empty result": lambda: fail("nothing"),
    "own error": lambda: fail("own"),
    "builtin error": lambda: fail("builtin", "k"),
    "method error": lambda: Counter().fail("in a method"),
    "unencodable": lambda: fail("set"),
    "generator error": lambda: later(3, fail_after=1),
    "route": lambda: hello("route"),
    "set": lambda: echo({1}),
    "bytes": lambda: echo(b"x"),
    "constructor": lambda: Counter(5).up(),
    "unknown method": lambda: Counter().typo(),
    "missing": lambda: sums(),
    "surplus": lambda: sums(1, 2, 3),
    "unknown keyword": lambda: sums(1, typo=2),
}

#: Calls of a class's object, which keeps what earlier ones left.
IN_ORDER = ("state", "async method")


async def ended(make: Callable[[], Any]) -> Any:
    try:
        value = make()
        return {"value": await value if hasattr(value, "__await__") else value}
    except Exception as error:
        found = {"error": type(error).__name__, "text": str(error)}
        if error.__cause__ is not None:
            found["cause"] = repr(error.__cause__)
        return found


async def main() -> None:
    chosen = sys.argv[1:] or list(CASES)
    at_once = [name for name in chosen if name not in IN_ORDER]
    found = dict(zip(at_once, await asyncio.gather(*(ended(CASES[name]) for name in at_once)), strict=True))
    for name in chosen:
        if name in IN_ORDER:
            found[name] = await ended(CASES[name])
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
