"""What is measured of the platform: jobs, beside Redis + RQ and the official SDK's own local API server."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from figure import Bench, Figure
from load import APP, OFFICIAL_HANDLER, RQ_TASKS, Client, Platform, concurrently, fill, official_api, platform, rq
from measure import TICK, resident

WORKERS = 2
CLIENTS = 16
RQ_MEMORY, RQ_DURABLE = "Redis + RQ", "Redis + RQ, fsync always"
LOCAL_API = "official local API"
JOBS = int(os.environ.get("FLASH_BENCH_JOBS", "3000"))
DEEP = int(os.environ.get("FLASH_BENCH_DEEP", "1000000"))
SOAK_SECONDS = float(os.environ.get("FLASH_BENCH_SOAK", "300"))


def median_seconds(action: Callable[[int], object], times: int) -> float:
    """Return the median time of an action, after some that do not count."""
    for number in range(20):
        action(number)
    taken = []
    for number in range(times):
        start = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def submit(bench: Bench) -> list[Figure]:
    """Latency of submitting one job, one client."""

    def ours(durable: bool) -> float:
        root = bench.app({"app.py": APP})
        with platform(bench.ours, root, root / "state" if durable else None) as server:
            client = server.client()
            return median_seconds(lambda n: client.ask("POST", "/v2/never/run", {"input": {"n": n}}), 300)

    def theirs(durable: bool) -> float:
        root = bench.app({"rq_tasks.py": RQ_TASKS})
        with rq(root, 0, durable=durable) as server:
            queue = server.queue()
            return median_seconds(lambda n: queue.enqueue("rq_tasks.echo", n), 300)

    root = bench.app({"handler.py": OFFICIAL_HANDLER})
    with official_api(bench.official, root) as port:
        client = Client(port)
        official = median_seconds(lambda n: client.ask("POST", "/run", {"input": {"n": n}}), 300)
    memory, durable = ours(durable=False), ours(durable=True)
    return [
        Figure("submit one job, in memory", memory, theirs(durable=False), "–", beside=RQ_MEMORY),
        Figure("submit one job, on disk", durable, theirs(durable=True), "–", beside=RQ_DURABLE),
        Figure("submit one job, in memory", memory, official, "–", beside=LOCAL_API),
    ]


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for what has no event."""
    while not done():
        time.sleep(TICK)


def submitting(client: Client, path: str) -> Callable[[int], Any]:
    """Return what submits one job."""
    return lambda number: client.ask("POST", path, {"input": {"n": number}})


def throughput(bench: Bench) -> list[Figure]:
    """Seconds per job from the first submission to the last result; two workers, sixteen clients."""

    def ours(durable: bool) -> float:
        root = bench.app({"app.py": APP})
        with platform(bench.ours, root, root / "state" if durable else None) as server:
            server.client().ask("POST", "/v2/echo/runsync", {"input": {"n": 0}})
            start = time.perf_counter()
            concurrently(CLIENTS, JOBS, lambda: submitting(server.client(), "/v2/echo/run"))
            wait_until(lambda: server.completed("echo") > JOBS)
            return (time.perf_counter() - start) / JOBS

    def theirs(durable: bool) -> float:
        root = bench.app({"rq_tasks.py": RQ_TASKS})
        with rq(root, WORKERS, durable=durable) as server:
            queue = server.queue()
            first = queue.enqueue("rq_tasks.echo", 0, result_ttl=3600)
            wait_until(lambda: bool(first.get_status(refresh=True) == "finished"))

            def enqueuing() -> Callable[[int], Any]:
                own = server.queue()
                return lambda number: own.enqueue("rq_tasks.echo", number, result_ttl=3600)

            start = time.perf_counter()
            concurrently(CLIENTS, JOBS, enqueuing)
            wait_until(lambda: bool(queue.finished_job_registry.get_job_count(cleanup=False) > JOBS))
            return (time.perf_counter() - start) / JOBS

    def local_api() -> float:
        root = bench.app({"handler.py": OFFICIAL_HANDLER})
        jobs = JOBS // 5
        with official_api(bench.official, root) as port:
            return concurrently(CLIENTS, jobs, lambda: submitting(Client(port), "/runsync")) / jobs

    memory, durable = ours(durable=False), ours(durable=True)
    return [
        Figure("one job end to end, in memory", memory, theirs(durable=False), "–", beside=RQ_MEMORY),
        Figure("one job end to end, on disk", durable, theirs(durable=True), "–", beside=RQ_DURABLE),
        Figure("one job end to end, in memory", memory, local_api(), "–", beside=LOCAL_API),
    ]


def depth(bench: Bench) -> list[Figure]:
    """Cost of a job and memory of the server with 1,000 and with 1,000,000 jobs in the queue."""
    root = bench.app({"app.py": APP})
    with platform(bench.ours, root, root / "state") as server:

        def measured() -> tuple[float, float]:
            client = server.client()
            run = submitting(client, "/v2/never/run")
            cycle = submitting(client, "/v2/echo/runsync")
            cost = median_seconds(run, 300) + median_seconds(cycle, 300)
            return cost, resident(server.process.pid)

        fill(server.port, server.token, "/v2/never/run", 1600)
        few, small = measured()
        fill(server.port, server.token, "/v2/never/run", DEEP)
        many, large = measured()
    queued = f"{DEEP:,} queued"
    return [
        Figure(f"submit and run a job, {queued}", many, few, "≤ 1.5×", many <= few * 1.5, beside="1,600 queued"),
        Figure(
            f"server memory, {queued}", large, small, "≤ 1.5×", large <= small * 1.5, unit="MB", beside="1,600 queued"
        ),
    ]


def soak(bench: Bench) -> list[Figure]:
    """500 clients that submit and wait, for five minutes: errors, and growth of memory and descriptors."""
    root = bench.app({"app.py": APP})
    with platform(bench.ours, root, root / "state") as server:
        stop = threading.Event()
        early: list[tuple[float, int]] = []

        def look() -> tuple[float, int]:
            return resident(server.process.pid), len(os.listdir(f"/proc/{server.process.pid}/fd"))

        def watch() -> None:
            stop.wait(SOAK_SECONDS / 5)
            early.append(look())
            stop.wait(SOAK_SECONDS * 4 / 5)
            early.append(look())
            stop.set()

        watching = threading.Thread(target=watch)
        watching.start()
        answers = [0] * 500

        def make() -> Callable[[int], Any]:
            run = submitting(server.client(), "/v2/echo/runsync")

            def work(slot: int) -> None:
                while not stop.is_set():
                    if run(slot)["status"] != "COMPLETED":
                        raise RuntimeError("a job did not complete")
                    answers[slot] += 1

            return work

        concurrently(500, 500, make)
        watching.join()
        (memory, descriptors), (later, later_descriptors) = early
    per_second = sum(answers) / SOAK_SECONDS
    return [
        Figure(
            f"memory after {SOAK_SECONDS:.0f} s of 500 clients ({per_second:.0f} jobs/s, no error)",
            later,
            memory,
            "≤ 1.2×",
            later <= memory * 1.2,
            unit="MB",
            beside="after a fifth",
        ),
        Figure(
            "descriptors then",
            later_descriptors,
            float(descriptors),
            "≤ 1.1×",
            later_descriptors <= descriptors * 1.1,
            unit="",
            beside="after a fifth",
        ),
    ]


CASES: dict[str, Callable[[Bench], list[Figure]]] = {
    "submit": submit,
    "throughput": throughput,
    "depth": depth,
    "soak": soak,
}
__all__ = ["CASES", "Platform"]
