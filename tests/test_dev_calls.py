"""Calls between endpoints under `flash run`: what a failure looks like after several workers."""

from __future__ import annotations

import httpx

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
