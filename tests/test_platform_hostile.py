"""The worst inputs: each is refused, nothing is lost, and nothing is left behind."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from platform_hostile import Hostile, Target, table
from platform_support import HANDLERS, Platform, Scripted, platform_process, until

Make = Callable[..., Scripted]


@pytest.fixture
def attacked(session_environment: dict[str, str]) -> Iterator[Platform]:
    with platform_process(session_environment, "--app", HANDLERS / "app", manual_clock=True) as process:
        yield process


def send(port: int, request: Hostile, give_up: Callable[[], None]) -> str:
    """Send one request; return the status of its answer, or how its connection ended."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            for part in request.parts:
                connection.sendall(part)
            if request.half_closes:
                connection.shutdown(socket.SHUT_WR)
            if request.stalls:
                connection.settimeout(0.3)
                try:
                    early = connection.recv(64)
                except TimeoutError:
                    give_up()
                else:
                    return f"answered early: {early!r}"
                connection.settimeout(20)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was complete; the answer may be there
        answer = b""
        try:
            while b"\r\n" not in answer:
                piece = connection.recv(4096)
                if not piece:
                    break
                answer += piece
        except ConnectionResetError:
            return "closed"
        except TimeoutError:
            return f"no answer, and not closed: {answer[:60]!r}"
    if not answer:
        return "closed"
    return answer.split(b"\r\n")[0].decode(errors="replace")


def is_refused(outcome: str) -> bool:
    return outcome == "closed" or outcome.startswith(("HTTP/1.1 4", "HTTP/1.0 4", "\x15\x03"))


def resources(platform: Platform) -> tuple[int, int]:
    """Return how many descriptors the platform has open, and its resident memory in KiB."""
    process = Path(f"/proc/{platform.process.pid}")
    memory = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return len(list((process / "fd").iterdir())), int(memory.split()[1])


def test_hostile_requests_are_refused_and_nothing_is_lost(attacked: Platform, scripted: Make) -> None:
    platform = attacked
    endpoint, other = scripted(platform), scripted(platform)
    worker, foreign = endpoint.worker(), other.worker()
    finished, held = endpoint.run("finished"), endpoint.run("held")
    worker.job()
    worker.done(finished, {"output": "first"})
    assert worker.job()["id"] == held
    target = Target(
        port=platform.port,
        token=platform.token,
        endpoint=endpoint.id,
        worker=worker.id,
        worker_key=worker.key,
        held=held,
        finished=finished,
        other=other.id,
        other_key=other.key,
        other_worker_key=foreign.key,
    )
    requests = table(target)
    assert len(requests) >= 200
    assert [name for name, count in Counter(request.name for request in requests).items() if count > 1] == []
    assert len({request.parts for request in requests}) >= 200

    # Meanwhile people work.
    ours = platform.endpoint("our-plain")
    stop = threading.Event()

    def work() -> list[tuple[str, int]]:
        jobs = []
        while not stop.is_set() or len(jobs) < 5:
            number = len(jobs)
            answer = ours.runsync({"wanted": {"number": number}})
            assert answer["status"] == "COMPLETED", answer
            assert answer["output"]["echo"] == {"number": number}
            jobs.append((answer["id"], number))
            stop.wait(0.02)  # below the rate limit
        return jobs

    def hold() -> None:
        while not stop.is_set():
            worker.ping(held)
            foreign.ping()
            stop.wait(1)

    def stalled() -> None:
        platform.advance(31)
        worker.ping(held)

    def attack() -> dict[str, str]:
        with ThreadPoolExecutor(8) as pool:
            sent = {
                request.name: pool.submit(send, platform.port, request, stalled)
                for request in requests
                if not request.stalls
            }
            return {name: future.result(60) for name, future in sent.items()}

    working = [platform.later(work) for _ in range(2)]
    holding = platform.later(hold)
    # The first time everything gets its room; what the second leaves behind is lost.
    first = attack()
    until(lambda: resources(platform)[0] < 100)
    before = resources(platform)
    second = attack()
    stop.set()
    jobs = [job for future in working for job in future.result(60)]
    holding.result(10)

    for outcomes in (first, second):
        assert {name: outcome for name, outcome in outcomes.items() if not is_refused(outcome)} == {}
    # Nothing was lost, nothing was done that was not asked for.
    assert len(jobs) >= 10
    for job, number in jobs[-20:]:
        seen = ours.status(job)
        assert (seen["status"], seen["output"]["echo"]) == ("COMPLETED", {"number": number})
    # Once nobody works: the clock is moved, which whoever sends at this moment would feel.
    slow = {request.name: send(platform.port, request, stalled) for request in requests if request.stalls}
    assert {name: outcome for name, outcome in slow.items() if not is_refused(outcome)} == {}
    assert endpoint.status(held)["status"] == "IN_PROGRESS"
    assert worker.done(held, {"output": "held all along"}).status_code == 200
    assert endpoint.status(held)["output"] == "held all along"
    health = endpoint.health()["jobs"]
    assert (health["inQueue"], health["inProgress"], health["retried"]) == (0, 0, 0)
    assert other.health()["jobs"]["inQueue"] == 0
    assert platform.process.poll() is None

    # Nothing was left.
    def settled() -> bool:
        return resources(platform)[0] <= before[0] + 8

    until(settled, 10, f"descriptors: {resources(platform)[0]}, before {before[0]}")
    time.sleep(0.5)  # memory is given back a little later
    assert resources(platform)[1] - before[1] < 48 << 10, (before, resources(platform))
