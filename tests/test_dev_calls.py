"""Less usual calls under `flash run`: through several workers, broken streams, what a route sees of its client."""

from __future__ import annotations

import httpx
import pytest

CHAIN = """
    from runpod_flash import Endpoint

    @Endpoint(name="first", cpu="cpu3c-1-2")
    async def first(n: int) -> int:
        return await second(n)

    @Endpoint(name="second", cpu="cpu3c-1-2")
    async def second(n: int) -> int:
        return await third(n)

    @Endpoint(name="third", cpu="cpu3c-1-2")
    async def third(n: int) -> int:
        raise ValueError("boom")
"""


def test_error_through_three_workers_names_each_frame_once(project, serve) -> None:
    server = serve(project({"chain.py": CHAIN}))

    answer = httpx.post(f"{server.url}/chain/first/runsync", json={"input": {"n": 1}}, timeout=30).json()

    assert answer["status"] == "FAILED"
    assert answer["error"].endswith("ValueError: boom")
    assert "\n" not in answer["error"]
    trace = answer["output"]["error_traceback"]
    for line in ("return await second(n)", "return await third(n)", 'raise ValueError("boom")'):
        assert trace.count(line) == 1, trace


ROUTES = """
    from fastapi import Request
    from fastapi.responses import StreamingResponse
    from runpod_flash import Endpoint

    api = Endpoint(name="api", cpu="cpu3c-1-2")

    @api.get("/client")
    async def client(request: Request):
        return [request.client.host, request.client.port > 0]

    @api.get("/broken")
    async def broken():
        async def pieces():
            yield "first"
            raise ValueError("gone wrong on the way")
        return StreamingResponse(pieces())
"""


def test_route_sees_the_address_of_its_client(project, serve) -> None:
    server = serve(project({"lb.py": ROUTES}))

    host, has_port = httpx.get(f"{server.url}/lb/client", timeout=30).json()

    assert host in ("127.0.0.1", "::1")
    assert has_port


def test_stream_that_fails_on_the_way_breaks_and_is_told_on_the_console(project, serve) -> None:
    server = serve(project({"lb.py": ROUTES}))

    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url}/lb/broken", timeout=30)

    server.wait_for_line("ValueError: gone wrong on the way")
