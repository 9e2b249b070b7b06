"""Conformance 25-30: partial results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from platform_support import Endpoint, Official, Platform, Scripted, until

Make = Callable[..., Scripted]


def test_25_chunks_come_once_and_in_order(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    chunks = [{"k": 0}, "é", 2, None, [3]]
    assert worker.chunk(job, chunks[0]).status_code == 200
    assert endpoint.stream(job) == {"id": job, "status": "IN_PROGRESS", "stream": [{"output": {"k": 0}}]}
    for chunk in chunks[1:]:
        worker.chunk(job, chunk)
    worker.done(job, {"output": []}, is_stream=True)
    rest = endpoint.stream(job)
    assert rest["stream"] == [{"output": chunk} for chunk in chunks[1:]]
    assert rest["status"] == "COMPLETED"
    assert endpoint.status(job)["output"] == []


def test_26_drained_stream_is_empty_and_final(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    worker.chunk(job, 1)
    worker.done(job, {"output": [1]}, is_stream=True)
    assert endpoint.drained(job) == ([1], "COMPLETED")
    for _ in range(2):
        start = time.monotonic()
        assert endpoint.stream(job) == {"id": job, "status": "COMPLETED", "stream": []}
        assert time.monotonic() - start < 0.5


def test_27_stream_key_is_always_there(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked)
    worker = endpoint.worker()
    failed, cancelled = endpoint.run(1), endpoint.run(2)
    worker.job()
    worker.chunk(failed, "before")
    worker.done(failed, {"error": "no"}, is_stream=True)
    endpoint.cancel(cancelled)
    assert endpoint.stream(failed) == {"id": failed, "status": "FAILED", "stream": [{"output": "before"}]}
    assert endpoint.stream(failed)["stream"] == []
    assert endpoint.stream(cancelled) == {"id": cancelled, "status": "CANCELLED", "stream": []}
    queued = endpoint.run(3)
    held = clocked.later(endpoint.stream, queued)
    until(lambda: clocked.advance(5) or held.done())
    assert held.result() == {"id": queued, "status": "IN_QUEUE", "stream": []}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_28_idle_stream_is_held(platform: Platform, scripted: Make, method: str) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    start = time.monotonic()
    answer = platform.later(endpoint.answered, method, f"stream/{job}")
    time.sleep(0.5)  # what is shown is that nothing happens
    assert not answer.done()
    worker.chunk(job, "there")
    assert answer.result(1)["stream"] == [{"output": "there"}]
    assert 0.5 < time.monotonic() - start < 1.5


SYNC = """
import json, sys, runpod
runpod.api_key = sys.argv[1]
job = runpod.Endpoint(sys.argv[2]).run(json.loads(sys.argv[3]))
print(json.dumps([list(job.stream()), job.status()]))
"""
ASYNC = """
import asyncio, json, sys, runpod
from runpod import AsyncioEndpoint, http_client
runpod.api_key = sys.argv[1]
async def main():
    async with http_client.AsyncClientSession() as session:
        job = await AsyncioEndpoint(sys.argv[2], session).run(json.loads(sys.argv[3]))
        print(json.dumps([[chunk async for chunk in job.stream()], await job.status()]))
asyncio.run(main())
"""


@pytest.mark.official
@pytest.mark.xdist_group("official-generator")
@pytest.mark.parametrize("client", [SYNC, ASYNC], ids=["sync", "asyncio"])
def test_29_official_python_stream_ends_with_all_chunks(
    client: str, platform: Platform, official_python: Official, official_endpoint: Callable[..., Endpoint]
) -> None:
    endpoint = official_endpoint("generator")
    for wanted, status in (({"count": 4, "seconds": 0.1}, "COMPLETED"), ({"count": 4, "fail_after": 2}, "FAILED")):
        items, ended = official_python.script(platform, client, platform.token, endpoint.id, json.dumps(wanted))
        expected = wanted.get("fail_after", 4)
        assert [item["number"] for item in items] == list(range(int(expected)))
        assert ended == status


def test_30_stream_of_a_plain_job_is_empty(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    worker.done(job, {"output": {"whole": True}})
    assert endpoint.stream(job) == {"id": job, "status": "COMPLETED", "stream": []}
    assert endpoint.status(job)["output"] == {"whole": True}
