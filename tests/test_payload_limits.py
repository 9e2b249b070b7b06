"""What is larger than Runpod takes is refused on every path, before anything is sent; a server counts what comes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from payload_support import Server, job, serving
from platform_support import Platform
from runpod_flash import Endpoint, errors

MB = 1_048_576

pytestmark = pytest.mark.xdist_group("payloads")


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with serving(monkeypatch) as made:
        monkeypatch.setenv("RUNPOD_API_KEY", "key")
        yield made


def refused(error: errors.PayloadTooLargeError, *parts: str) -> None:
    """The error says what is how large, and what to do."""
    assert isinstance(error, ValueError)
    for part in parts:
        assert part in str(error)
    assert "network volume" in str(error.hint)
    assert "FLASH_PAYLOAD_LIMIT_MB" in str(error.hint)


async def test_run_takes_10_mb_of_json(server: Server) -> None:
    with pytest.raises(errors.PayloadTooLargeError) as raised:
        await Endpoint(id="limited").run({"text": "a" * 10 * MB})
    refused(raised.value, "`/run` takes 10.0 MB", "`input` is 10.0 MB")
    assert "base64" not in str(raised.value)
    assert server.connections == 0


async def test_runsync_takes_20_mb_of_json(server: Server) -> None:
    with pytest.raises(errors.PayloadTooLargeError) as raised:
        await Endpoint(id="limited").runsync({"text": "a" * 20 * MB})
    refused(raised.value, "`/runsync` takes 20.0 MB", "`input` is 20.0 MB")
    assert server.connections == 0


@pytest.mark.parametrize("data", [{"text": "a" * 30 * MB}, b"a" * (30 * MB + 1)], ids=["JSON", "bytes"])
async def test_a_load_balanced_endpoint_takes_30_mb(server: Server, data: Any) -> None:
    with pytest.raises(errors.PayloadTooLargeError) as raised:
        await Endpoint(id="limited").post("/path", data)
    refused(raised.value, "a load-balanced endpoint takes 30.0 MB", "`data` is 30.0 MB")
    assert server.connections == 0


async def test_the_setting_holds_for_every_route(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASH_PAYLOAD_LIMIT_MB", "0.5")
    endpoint = Endpoint(id="limited")
    data = {"text": "a" * MB}
    for call in (endpoint.run(data), endpoint.runsync(data), endpoint.post("/path", data)):
        with pytest.raises(errors.PayloadTooLargeError, match=r"takes 512.0 kB"):
            await call
    assert server.connections == 0
    monkeypatch.setenv("FLASH_PAYLOAD_LIMIT_MB", "0")
    calling = asyncio.ensure_future(endpoint.runsync({"text": "a" * 25 * MB}))
    assert len(await server.seen.get()) > 25 * MB
    server.answer(job("taken"))
    assert (await calling).output == "taken"


PROGRAM = """
import asyncio, sys
import numpy as np
from runpod_flash import Endpoint, errors

@Endpoint(name="limited-queue", cpu="cpu3c-1-2")
async def queued(number, image):
    return 1

@Endpoint(name="limited-generator", cpu="cpu3c-1-2")
async def generated(number, image):
    yield 1

@Endpoint(name="limited-class", cpu="cpu3c-1-2")
class Model:
    def __init__(self, image=None):
        pass
    def method(self, image=None):
        return 1

image_of_ours = Endpoint(name="limited-image", image="somebody/something:1", cpu="cpu3c-1-2")

image, text = np.ones(4_000_000), "a" * 40_000_000

async def main():
    large = text if sys.argv[1] == "deployed" else image
    async def items():
        return [item async for item in generated(1, large)]
    calls = [lambda: queued(1, large), items, lambda: Model().method(large)]
    if sys.argv[1] == "live":
        calls += [lambda: Model(image).method(), lambda: queued(1, lambda: image)]
        calls += [lambda: image_of_ours.run({"text": text}), lambda: image_of_ours.post("/path", {"text": text})]
    for call in calls:
        try:
            await call()
        except errors.PayloadTooLargeError as error:
            print("refused", str(error).splitlines()[0])
        else:
            print("sent")

asyncio.run(main())
"""


@pytest.mark.parametrize("context", ["live", "deployed"])
async def test_a_call_of_a_function_makes_no_endpoint_and_sends_nothing(
    server: Server, run: Callable[..., Any], tmp_path: Path, context: str
) -> None:
    address = server.address
    env = {
        "RUNPOD_API_KEY": "key",
        "RUNPOD_ENDPOINT_BASE_URL": f"{address}/v2",
        "RUNPOD_API_BASE_URL": address,
        "RUNPOD_REST_API_URL": f"{address}/v1",
        "RUNPOD_HAPI_URL": address,
        "RUNPOD_URL_MIXED_OK": "1",
        "FLASH_IS_LIVE_PROVISIONING" if context == "live" else "FLASH_APP": "true" if context == "live" else "limited",
    }
    (tmp_path / "app.py").write_text(PROGRAM)
    ended = await asyncio.to_thread(run, sys.executable, "app.py", context, cwd=tmp_path, env=env)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == (7 if context == "live" else 3), ended.stdout
    for line in lines:
        assert line.startswith("refused"), ended.stdout
        assert "30.5 MB" in line or "38.1 MB" in line
    assert server.connections == 0


WORKER_TO_WORKER = """
import asyncio, sys
from runpod_flash import Endpoint

@Endpoint(name="limited-far", cpu="cpu3c-1-2")
async def far(data):
    return len(data)

@Endpoint(name="limited-near", cpu="cpu3c-1-2")
async def near(count):
    try:
        return await far(bytes(count))
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]

async def main():
    print(await near(1000))
    print(await near(16_000_000))

asyncio.run(main())
"""


def test_a_worker_that_calls_another_endpoint_sends_nothing_either(
    platform: Platform, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(WORKER_TO_WORKER)
    env = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    ended = run(sys.executable, "app.py", cwd=tmp_path, env=env, timeout=110)
    assert ended.returncode == 0, ended.stderr
    first, second = ended.stdout.splitlines()
    assert first == "1000"
    assert "PayloadTooLargeError" in second
    assert "20.3 MB" in second
    assert "20.0 MB" in second
