"""Conformance 31-39: cancel, purge, retry, health, webhooks."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from platform_support import Endpoint, Official, Platform, Scripted, until

Make = Callable[..., Scripted]


def test_31_cancelled_in_queue_never_reaches_a_worker(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    first, second, third = (endpoint.run(number) for number in range(3))
    assert endpoint.health()["jobs"]["inQueue"] == 3
    answer = endpoint.cancel(second)
    assert (answer["id"], answer["status"]) == (second, "CANCELLED")
    assert endpoint.health()["jobs"]["inQueue"] == 2
    assert [worker.job()["id"] for _ in range(2)] == [first, third]
    assert endpoint.status(second)["status"] == "CANCELLED"


@pytest.mark.official
@pytest.mark.xdist_group("official-asynchronous")
def test_32_cancel_stops_a_running_async_handler(
    platform: Platform, official_endpoint: Callable[..., Endpoint], tmp_path: Path
) -> None:
    endpoint = official_endpoint("asynchronous")
    before = endpoint.runsync({"a": 1})
    job = endpoint.run({"seconds": 600, "touch": str(tmp_path / "runs")})
    # Taken is not started: a signal that comes in between is lost on the official worker.
    until((tmp_path / "runs").exists, 20)
    start = time.monotonic()
    assert endpoint.cancel(job)["status"] == "CANCELLED"
    after = endpoint.runsync({"a": 2})
    # The same process is free for it: the handler was stopped, not its process.
    assert after["output"] == {"echo": {"a": 2}, "pid": before["output"]["pid"]}
    assert time.monotonic() - start < 5
    assert endpoint.status(job)["status"] == "CANCELLED"


def test_32_stop_signal_comes_within_100_ms(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    took = []
    for _ in range(3):
        job = endpoint.run(1)
        worker.job()
        stops = platform.later(lambda: (worker.stops().json(), time.monotonic()))
        time.sleep(0.1)  # so that it is held
        assert not stops.done()
        start = time.monotonic()
        endpoint.cancel(job)
        told, end = stops.result(2)
        assert told == {"jobsToStop": [job]}
        took.append(end - start)
        # It stopped: it is free, and says nothing about the job.
        again = endpoint.run(2)
        assert worker.job()["id"] == again
        worker.done(again, {"output": 1})
    assert min(took) < 0.1, took


def test_33_late_result_of_a_cancelled_job_is_refused(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    assert endpoint.cancel(job)["status"] == "CANCELLED"
    cancelled = endpoint.status(job)
    answer = worker.done(job, {"output": "late"})
    assert 400 <= answer.status_code < 500
    assert endpoint.status(job) == cancelled
    assert cancelled["status"] == "CANCELLED"
    assert "output" not in cancelled
    # It is free again.
    assert endpoint.run(2) == worker.job()["id"]


def test_34_cancel_of_a_finished_job_changes_nothing(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    for body, status in (({"output": 1}, "COMPLETED"), ({"error": "no"}, "FAILED")):
        job = endpoint.run(1)
        worker.job()
        worker.done(job, body)
        before = endpoint.status(job)
        assert endpoint.cancel(job)["status"] == status
        assert endpoint.status(job) == before


def test_35_purge_removes_only_what_waits(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    done, running, *waiting = (endpoint.run(number) for number in range(5))
    worker.job()
    worker.done(done, {"output": 1})
    assert worker.job()["id"] == running
    assert endpoint.answered("POST", "purge-queue") == {"removed": 3, "status": "completed"}
    assert endpoint.health()["jobs"]["inQueue"] == 0
    for job in waiting:
        answer = endpoint.get(f"status/{job}")
        assert answer.status_code == 404 or answer.json()["status"] == "CANCELLED"
    assert endpoint.status(running)["status"] == "IN_PROGRESS"
    assert worker.done(running, {"output": 2}).status_code == 200
    assert endpoint.status(done)["output"] == 1
    assert endpoint.answered("POST", "purge-queue") == {"removed": 0, "status": "completed"}


def test_36_retry_runs_a_failed_job_again(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run({"a": 1})
    for body in ({"error": "first", "output": {"x": 1}}, {"error": "second"}):
        worker.job()
        worker.chunk(job, "old")
        worker.done(job, body)
        assert endpoint.status(job)["status"] == "FAILED"
        answer = endpoint.answered("POST", f"retry/{job}")
        assert answer == {"id": job, "status": "IN_QUEUE"}
        again = endpoint.status(job)
        assert again["status"] == "IN_QUEUE"
        assert "error" not in again
        assert "output" not in again
    taken = worker.job()
    assert (taken["id"], taken["input"]) == (job, {"a": 1})
    worker.chunk(job, "new")
    worker.done(job, {"output": "fine"})
    assert endpoint.status(job)["output"] == "fine"
    assert endpoint.drained(job) == (["new"], "COMPLETED")
    refused = endpoint.post(f"retry/{job}")
    assert refused.status_code == 400
    assert refused.json()["error"]
    assert endpoint.post("retry/nosuchjob").status_code == 404


def test_37_health_has_its_eleven_counters(platform: Platform, scripted: Make, official_python: Official) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    failed, completed, running = (endpoint.run(number) for number in range(3))
    worker.job()
    worker.done(failed, {"error": "no"})
    worker.job()
    worker.done(completed, {"output": 1})
    assert worker.job()["id"] == running
    endpoint.run("waits")
    health = endpoint.health()
    assert health["jobs"] == {"completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 0}
    assert health["workers"] == {
        "idle": 0, "initializing": 0, "ready": 0, "running": 1, "throttled": 0, "unhealthy": 0
    }  # fmt: skip
    assert all(type(value) is int for group in health.values() for value in group.values())
    worker.done(running, {"output": 1})
    worker.job()
    endpoint.cancel(endpoint.answered("GET", "requests")["requests"][0]["id"])
    validated = official_python.script(
        platform,
        """
