"""Sleep between jobs (`platform.md` 4.3): official workers are stopped where they are, and go on."""

from __future__ import annotations

from pathlib import Path

from platform_support import Official, Platform, platform_process, until
from support import processes_with_mark

SLEEPS = "T"


def state(process: int) -> str:
    """Return the state of a process, one letter."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_official_worker_sleeps_wakes_and_ends_with_the_platform(
    environment: dict[str, str], official_python: Official
) -> None:
    with platform_process(environment) as platform:
        workers = {"min": 0, "max": 1, "idleTimeout": 1}
        endpoint = platform.create(official_python.worker("sync"), workers=workers, flashboot="FLASHBOOT")
        first = endpoint.runsync("first", 60000)
        assert first["status"] == "COMPLETED", first
        process = first["output"]["pid"]
        until(lambda: state(process) == SLEEPS, 20, "the worker does not sleep")
        assert sum(endpoint.health()["workers"].values()) == 0
        for number in range(3):
            job = endpoint.runsync(number, 60000)
            # The same process, which went on at once: nothing was loaded again.
            assert job["output"] == {"echo": number, "pid": process}, job
            assert job["workerId"] == first["workerId"]
        until(lambda: state(process) == SLEEPS, 20, "the worker does not sleep again")


def test_worker_that_sleeps_ends_with_a_platform_that_is_killed(
    environment: dict[str, str], official_python: Official
) -> None:
    platform = Platform(environment)
    try:
        workers = {"min": 0, "max": 1, "idleTimeout": 1}
        endpoint = platform.create(official_python.worker("sync"), workers=workers, flashboot="FLASHBOOT")
        process = endpoint.runsync(1, 60000)["output"]["pid"]
        until(lambda: state(process) == SLEEPS, 20, "the worker does not sleep")
        platform.process.kill()
        until(lambda: not processes_with_mark(platform.mark), 5, "it outlives its platform")
    finally:
        platform.kill()
