"""Pickles that do harm: one clear error each, bounded memory, and no crash, in answers and in arguments."""

from __future__ import annotations

import base64
import pickle
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from payload_support import IMAGE, Server, call, eventually, job, live, readers, serving
from platform_support import Platform
from runpod_flash import _core, errors

FUZZ = Path(__file__).with_name("payload_fuzz.py")
#: Bytes that the first part of a large pickle has: it is read by a thread, while it arrives.
LARGE = 1_500_000

HOSTILE: dict[str, bytes] = {
    "memo index": b"Nr\xff\xff\xff\x7f.",
    "memo index as text": b"Np99999999999999999999\n.",
    "bytes that are not there": b"B\xff\xff\xff\x7fabc",
    "2**60 bytes": b"\x8e" + (1 << 60).to_bytes(8, "little") + b"abc",
    "2**60 bytes of an array": b"\x96" + (1 << 60).to_bytes(8, "little") + b"abc",
    "2**60 characters": b"\x8d" + (1 << 60).to_bytes(8, "little") + b"abc",
    "2**63 bytes": b"\x8e" + (1 << 63).to_bytes(8, "little") + b"abc",
    "frame that is not there": b"\x95" + (1 << 40).to_bytes(8, "little") + b"N.",
    "negative text": b"T\xff\xff\xff\xffabc.",
    "negative number": b"\x8b\x00\x00\x00\x80abc.",
    "buffer beside it": b"\x97.",
    "buffers twice": b"]\x94(\x97\x97e.",
    "protocol 6": b"\x80\x06N.",
    "opcode of no protocol": b"N\x99.",
    "end without a value": b".",
    "too much taken": b"0000.",
    "mark that is not there": b"t.",
    "memo that is not there": b"j\xff\xff\xff\x7f.",
    "nothing": b"",
    "cut": pickle.dumps(list(range(1000)), 5)[:-500],
    "cut in a text": pickle.dumps("text" * 100, 5)[:-50],
}


def text(pickled: bytes, *, large: bool = False) -> str:
    if large:  # Bytes, which are taken away again.
        pickled = b"\x80\x05\x8e" + LARGE.to_bytes(8, "little") + bytes(LARGE) + b"0" + pickled
    return base64.b64encode(pickled).decode()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with serving(monkeypatch) as made:
        yield made


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_pickle_in_an_answer_is_one_clear_error(server: Server, kind: str, size: str) -> None:
    before = peak()
    calling = call()
    await server.seen.get()
    server.answer(job({"success": True, "result": text(HOSTILE[kind], large=size == "large")}))
    with pytest.raises(errors.MalformedAnswerError, match="pickle"):
        await calling
    assert peak() - before < 64 * 1024, "kB"
    await eventually(lambda: not readers())


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_in_an_argument_is_a_value_error(kind: str) -> None:
    with pytest.raises(ValueError, match="pickle"):
        _core.load_text(text(HOSTILE[kind]))


async def test_a_hostile_argument_fails_its_job_and_the_worker_lives_on(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)
    endpoint = platform.create(image=IMAGE)
    code = "def f(value):\n    import os\n    return os.getpid()"
    first = await live(endpoint, code, 1)
    for kind in ("memo index", "2**60 bytes", "protocol 6", "cut"):
        request = {"function_name": "f", "function_code": code, "args": [text(HOSTILE[kind])], "kwargs": {}}
        status = endpoint.runsync(request)
        answer = status.get("output") or {}
        assert "pickle" in str(answer.get("error") or status.get("error")), status
    assert await live(endpoint, code, 1) == first
    endpoint.delete()


DEPTH = 300_000
#: Values that are whole, however odd.
DEEP = {
    "lists in lists": b"]" * DEPTH + b"a" * (DEPTH - 1) + b".",
    "tuples in tuples": b")" + b"\x85" * DEPTH + b".",
    "dicts in dicts": b"}K\x00" * DEPTH + b"N" + b"s" * DEPTH + b".",
    # 2**200 leaves, if anything went through them.
    "lists that hold one twice": b"]\x94" + b"".join(b"](h%ch%ce\x94" % (n, n) for n in range(200)) + b".",
}

DEEP_PROGRAM = """
import gc
from test_payload_hostile import DEEP, text
from runpod_flash import _core

for kind, pickled in DEEP.items():
    value = _core.load_text(text(pickled))
    del value
    gc.collect()
    print(kind)
"""


def test_deep_values_are_read_and_dropped_without_a_crash(run: Callable[..., Any]) -> None:
    ended = run(sys.executable, "-c", DEEP_PROGRAM, env={"PYTHONPATH": str(FUZZ.parent)}, timeout=100)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.splitlines() == list(DEEP)


RECURSION = """
import asyncio, json, os, sys
sys.setrecursionlimit(30_000)
from payload_support import Server, call, job
from test_payload_hostile import text

async def main():
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**26)
    os.environ["RUNPOD_ENDPOINT_BASE_URL"] = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v2"
    # What a program's main thread can do, the thread that reads a large result can too.
    nested = "[" * 12_000 + "]" * 12_000
    assert json.loads(nested)
    pickled = b"cjson\\nloads\\n(X" + len(nested).to_bytes(4, "little") + nested.encode() + b"tR."
    calling = call()
    await server.seen.get()
    server.answer(job({"success": True, "result": text(pickled, large=True)}))
    value, _ = await calling
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    print("depth", depth)
    listening.close()

asyncio.run(main())
"""


def test_a_result_that_recurses_has_the_stack_of_a_main_thread(run: Callable[..., Any]) -> None:
    ended = run(sys.executable, "-c", RECURSION, env={"PYTHONPATH": str(FUZZ.parent)})
    assert (ended.returncode, ended.stdout) == (0, "depth 11999\n"), ended.stderr[-2000:]


def test_damaged_pickles_are_values_or_errors_within_bounds(run: Callable[..., Any]) -> None:
    ended = run(sys.executable, "-W", "ignore", FUZZ, timeout=110)
    assert ended.returncode == 0, ended.stderr[-2000:]
    count, peak_mb, _ = ended.stdout.split(maxsplit=2)
    assert count == "800"
    assert int(peak_mb) < 500
