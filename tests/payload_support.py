"""What tests of payloads share: a server that answers as a test says, calls, and the official client's program."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from platform_support import Endpoint, Official, Platform, until
from runpod_flash import _core

IMAGE = "runpod/flash-cpu:py3.12-latest"
HEAD = json.dumps({"function_name": "f", "function_code": "def f(*args): pass"})


class Server:
    """Answers job requests as a test says: `await seen.get()` is a request's body, `answer(...)` its answer."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[bytes] = asyncio.Queue()
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.connections = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                self.seen.put_nowait(body)
                answer = await self.answers.get()
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer[:200]:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, body: bytes, length: int | None = None) -> None:
        """Answer the next request; a wrong `length` breaks the answer off."""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length or len(body)}\r\n"
        self.answers.put_nowait(head.encode() + (b"connection: close\r\n\r\n" if length else b"\r\n") + body)


@contextlib.asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """Run a server that this process's calls go to."""
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=2**26)
    port = listening.sockets[0].getsockname()[1]
    made.address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", f"{made.address}/v2")
    yield made
    listening.close()


def call(*args: Any, timeout: float | None = 60.0, **kwargs: Any) -> asyncio.Future[Any]:
    return asyncio.ensure_future(_core.live_call("endpoint", "f", HEAD, args, kwargs, None, timeout))


def job(output: Any, **fields: Any) -> bytes:
    return json.dumps({"id": "job-u1", "status": "COMPLETED", "output": output} | fields).encode()


def returned(value: Any) -> dict[str, Any]:
    text = base64.b64encode(cloudpickle.dumps(value)).decode()
    return {"success": True, "result": text, "error": None, "stdout": "said"}


def is_pinned(value: bytearray) -> bool:
    try:
        value.append(0)
    except BufferError:
        return True
    value.pop()
    return False


async def eventually(condition: Callable[[], Any]) -> None:
    await asyncio.to_thread(until, condition)


def readers() -> list[str]:
    """Return the threads that read results."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if name == "flash-unpickle"]


async def live(endpoint: Endpoint, code: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function by its source; return what it gave."""
    head = {"function_name": code.split("def ")[1].split("(")[0], "function_code": code}
    value, _ = await _core.live_call(endpoint.id, "test", json.dumps(head), args, kwargs, None, 60.0)
    return value


OFFICIAL_CLIENT = """
import sys

sys.path += PACKAGES
import asyncio

from payload_kinds import KINDS, difference, groups, made
from runpod_flash import Endpoint


@Endpoint(name="payloads", cpu="cpu3c-1-2", env={"PYTHONPATH": ":".join(PACKAGES)})
async def echo(**values):
    from payload_kinds import difference, made
    return {kind: (difference(made(kind), value), value) for kind, value in values.items()}


async def main():
    count = 0
    for group in groups(6):
        for kind, (arrived, value) in (await echo(**{kind: KINDS[kind]() for kind in group})).items():
            count += 1
            back = difference(made(kind), value)
            if arrived or back:
                print("different", kind, arrived, back)
    print("done", count)


asyncio.run(main())
"""


def official_client(
    python: Path, module: str, packages: str, platform: Platform, environment: dict[str, str], folder: Path
) -> str:
    """Run the official client, which exchanges every kind of `module` with our worker; return what it printed."""
    program = folder / "program.py"
    text = OFFICIAL_CLIENT.replace("payload_kinds", module)
    program.write_text(f"PACKAGES = {packages.split(os.pathsep)!r}\n{text}")
    ended = subprocess.run(
        [python, program],
        cwd=folder,
        env=environment | platform.variables | {"FLASH_IS_LIVE_PROVISIONING": "true", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def echoing_endpoint(worker: str, platform: Platform, official: Path, packages: str) -> Iterator[Endpoint]:
    """Give a live endpoint of the official worker or of a Flash image, that finds `packages` too."""
    if worker == "official worker":
        endpoint = platform.create(Official(official, {}).worker("live_payloads"), env={"PACKAGES": packages})
    else:
        endpoint = platform.create(image=IMAGE, env={"PYTHONPATH": packages})
    yield endpoint
    endpoint.delete()