import json, sys
from runpod_flash.core.resources.serverless import ServerlessHealth
health = ServerlessHealth.model_validate(json.loads(sys.argv[1]))
print(json.dumps(health.model_dump(mode="json")))
""",
        json.dumps(health),
    )
    assert validated["workers"]["running"] == 1


def test_38_control_answers_under_load(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    jobs = [endpoint.run({"number": number}) for number in range(100)]
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            endpoint.get("status/" + jobs[-1])

    load = [platform.later(poll) for _ in range(8)]
    took = []
    for ask in (endpoint.health, lambda: endpoint.cancel(jobs[0]), lambda: endpoint.answered("POST", "purge-queue")):
        start = time.monotonic()
        ask()
        took.append(time.monotonic() - start)
    stop.set()
    for polling in load:
        polling.result(10)
    assert max(took) < 3, took


class Hook:
    """A server that webhooks go to; answers with the statuses it is given, 200 at last."""

    def __init__(self) -> None:
        self.received: queue.Queue[tuple[str, dict[str, str], Any]] = queue.Queue()
        self.statuses: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                # Afterwards: a clock that is moved before the answer ends the platform's patience.
                hook.received.put((self.path, headers, json.loads(body)))

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def next(self, within: float = 5) -> tuple[str, dict[str, str], Any]:
        return self.received.get(timeout=within)

    def is_silent(self, within: float = 0.3) -> bool:
        try:
            self.received.get(timeout=within)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def test_39_webhook_tells_the_status_once(clocked: Platform, scripted: Make, hook: Hook) -> None:
    endpoint = scripted(clocked)
    worker = endpoint.worker()
    for name, body in (("completed", {"output": {"é": 1}}), ("failed", {"error": "no"})):
        job = endpoint.run(1, webhook=f"{hook.url}/{name}?x=1")
        assert worker.job()["webhook"] == f"{hook.url}/{name}?x=1"
        worker.done(job, body)
        path, headers, told = hook.next()
        assert path == f"/{name}?x=1"
        assert headers["content-type"] == "application/json"
        assert told == endpoint.status(job)
    job = endpoint.run(1, webhook=f"{hook.url}/cancelled")
    endpoint.cancel(job)
    assert hook.next()[2] == endpoint.status(job)
    clocked.advance(60)
    assert hook.is_silent()


def test_39_webhook_is_tried_three_times_10_s_apart(clocked: Platform, scripted: Make, hook: Hook) -> None:
    endpoint = scripted(clocked)
    worker = endpoint.worker()
    hook.statuses = [500, 404, 302, 200]
    job = endpoint.run(1, webhook=hook.url)
    worker.job()
    worker.done(job, {"output": 1})
    first = hook.next()
    for _ in range(2):
        clocked.advance(9)
        assert hook.is_silent()
        clocked.advance(1.5)
        assert hook.next()[2] == first[2]
    assert hook.is_silent()  # until the answer is read: the clock must not pass it
    clocked.advance(60)
    assert hook.is_silent()
    # 200 ends it.
    hook.statuses = [500]
    job = endpoint.run(1, webhook=hook.url)
    worker.job()
    worker.done(job, {"output": 1})
    hook.next()
    clocked.advance(10.5)
    assert hook.next()[2]["id"] == job
    assert hook.is_silent()
    clocked.advance(60)
    assert hook.is_silent()
    assert until(lambda: endpoint.status(job)["status"] == "COMPLETED")
