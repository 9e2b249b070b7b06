"""Calls over HTTP/2, as Runpod's own servers offer it: arrays by flow control, cancelled calls, certificates."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http2_server import Http2Server, certificate
from platform_support import until
from runpod_flash import _core, errors

HEAD = json.dumps({"function_name": "f", "function_code": "def f(*args): pass"})
Start = Callable[[Callable[[bytes], Awaitable[bytes]]], Awaitable[Http2Server]]


@pytest.fixture(scope="module")
def cert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def start(cert: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a server, and point this process at it."""
    made: list[Http2Server] = []

    async def start_server(respond: Callable[[bytes], Awaitable[bytes]]) -> Http2Server:
        server = Http2Server(respond)
        url = await server.start(cert)
        for name, value in {
            "RUNPOD_API_BASE_URL": url,
            "RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2",
            "RUNPOD_API_KEY": "rpa_SECRET",
            "SSL_CERT_FILE": str(cert),
        }.items():
            monkeypatch.setenv(name, value)
        made.append(server)
        return server

    yield start_server
    for server in made:
        server.listening.close()


def call(*args: Any) -> asyncio.Future[Any]:
    return asyncio.ensure_future(_core.live_call("ep", "f", HEAD, args, {}, None, 60.0))


async def echo(body: bytes) -> bytes:
    """Return the first argument as the result."""
    sent = json.loads(body)["input"]["args"][0]
    return json.dumps({"id": "j1", "status": "COMPLETED", "output": {"success": True, "result": sent}}).encode()


async def test_arrays_go_and_come_over_one_http2_connection(start: Start) -> None:
    server = await start(echo)
    arrays = [np.random.default_rng(seed).random((700, 700)) for seed in range(3)]
    arrays += [np.asfortranarray(arrays[0]), np.repeat(arrays[1], 2, axis=0)[::2]]
    for array, (got, _) in zip(arrays, await asyncio.gather(*map(call, arrays)), strict=True):
        assert got.dtype == array.dtype
        assert got.tobytes() == array.tobytes()
    assert (server.connections, server.protocols) == (1, ["h2"])
    # More than the windows of a connection hold together.
    assert sum(array.nbytes for array in arrays) * 4 // 3 > 24_000_000


async def test_cancelled_call_resets_its_stream_while_its_array_is_sent(start: Start) -> None:
    server = await start(echo)
    server.most = 20_000
    value = bytearray(3_000_000)
    going = call(value)
    await asyncio.wait_for(server.stalled.wait(), 30)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    # Its ID was never known, and there is no job: nothing is waited for.
    assert await asyncio.wait_for(server.reset.get(), 30) == 1
    assert (await call(b"goes on"))[0] == b"goes on"
    assert server.connections == 1

    def is_free() -> bool:
        try:
            value.append(0)
        except BufferError:
            return False
        return True

    await asyncio.to_thread(until, is_free)


async def test_two_hundred_calls_share_one_connection(start: Start) -> None:
    server = await start(echo)
    got = await asyncio.gather(*[call(number) for number in range(200)])
    assert [value for value, _ in got] == list(range(200))
    assert server.connections == 1


async def test_certificate_that_is_not_trusted_says_what_to_do(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await start(echo)
    trusted = Path(certificate(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with pytest.raises(errors.ConnectionFailedError, match="certificate") as caught:
        await call(1)
    assert "SSL_CERT_FILE" in str(caught.value)


async def test_certificates_of_other_clients_are_trusted_too(
    start: Start, monkeypatch: pytest.MonkeyPatch, cert: Path
) -> None:
    await start(echo)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    assert (await call(7))[0] == 7


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("SSL_CERT_FILE", None, "SSL_CERT_FILE is `{}`"),
        ("SSL_CERT_FILE", "no certificate", "SSL_CERT_FILE is `{}`"),
        ("REQUESTS_CA_BUNDLE", None, "REQUESTS_CA_BUNDLE={} cannot be used"),
        ("REQUESTS_CA_BUNDLE", "no certificate", "REQUESTS_CA_BUNDLE={} cannot be used"),
    ],
)
async def test_file_of_certificates_that_is_none_is_named(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None, text: str
) -> None:
    await start(echo)
    file = tmp_path / "bundle.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv(name, str(file))
    with pytest.raises(errors.ConfigurationError) as caught:
        await call(1)
    assert text.format(file) in str(caught.value)


PROXIED = """
import asyncio
from runpod_flash import Endpoint, errors

try:
    asyncio.run(Endpoint(id="ep").runsync({}, timeout=10))
except errors.FlashError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("is_excepted", [False, True])
def test_proxy_that_cannot_be_reached_is_named_by_its_variable(
    run: Callable[..., Any], tmp_path: Path, is_excepted: bool
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROXIED)
    env = {
        # Nobody listens at either of them.
        "RUNPOD_ENDPOINT_BASE_URL": "https://10.255.255.1:1/v2" if not is_excepted else "https://[100::1]:1/v2",
        "RUNPOD_API_KEY": "rpa_SECRET",
        "HTTPS_PROXY": "http://me:SECRET@127.0.0.1:9",
        "NO_PROXY": "100::1" if is_excepted else "",
    }
    done = run(sys.executable, program, env=env)
    assert done.returncode == 0, done.stderr
    assert "SECRET" not in done.stdout
    if is_excepted:
        assert "refused" not in done.stdout
    else:
        assert done.stdout.startswith("ConnectionFailedError cannot connect to `10.255.255.1:1`"), done.stdout
        assert "refused" in done.stdout
        assert "the proxy that HTTPS_PROXY names" in done.stdout
