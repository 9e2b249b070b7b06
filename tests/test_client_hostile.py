"""Answers made to do harm: one clear exception each, in bounded memory, and the process lives."""

from __future__ import annotations

import base64
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from misbehaving import DONE, Act, Server, answer

#: Makes the calls of a test, one after the other, and tells how each ended and what memory it took.
PROGRAM = """
import asyncio, gc, json, sys
from pathlib import Path
from runpod_flash import Endpoint, _core, errors

HEAD = json.dumps({"function_name": "f", "function_code": "def f(): pass"})
WAYS = {
    "job": lambda: Endpoint(id="ep").runsync({}, timeout=60),
    "live": lambda: _core.live_call("ep", "f", HEAD, (), {}, None, 60.0),
    "balanced": lambda: Endpoint(id="ep").get("/v2/ep/balanced", timeout=60),
    "stream": lambda: streamed(),
}

async def streamed():
    return [item async for item in Endpoint(id="ep").stream("j1")]

def peak():
    # Not `ru_maxrss`: that of the process that started this one counts there.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0"]
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10

async def main():
    for way in sys.argv[1:]:
        before = peak()
        try:
            value = await WAYS[way]()
            said = type(value).__name__
            del value
        except errors.FlashError as error:
            said = f"{type(error).__name__}: {error}"
        gc.collect()
        print(json.dumps([way, said, peak() - before]))

asyncio.run(main())
"""

Attack = Callable[..., list[list[Any]]]


@pytest.fixture
def attack(run: Callable[..., Any], tmp_path: Path) -> Iterator[Attack]:
    """Answer every request with `act`; return for each way its name, what came of it, and MB of memory."""
    servers: list[Server] = []

    def start(act: Act, *ways: str, **env: str) -> list[list[Any]]:
        servers.append(Server(lambda *_: act))
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        done = run(sys.executable, program, *ways, env=servers[-1].environment | env)
        assert done.returncode == 0, done.stderr
        assert "SECRET" not in done.stdout
        return [json.loads(line) for line in done.stdout.splitlines()]

    yield start
    for server in servers:
        server.close()


def raw(head: bytes, body: bytes = b"", then: bytes = b"") -> Act:
    """Send these bytes, and the last ones for ever."""

    def act(connection: Any) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        while then:
            connection.sendall(then)
        return False

    return act


#: With this setting no more than 20 MB of an answer are read, as Runpod gives no more.
LEAST = {"FLASH_PAYLOAD_LIMIT_MB": "1"}
CHUNK = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"


def _bomb() -> bytes:
    """Pack a gigabyte, without having it."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([packer.compress(b" " * (1 << 20)) for _ in range(1 << 10)]) + packer.flush()


BOMB = _bomb()
EVERYWHERE = ("job", "live", "balanced", "stream")


@pytest.mark.parametrize(
    ("act", "text"),
    [
        pytest.param(raw(b"Content-Length: 10737418240\r\n", b"{", b" " * 65536), r"is 10\.0 GB", id="10 GB"),
        pytest.param(raw(b"Transfer-Encoding: chunked\r\n", b"", CHUNK), r"is more than 20\.0 MB", id="endless"),
        pytest.param(raw(b"", b"{", b" " * 65536), r"is more than 20\.0 MB", id="endless without chunks"),
        pytest.param(
            raw(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(BOMB), BOMB),
            r"is more than 20\.0 MB",
            id="bomb",
        ),
    ],
)
def test_answer_that_is_too_long_is_not_held(attack: Attack, act: Act, text: str) -> None:
    for _, said, megabytes in attack(act, *EVERYWHERE, **LEAST):
        assert re.match(rf"MalformedAnswerError: .*{text}", said), said
        assert "FLASH_PAYLOAD_LIMIT_MB" in said
        assert megabytes < 64


def test_without_a_setting_an_answer_of_ten_gigabytes_is_refused_too(attack: Attack) -> None:
    ten = raw(b"Content-Length: 10737418240\r\n", b"{", b" " * 65536)
    [[_, said, megabytes]] = attack(ten, "job")
    assert re.match(r"MalformedAnswerError: .*is 10\.0 GB, and at most 512\.0 MB are read", said), said
    assert megabytes < 64


DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize("field", [b"output", b"error", b"stream", b"other"])
def test_deeply_nested_json_is_an_error_or_nothing(attack: Attack, field: bytes) -> None:
    deep = b'{"id":"j1","status":"COMPLETED","%s":%s}' % (field, DEEP)
    for way, said, _ in attack(answer(200, deep), "job", "live", "stream"):
        is_read = way == "job" or (way, field) in {("live", b"output"), ("stream", b"stream")}
        if is_read:
            assert re.match(r"MalformedAnswerError: .*(cannot be read|no FunctionResponse)", said), (way, said)
        else:
            assert not said.startswith("MalformedAnswerError") or way == "live", (way, said)


def test_deeply_nested_json_of_a_load_balanced_endpoint_is_an_error(attack: Attack) -> None:
    [[_, said, _]] = attack(answer(200, DEEP, Content_Type="application/json"), "balanced")
    assert re.match(r"MalformedAnswerError: .*cannot be read", said), said


@pytest.mark.parametrize("depth", [1_000, 1_000_000])
def test_deeply_nested_pickle_is_a_value(attack: Attack, depth: int) -> None:
    # Lists in each other: made without recursion, and taken down without it.
    pickled = base64.b64encode(b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b".").decode()
    output = {"success": True, "result": pickled, "stdout": ""}
    told = answer(200, json.dumps({"id": "j1", "status": "COMPLETED", "output": output}).encode())
    [[_, said, _]] = attack(told, "live")
    assert said == "tuple"


class Recursive:
    """Unpickles itself within itself, until the interpreter has had enough."""

    def __reduce__(self) -> Any:
        return (exec, ("def f(n):\n return f(n + 1) if n < 100000 else 0\nf(0)", {}))


@pytest.mark.parametrize("padding", [0, 2_000_000])
def test_recursion_within_a_result_is_an_error(attack: Attack, padding: int) -> None:
    import pickle

    pickled = base64.b64encode(pickle.dumps([Recursive(), bytes(padding)], 5)).decode()
    output = {"success": True, "result": pickled, "stdout": ""}
    told = answer(200, json.dumps({"id": "j1", "status": "COMPLETED", "output": output}).encode())
    [[_, said, _]] = attack(told, "live")
    assert "maximum recursion depth exceeded" in said


PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def test_page_of_a_gateway_is_named_as_such(attack: Attack) -> None:
    for way, said, _ in attack(answer(502, PAGE, Content_Type="text/html"), "job", "live", "stream"):
        assert said.startswith("ServiceUnavailableError: Runpod answered 502 Bad Gateway"), (way, said)
        assert "a proxy or gateway on the way may have made it" in said
    for way, said, _ in attack(answer(200, PAGE, Content_Type="text/html"), "job", "live", "stream"):
        assert said.startswith("MalformedAnswerError: Runpod's answer cannot be read"), (way, said)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_host_gets_no_key(attack: Attack, status: int) -> None:
    other = Server(lambda *_: answer(200, DONE))
    try:
        location = f"http://localhost:{other.port}/v2/ep/runsync?key=SECRET"
        for _, said, _ in attack(answer(status, b"", Location=location), *EVERYWHERE):
            assert f"Runpod answered {status}" in said
            assert "to `http://localhost`, which is not followed" in said
        assert other.requests == []
    finally:
        other.close()
