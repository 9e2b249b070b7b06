"""Worker processes: loading, calls from Python and by JSON, their end."""

from __future__ import annotations

import pytest
from worker_parent import ANSWER, LOAD_FAILED, READY, Worker, module

BASICS = '''
import asyncio

def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b

async def later(x):
    await asyncio.sleep(0)
    return [x, x]

def fails(x):
    print("about to fail")
    raise ValueError("boom")

class Counter:
    def __init__(self, start: int = 0):
        self.n = start
    def up(self, by: int = 1) -> int:
        self.n += by
        return self.n
    async def value(self):
        return self.n
'''


@pytest.fixture
def basics(tmp_path):
    with Worker() as worker:
        ready = worker.load(module(tmp_path, "pkg.basics", BASICS), ["add", "later", "fails", "Counter"])
        assert ready.kind == READY, ready
        yield worker


def test_python_and_json_calls_of_sync_async_and_class_answer(basics):
    assert basics.python("add", 1, b=5) == 6
    assert basics.python("later", "x") == ["x", "x"]
    assert basics.python("Counter.up", 3) == 3
    assert basics.python("Counter.value") == 3
    assert basics.json("add", {"a": "7"}) == 9
    assert basics.json("Counter.up", {"by": 2}) == 5
    assert basics.json("Counter", {"method": "value"}) == 5


def test_stop_ends_the_worker_with_status_zero(basics):
    assert basics.python("add", 1) == 3
    assert basics.stop() == 0
