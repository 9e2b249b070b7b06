"""Conformance 65-70: how many workers there are."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

from platform_support import Platform, Scripted, until

Make = Callable[..., Scripted]


def stays(endpoint: Scripted, count: int, within: float = 0.4) -> None:
    """Fail unless exactly `count` workers were started, and no further one within a while."""
    until(lambda: endpoint.started >= count)
    time.sleep(within)  # nothing is to happen
    assert endpoint.started == count


def test_65_workers_start_with_work_and_stay_within_bounds(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, workers={"min": 0, "max": 2, "idleTimeout": 60})
    stays(endpoint, 0)
    assert sum(endpoint.health()["workers"].values()) == 0
    first = endpoint.run(1)
    worker = endpoint.worker()
    assert worker.job()["id"] == first
    kept = scripted(platform, workers={"min": 2, "max": 2, "idleTimeout": 1})
    kept.worker(), kept.worker()
    stays(kept, 2, 1.5)


def test_65_most_workers_is_respected(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked, workers={"min": 0, "max": 2, "idleTimeout": 60})
    for number in range(20):
        endpoint.run(number)
    for _ in range(6):
        clocked.advance(5)
    stays(endpoint, 2)


def test_66_request_count_divides_what_waits_and_runs(clocked: Platform, scripted: Make) -> None:
    workers = {"min": 0, "max": 10, "idleTimeout": 3600}
    endpoint = scripted(clocked, workers=workers, scaling={"type": "REQUEST_COUNT", "requestCount": 4})
    for number in range(4):
        endpoint.run(number)
    stays(endpoint, 1)
    endpoint.run(4)
    stays(endpoint, 2)
    worker = endpoint.worker()
    assert worker.job()["input"] == 0
    for number in range(5, 9):
        endpoint.run(number)
    stays(endpoint, 3)


def test_67_queue_delay_adds_a_worker_after_four_seconds(clocked: Platform, scripted: Make) -> None:
    workers = {"min": 0, "max": 3, "idleTimeout": 3600}
    endpoint = scripted(clocked, workers=workers, scaling={"type": "QUEUE_DELAY", "queueDelay": 4})
    endpoint.run(1)
    worker = endpoint.worker()
    worker.job()
    worker.ping()
    endpoint.run(2)
    clocked.advance(3)
    stays(endpoint, 1)
    clocked.advance(1.2)
    stays(endpoint, 2)


def test_68_idle_worker_is_stopped_after_its_time(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked, workers={"min": 0, "max": 1, "idleTimeout": 20})
    job = endpoint.run(1)
    worker = endpoint.worker()
    worker.job()
    worker.ping(job)
    clocked.advance(15)
    worker.ping(job)
    worker.done(job, {"output": 1})
    poll = clocked.later(worker.take)
    # From the end of the last job, not from the start.
    clocked.advance(18)
    time.sleep(0.3)  # nothing is to happen
    assert worker.is_alive()
    clocked.advance(2.5)
    until(lambda: not worker.is_alive(), 3)
    assert poll.result(5).status_code != 200
    until(lambda: sum(endpoint.health()["workers"].values()) == 0)


def test_69_low_priority_starts_no_worker(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked, workers={"min": 0, "max": 1, "idleTimeout": 60})
    low = endpoint.run("low", policy={"lowPriority": True})
    for _ in range(3):
        clocked.advance(5)
    stays(endpoint, 0)
    usual = endpoint.run("usual")
    worker = endpoint.worker()
    taken = [worker.job()["id"], worker.job()["id"]]
    assert sorted(taken) == sorted([low, usual])


def test_70_crash_loop_is_unhealthy_and_slows_down(platform: Platform, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    endpoint = platform.create(["/bin/sh", "-c", 'date +%s.%N >> "$0"; exit 3', starts])
    job = endpoint.run(1)
    until(lambda: starts.exists() and len(starts.read_text().splitlines()) >= 6, 20)
    until(lambda: endpoint.health()["workers"]["unhealthy"] >= 1)
    moments = [float(line) for line in starts.read_text().splitlines()[:6]]
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert pauses[4] > pauses[3] > pauses[2], pauses
    assert endpoint.status(job)["status"] in ("IN_QUEUE", "FAILED")
    assert endpoint.answered("POST", "run", {"input": 2})["status"] == "IN_QUEUE"
    endpoint.delete()
    assert os.path.exists(starts)
