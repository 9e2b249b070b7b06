"""Conformance 49-64: results, progress, pings, stop signals, and workers that are lost or replaced."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_support import Endpoint, Official, Platform, Scripted, until

Make = Callable[..., Scripted]


def test_49_result_is_json_whatever_its_content_type(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    text = "wörld ☃ 漢 \U0001f600 a=b&c=d%20+"
    job = endpoint.run(1)
    worker.job()
    assert worker.done(job, {"output": {text: text}}).status_code == 200
    assert endpoint.status(job)["output"] == {text: text}
    job = endpoint.run(2)
    worker.job()
    large = "é" * 10_000_000
    assert worker.done(job, {"output": large}).status_code == 200
    assert endpoint.status(job)["output"] == large


def test_49_oversized_result_is_refused(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    answer = worker.done(job, {"output": "x" * (20 << 20)})
    assert answer.status_code == 400
    # The worker drops what is refused, so that nothing else will come.
    seen = endpoint.status(job)
    assert seen["status"] == "FAILED"
    assert "20 MiB" in seen["error"]
    # The worker goes on.
    later = endpoint.run(2)
    assert worker.job()["id"] == later
    assert worker.done(later, {"output": "small"}).status_code == 200


def test_49_result_that_breaks_off_is_no_result(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    url = httpx.URL(worker._url("RUNPOD_WEBHOOK_POST_OUTPUT", job))
    head = f"POST {url.raw_path.decode()}&isStream=false HTTP/1.1\r\nHost: localhost\r\nAuthorization: {worker.key}\r\n"
    with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as connection:
        connection.sendall(f'{head}Content-Length: 100\r\n\r\n{{"output": '.encode())
        connection.shutdown(socket.SHUT_WR)
        # Whatever it answers, it has noticed once it does or hangs up.
        while connection.recv(4096):
            pass
    assert endpoint.status(job)["status"] == "IN_PROGRESS"
    assert worker.done(job, {"output": "whole"}).status_code == 200
    assert endpoint.status(job)["output"] == "whole"


def test_50_not_a_number_is_taken(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    for raw, expected in (
        (b'{"output": NaN}', None),
        (b'{"output": {"a": [NaN, Infinity, -Infinity, 1.5], "NaN": "NaN, Infinity"}}',
         {"a": [None, None, None, 1.5], "NaN": "NaN, Infinity"}),
    ):  # fmt: skip
        job = endpoint.run(1)
        worker.job()
        assert worker.done(job, raw=raw).status_code == 200
        assert endpoint.status(job)["output"] == expected
    job = endpoint.run(1)
    worker.job()
    assert worker.done(job, raw=b'{"output": NaNsense}').status_code == 400
    assert endpoint.status(job)["status"] == "IN_PROGRESS"
    assert worker.done(job, {"output": 1}).status_code == 200


def test_51_progress_after_the_end_changes_nothing(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    assert worker.done(job, {"status": "IN_PROGRESS", "output": "p"}).status_code == 200
    assert endpoint.status(job)["output"] == "p"
    worker.done(job, {"output": "end"})
    before = endpoint.status(job)
    for _ in range(2):
        assert worker.done(job, {"status": "IN_PROGRESS", "output": "late"}).status_code < 500
        assert endpoint.status(job) == before
    assert before["status"] == "COMPLETED"


def test_52_duplicate_result_is_refused(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    assert worker.done(job, {"output": 1}).status_code == 200
    before = endpoint.status(job)
    for body in ({"output": 1}, {"output": 2}, {"error": "no"}):
        assert 400 <= worker.done(job, body).status_code < 500
    assert 400 <= worker.chunk(job, "late").status_code < 500
    assert endpoint.status(job) == before
    assert endpoint.stream(job)["stream"] == []
    assert 400 <= worker.done("nosuchjob", {"output": 1}).status_code < 500


def test_53_result_of_a_former_owner_is_refused(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, workers=2)
    first, second = endpoint.worker(), endpoint.worker()
    job = endpoint.run(1)
    assert first.job()["id"] == job
    # Not the owner, and never was.
    assert 400 <= second.done(job, {"output": "stolen"}).status_code < 500
    assert endpoint.status(job)["status"] == "IN_PROGRESS"
    os.kill(first.process(), signal.SIGKILL)
    assert second.job()["id"] == job
    assert 400 <= first.done(job, {"output": "late"}).status_code < 500
    assert endpoint.status(job)["status"] == "IN_PROGRESS"
    assert second.done(job, {"output": "second"}).status_code == 200
    seen = endpoint.status(job)
    assert (seen["output"], seen["retries"], seen["workerId"]) == ("second", 1, second.id)


@contextmanager
def faulty_way(platform: Platform, statuses: list[int]) -> Any:
    """A server before the platform that answers results with `statuses` first; gives its address and what came."""
    came: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append(time.monotonic())
            status = statuses.pop(0) if statuses else 0
            if not status:
                headers = {"Authorization": self.headers["Authorization"]}
                status = httpx.post(
                    platform.url + self.path, content=body, headers=headers, trust_env=False
                ).status_code
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", came
    server.shutdown()
    server.server_close()


@pytest.mark.official
def test_54_official_worker_repeats_a_result_after_faults(platform: Platform, official_python: Official) -> None:
    with faulty_way(platform, [500, 500]) as (way, came):
        detour = 'export RUNPOD_WEBHOOK_POST_OUTPUT=$(echo "$RUNPOD_WEBHOOK_POST_OUTPUT" | sed "s#^http://[^/]*#$0#"); exec "$@"'
        endpoint = platform.create(["/bin/sh", "-c", detour, way, *official_python.worker("sync")])
        answer = endpoint.runsync({"a": 1})
        endpoint.delete()
    assert answer["status"] == "COMPLETED"
    assert answer["output"]["echo"] == {"a": 1}
    assert len(came) == 3
    assert 4 < came[-1] - came[0] < 8


def test_55_pings_are_tolerant(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    assert worker.ping().status_code == 200
    worker.job()
    for jobs in ([job], [job, "unknown"], ["unknown"], [""], []):
        assert worker.ping(*jobs).status_code == 200
        assert endpoint.status(job)["status"] == "IN_PROGRESS"
    assert worker.done(job, {"output": 1}).status_code == 200


def test_56_silent_worker_loses_its_job_once_then_it_fails(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked)
    job = endpoint.run(1)
    for retries in (1, 2):
        worker = endpoint.worker()
        worker.ping()
        assert worker.job()["id"] == job
        worker.ping(job)
        for _ in range(3):
            clocked.advance(10)
            worker.ping(job)
        time.sleep(0.2)  # it pings: nothing is to happen
        assert endpoint.status(job)["status"] == "IN_PROGRESS"
        clocked.advance(46)
        if retries == 1:
            seen = endpoint.wait_for(job, "IN_QUEUE")
            assert seen["retries"] == 1
            assert endpoint.health()["jobs"]["retried"] == 1
    seen = endpoint.wait_for(job, "FAILED")
    assert seen["error"] == "job timed out after 1 retries"
    assert seen["retries"] == 1
    assert endpoint.health()["jobs"]["failed"] == 1


@pytest.mark.official
def test_57_killed_worker_loses_its_job_at_once(platform: Platform, official_python: Official, tmp_path: Path) -> None:
    endpoint = platform.create(official_python.worker("sync"), env={"RUNPOD_PING_INTERVAL": "1000"})
    job = endpoint.run({"do": "sleep", "seconds": 600})
    endpoint.wait_for(job, "IN_PROGRESS")

    def group(command: str) -> list[int]:
        mine = f"RUNPOD_ENDPOINT_ID={endpoint.id}".encode()
        running = [pid for pid, line in platform.processes().items() if command in line]
        return [pid for pid in running if mine in Path(f"/proc/{pid}/environ").read_bytes()]

    # The heartbeat is a child of its own, which outlives the main process.
    both = until(lambda: len(found := group("handlers/sync.py")) >= 2 and found)
    main = next(pid for pid in both if os.getpgid(pid) == pid)
    os.kill(main, signal.SIGKILL)
    seen = until(lambda: (seen := endpoint.status(job)).get("retries") == 1 and seen, 3)
    assert seen["status"] in ("IN_QUEUE", "IN_PROGRESS")
    until(lambda: not set(both) & set(platform.processes()), 3)
    endpoint.cancel(job)
    endpoint.delete()


@pytest.mark.official
def test_58_unhealthy_ping_shows_its_reason(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    reason = "RuntimeError: nope, not é"
    worker.ping(status="unhealthy", check="my_check", reason=reason)
    until(lambda: endpoint.health()["workers"]["unhealthy"] == 1)
    job = endpoint.run(1)
    assert "my_check" in json.dumps(endpoint.workers(), ensure_ascii=False) + json.dumps(endpoint.status(job))
    # The sick one goes and gets nothing; another one is started.
    fresh = endpoint.worker(15)
    assert not worker.is_alive()
    assert fresh.job()["id"] == job
    fresh.done(job, {"output": 1})
    assert endpoint.health()["workers"]["unhealthy"] == 0


def test_59_stop_signal_comes_once_and_to_the_owner(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked, workers=2)
    owner, other = endpoint.worker(), endpoint.worker()
    first, second = endpoint.run(1), endpoint.run(2)
    owned = owner.take_batch(2).json()
    assert [job["id"] for job in owned] == [first, second]
    clocked.advance(1)  # they have begun: it is not said again
    foreign = clocked.later(other.stops)
    endpoint.cancel(first)
    endpoint.cancel(second)
    told: list[str] = []
    while len(told) < 2:
        told += owner.stops(timeout=5).json()["jobsToStop"]
    assert sorted(told) == sorted([first, second])
    again = clocked.later(owner.stops)
    time.sleep(0.2)  # nothing is to happen
    assert not again.done()
    assert not foreign.done()
    # They may have arrived late: each waits from then.
    until(lambda: clocked.advance(30) or (again.done() and foreign.done()))
    assert again.result(5).status_code == 204
    assert foreign.result(5).status_code == 204


def test_60_worker_that_asks_for_it_is_replaced(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job, later = endpoint.run(1), endpoint.run(2)
    worker.job()
    worker.done(job, {"output": 1, "stopPod": True})
    assert endpoint.status(job)["output"] == 1
    fresh = endpoint.worker()
    assert fresh.id != worker.id
    assert fresh.job()["id"] == later
    until(lambda: not worker.is_alive(), 5)


@pytest.mark.official
@pytest.mark.parametrize("variables", [{}, {"BY_OUTPUT": "1"}], ids=["configured", "by output"])
def test_60_official_worker_is_refreshed(
    platform: Platform, official_python: Official, variables: dict[str, str]
) -> None:
    endpoint = platform.create(official_python.worker("refresh"), env=variables)
    answers = [endpoint.runsync({"a": number}) for number in range(2)]
    assert [answer["output"]["echo"] for answer in answers] == [{"a": 0}, {"a": 1}]
    assert all("refresh_worker" not in answer["output"] for answer in answers)
    assert answers[0]["output"]["pid"] != answers[1]["output"]["pid"]
    assert answers[0]["workerId"] != answers[1]["workerId"]
    assert endpoint.health()["jobs"]["retried"] == 0
    endpoint.delete()


@pytest.mark.official
@pytest.mark.xdist_group("official-failing")
def test_61_handlers_error_is_never_retried(platform: Platform, official_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = official_endpoint("failing")
    before = endpoint.health()["jobs"]["retried"]
    raised = endpoint.runsync({"do": "raise"})
    assert raised["status"] == "FAILED"
    assert "retries" not in raised
    told = json.loads(raised["error"])
    assert told["error_message"] == "boom é"
    assert told["error_type"] == "<class 'ValueError'>"
    assert told["worker_id"] == raised["workerId"]
    returned = endpoint.runsync({"do": "error"})
    assert (returned["status"], returned["error"], returned["output"]) == ("FAILED", "custom", {"x": 1})
    assert endpoint.runsync({"do": "object"})["status"] == "FAILED"
    assert endpoint.health()["jobs"]["retried"] == before


def test_62_job_that_runs_too_long_ends(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked, stubborn=True)
    worker = endpoint.worker()
    job = endpoint.run(1, policy={"executionTimeout": 8000})
    worker.job()
    worker.ping(job)
    stops = clocked.later(worker.stops)
    clocked.advance(7)
    time.sleep(0.2)  # nothing is to happen
    assert endpoint.status(job)["status"] == "IN_PROGRESS"
    clocked.advance(1.2)
    seen = endpoint.wait_for(job, "TIMED_OUT", within=2)
    assert "executionTimeout exceeded" in seen["error"]
    assert stops.result(2).json() == {"jobsToStop": [job]}
    # It goes on: its process goes.
    other = endpoint.run(2)
    clocked.advance(15)
    until(lambda: not worker.is_alive(), 5)
    assert 400 <= worker.done(job, {"output": "late"}).status_code < 500
    assert endpoint.status(job)["status"] == "TIMED_OUT"
    assert endpoint.worker().job()["id"] == other


def test_63_jobs_vanish_when_their_time_to_live_ends(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked)
    worker = endpoint.worker()
    running = endpoint.run(1, policy={"ttl": 20_000})
    waiting = endpoint.run(2, policy={"ttl": 20_000})
    stays = endpoint.run(3)
    assert worker.job()["id"] == running
    worker.ping(running)
    clocked.advance(19)
    worker.ping(running)
    assert endpoint.status(running)["status"] == "IN_PROGRESS"
    assert endpoint.status(waiting)["status"] == "IN_QUEUE"
    clocked.advance(1.2)
    for job in (running, waiting):
        until(lambda job=job: endpoint.get(f"status/{job}").status_code == 404)
    assert 400 <= worker.done(running, {"output": "late"}).status_code < 500
    assert endpoint.get(f"status/{running}").status_code == 404
    assert worker.job()["id"] == stays


@pytest.mark.official
def test_64_worker_is_drained_before_it_is_stopped(platform: Platform, official_python: Official) -> None:
    endpoint = platform.create(official_python.worker("sync"))
    warm = endpoint.runsync({"a": 1})
    job = endpoint.run({"do": "sleep", "seconds": 2})
    endpoint.wait_for(job, "IN_PROGRESS")
    # Another version: what runs is finished by the old worker, what comes is done by a new one.
    endpoint.change(env={"VERSION": "2"})
    later = endpoint.run({"do": "environment"})
    finished = endpoint.wait_for(job, "COMPLETED")
    assert (finished["output"]["pid"], finished["workerId"]) == (warm["output"]["pid"], warm["workerId"])
    fresh = endpoint.wait_for(later, "COMPLETED")
    assert fresh["output"]["VERSION"] == "2"
    assert fresh["workerId"] != warm["workerId"]
    until(lambda: warm["output"]["pid"] not in platform.processes(), 4)
    # Idle: gone within two seconds of the order.
    pid = endpoint.runsync({"a": 1})["output"]["pid"]
    endpoint.delete()
    until(lambda: pid not in platform.processes(), 2.5)
