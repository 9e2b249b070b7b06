"""Conformance 13-24: waiting for jobs and asking for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from platform_support import Platform, Scripted, until

Make = Callable[..., Scripted]


def stays_open(future: Future[Any], within: float = 0.3) -> bool:
    """Whether `future` has no result for `within` seconds."""
    try:
        future.result(within)
    except TimeoutError:
        return True
    return False


def test_13_runsync_answers_as_soon_as_the_job_is_done(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    took = []
    for number in range(5):
        answer = platform.later(endpoint.runsync, number)
        job = worker.job()
        start = time.monotonic()
        worker.done(job["id"], {"output": number})
        assert answer.result(5)["output"] == number
        took.append(time.monotonic() - start)
    assert min(took) < 0.05, took


def test_14_runsync_answers_when_its_wait_ends(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    start = time.monotonic()
    answer = platform.later(endpoint.runsync, 1, 1000)
    job = worker.job()
    waiting = answer.result(5)
    assert 0.9 < time.monotonic() - start < 2
    assert (waiting["id"], waiting["status"]) == (job["id"], "IN_PROGRESS")
    worker.done(job["id"], {"output": "later"})
    assert endpoint.wait_for(job["id"], "COMPLETED")["output"] == "later"


def test_15_wait_is_clamped(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked, workers=0)
    start = time.monotonic()
    assert endpoint.runsync(1, wait=5)["status"] == "IN_QUEUE"
    assert time.monotonic() - start > 0.9
    long = clocked.later(endpoint.runsync, 1, 999_999)
    usual = clocked.later(endpoint.runsync, 1)
    until(lambda: endpoint.health()["jobs"]["inQueue"] == 3)  # both have arrived
    clocked.advance(88)
    assert stays_open(usual)
    clocked.advance(2)
    assert usual.result(5)["status"] == "IN_QUEUE"
    assert stays_open(long)
    clocked.advance(208)
    assert stays_open(long)
    clocked.advance(3)
    assert long.result(5)["status"] == "IN_QUEUE"
    assert endpoint.post("runsync?wait=soon", {"input": 1}).status_code == 400


def test_16_status_by_get_and_post_is_the_same(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run({"a": 1})
    worker.job()
    worker.done(job, {"output": {"b": [1, "é"]}})
    by_get = endpoint.get(f"status/{job}")
    by_post = endpoint.request("POST", f"status/{job}", content=b"", headers={"Content-Type": "application/json"})
    assert by_get.content == by_post.content
    assert by_get.json()["status"] == "COMPLETED"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_17_status_sync_waits(platform: Platform, scripted: Make, method: str) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    start = time.monotonic()
    assert endpoint.answered(method, f"status-sync/{job}?wait=1000")["status"] == "IN_QUEUE"
    assert 0.9 < time.monotonic() - start < 2
    waiting = platform.later(endpoint.answered, method, f"status-sync/{job}?wait=20000")
    worker.job()
    assert stays_open(waiting)
    worker.done(job, {"output": "é"})
    assert waiting.result(2)["output"] == "é"
    # Final already: at once, whatever the wait.
    start = time.monotonic()
    assert endpoint.answered(method, f"status-sync/{job}?wait=20000")["status"] == "COMPLETED"
    assert time.monotonic() - start < 0.5


def test_18_times_are_whole_numbers(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    queued = endpoint.status(job)
    assert (queued["id"], queued["status"]) == (job, "IN_QUEUE")
    assert queued.keys().isdisjoint({"delayTime", "executionTime", "workerId", "retries", "output", "error"})
    worker.job()
    running = endpoint.status(job)
    assert running["status"] == "IN_PROGRESS"
    assert type(running["delayTime"]) is int
    assert running["workerId"] == worker.id
    assert "executionTime" not in running
    assert "retries" not in running
    worker.done(job, {"output": 1})
    done = endpoint.status(job)
    assert type(done["delayTime"]) is int
    assert type(done["executionTime"]) is int
    assert done["workerId"] == worker.id


def test_19_unknown_and_expired_jobs_are_404(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked)
    worker = endpoint.worker()

    def gone(job: str) -> bool:
        answer = endpoint.get(f"status/{job}")
        if answer.status_code == 200:
            return False
        assert answer.status_code == 404
        assert answer.json()["error"]
        return True

    assert gone("nosuchjob")
    assert endpoint.get("status-sync/nosuchjob?wait=1000").status_code == 404
    assert endpoint.get("stream/nosuchjob").status_code == 404
    assert endpoint.post("cancel/nosuchjob").status_code == 404
    # A job of another endpoint is unknown here.
    assert endpoint.get(f"status/{scripted(clocked).run(1)}").status_code == 404

    kept = endpoint.run(1)
    worker.job()
    worker.done(kept, {"output": 1})
    answered = clocked.later(endpoint.runsync, 1)
    worker.done(worker.job()["id"], {"output": 1})
    brief = answered.result(5)["id"]
    clocked.advance(50)
    assert not gone(brief)
    clocked.advance(260)
    until(lambda: gone(brief))
    clocked.advance(29 * 60 - 310)
    assert not gone(kept)
    clocked.advance(70)
    until(lambda: gone(kept))


def test_20_ttl_of_status_shortens_a_jobs_life(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked)
    job, other = endpoint.run(1), endpoint.run(2)
    assert endpoint.answered("GET", f"status/{job}?ttl=6000")["status"] == "IN_QUEUE"
    clocked.advance(5)
    assert endpoint.status(job)["id"] == job
    clocked.advance(1.5)
    until(lambda: endpoint.get(f"status/{job}").status_code == 404)
    assert endpoint.status(other)["status"] == "IN_QUEUE"


def test_21_status_shows_the_last_progress(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    for progress in ("p0", {"percent": 50, "é": None}):
        assert worker.done(job, {"status": "IN_PROGRESS", "output": progress}).status_code == 200
        seen = endpoint.status(job)
        assert (seen["status"], seen["output"]) == ("IN_PROGRESS", progress)
    worker.done(job, {"output": "end"})
    assert endpoint.status(job)["output"] == "end"


def test_22_failed_status_has_error_and_output(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    for body in (
        {"error": "custom"},
        {"error": "custom", "output": {"x": 1}},
        {"error": '{"error_type": "<class \'ValueError\'>", "error_message": "boom \\u00e9"}'},
    ):
        job = endpoint.run(1)
        worker.job()
        worker.done(job, body)
        seen = endpoint.status(job)
        assert seen["status"] == "FAILED"
        assert {name: seen[name] for name in ("error", "output") if name in seen} == body


def test_23_null_and_missing_outputs(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    for body, expected in (({"output": None}, {"output": None}), ({}, {})):
        job = endpoint.run(1)
        worker.job()
        assert worker.done(job, body).status_code == 200
        seen = endpoint.status(job)
        assert seen["status"] == "COMPLETED"
        assert {name: seen[name] for name in ("output",) if name in seen} == expected
        assert "error" not in seen


def test_24_client_that_hangs_up_does_not_cancel(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    body = b'{"input":{"a":1}}'
    with socket.create_connection(("127.0.0.1", platform.port)) as client:
        head = f"POST /v2/{endpoint.id}/runsync HTTP/1.1\r\nHost: localhost:{platform.port}\r\n"
        head += f"Authorization: {platform.token}\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        until(lambda: endpoint.health()["jobs"]["inQueue"] == 1)
    job = worker.job()
    assert job["input"] == {"a": 1}
    worker.done(job["id"], {"output": "still there"})
    assert endpoint.status(job["id"])["output"] == "still there"
