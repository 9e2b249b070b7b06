"""Loops, threads, fork, exit and cancellation of calls to Runpod."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop
from platform_support import Platform, Scripted, until
from runpod_flash import Endpoint, _core

Make = Callable[..., Scripted]


@pytest.fixture(autouse=True)
def here(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point this process at the platform."""
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)


async def several(count: int = 5) -> list[Any]:
    """Make calls at once."""
    ep = Endpoint(id="our-plain")
    jobs = await asyncio.gather(*[ep.runsync({"wanted": {"n": n}}) for n in range(count)])
    return [job.output["echo"]["n"] for job in jobs]


def test_uvloop_and_anyio_will_do() -> None:
    assert uvloop.run(several()) == [0, 1, 2, 3, 4]
    assert anyio.run(several, backend="asyncio") == [0, 1, 2, 3, 4]
    assert anyio.run(several, backend="asyncio", backend_options={"use_uvloop": True}) == [0, 1, 2, 3, 4]


def test_several_loops_in_several_threads() -> None:
    found: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(several()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [[0, 1, 2, 3, 4]] * 4


def test_loop_that_runs_already_takes_calls_of_other_threads_as_a_notebook_does() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for _ in range(2):
            assert asyncio.run_coroutine_threadsafe(several(), loop).result(60) == [0, 1, 2, 3, 4]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_verb_is_what_run_create_task_gather_and_groups_take(platform: Platform) -> None:
    async def tasks() -> None:
        ep = Endpoint(id="no-such-endpoint")
        waiting = [asyncio.create_task(ep.get("/x")), asyncio.ensure_future(ep.post("/x", {}))]
        found = await asyncio.gather(*waiting, ep.delete("/x"), return_exceptions=True)
        assert [type(error).__name__ for error in found] == ["NotFoundError"] * 3

    asyncio.run(tasks())
    with pytest.raises(LookupError):
        asyncio.run(Endpoint(id="no-such-endpoint").get("/x"))
    with pytest.warns(RuntimeWarning, match="never awaited"):
        forget(Endpoint(id="x").get("/x"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'header'"):
        Endpoint(id="x").get("/x", header={})


def forget(verb: Any) -> None:
    """Let go of a request that nobody awaits."""
    del verb
    gc.collect()


def test_without_a_loop_the_error_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="no running asyncio event loop"):
        Endpoint(id="our-plain").health().send(None)


def test_results_that_end_together_wake_the_loop_once() -> None:
    woken = 0

    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *arguments: Any) -> None:
            def counted() -> None:
                nonlocal woken
                woken += 1
                callback(*arguments)

            super().add_reader(fd, counted)

    async def main() -> None:
        ended = _core.job_stream(("x",), "j", None)
        ended.close()
        assert await asyncio.gather(*[ended.next() for _ in range(500)]) == [None] * 500

    loop = Loop()
    loop.run_until_complete(main())
    loop.close()
    assert 1 <= woken < 250


def test_cancelled_decorated_call_cancels_its_job_and_a_cancelled_wait_does_not(
    platform: Platform, scripted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = scripted(platform, workers={"min": 0, "max": 1})
    states = {}

    async def main() -> None:
        ep = Endpoint(id=endpoint.id)
        job = await ep.run({})
        wait = asyncio.create_task(job.wait())
        await asyncio.sleep(0.05)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        states["client"] = await job.status()
        # What a decorated function's call does: the job goes with it.
        call = asyncio.create_task(_core_call(endpoint.id))
        while (await ep.health())["jobs"]["inQueue"] < 2:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        while (await ep.health())["jobs"]["inQueue"] > 1:
            await asyncio.sleep(0.01)
        await job.cancel()

    asyncio.run(main())
    assert states == {"client": "IN_QUEUE"}


async def _core_call(endpoint: str) -> Any:
    return await _core.call_deployed((endpoint,), [b'{"input":1}'], [], None)


def open_files() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """How many threads this process has, ours included."""
    return len(os.listdir("/proc/self/task"))


def test_ten_thousand_calls_cancelled_anywhere_leave_nothing(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, workers={"min": 0, "max": 1})
    where = (endpoint.id,)
    chance = random.Random(5)
    body = bytearray(b'{"input":1}')

    async def one() -> None:
        kind = chance.random()
        if kind < 0.005:  # A job that goes with its call.
            await _core.call_deployed(where, [body], [], None)
        elif kind < 0.05:
            await _core.endpoint_ask("health", where, None)
        else:  # Ends without a request.
            items = _core.job_stream(where, "j", None)
            if kind < 0.5:
                items.close()
            await items.next() if kind < 0.5 or kind > 0.95 else await _core.endpoint_ask("health", where, 0.0)

    async def wave(size: int) -> None:
        tasks = [asyncio.create_task(one()) for _ in range(size)]
        for task in tasks:
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.02:
                await asyncio.sleep(0.002)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def main(calls: int) -> None:
        for _ in range(calls // 250):
            await wave(250)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main(1000))
    before = open_files(), threads()
    asyncio.run(main(10000))
    # What was cancelled while it was sent is cancelled at Runpod afterwards.
    until(lambda: endpoint.health()["jobs"]["inQueue"] == 0, 30, "all jobs cancelled")

    def is_released() -> bool:
        asyncio.run(several(1))  # Memory that other threads are done with is given back at the next call.
        try:
            body.append(32)
        except BufferError:
            return False
        return True

    until(is_released, 10, "the body to be released")
    # Connections are kept for a while, but not more than what goes on at once.
    assert open_files() <= before[0] + 100
    assert threads() <= before[1] + 2


PROGRAM = """
import asyncio, os, signal, sys, threading
from runpod_flash import Endpoint

ep = Endpoint(id=sys.argv[1])

async def ask():
    return (await ep.health())["jobs"]["inQueue"]

{}
"""


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        pytest.param(
            """
print(asyncio.run(ask()), flush=True)
child = os.fork()
if child == 0:
    print(asyncio.run(ask()), flush=True)
    grandchild = os.fork()
    if grandchild == 0:
        print(ep.blocking.health()["jobs"]["inQueue"], flush=True)
        sys.exit()
    os.waitpid(grandchild, 0)
    sys.exit()
print(os.waitpid(child, 0)[1], asyncio.run(ask()), flush=True)
""",
            "0\n0\n0\n0 0\n",
            id="fork",
        ),
        pytest.param(
            """
async def main():
    print(await ask(), flush=True)
    child = os.fork()  # Below a running loop, with a call in flight.
    if child == 0:
        os._exit(0 if asyncio.new_event_loop is not None else 1)
    waiting = asyncio.ensure_future(ask())
    print(os.waitpid(child, 0)[1], await waiting)

asyncio.run(main())
""",
            "0\n0 0\n",
            id="fork below a loop",
        ),
        pytest.param(
            """
def work():
    async def main():
        job = await ep.run({})
        waiting = asyncio.ensure_future(job)
        await asyncio.sleep(0)  # From here on the call is in flight.
        print("waits", flush=True)
        ready.set()
        await waiting

    asyncio.run(main())

ready = threading.Event()
threading.Thread(target=work, daemon=True).start()
ready.wait(20)
""",
            "waits\n",
            id="exit with a daemon thread's call in flight",
        ),
        pytest.param(
            """
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
task = loop.create_task(ep.runsync({}, timeout=None))
for _ in range(3):
    loop.run_until_complete(asyncio.sleep(0.02))
task._log_destroy_pending = False  # asyncio's own word about a task that its program forgets.
print("left", flush=True)
""",
            "left\n",
            id="exit with a forgotten loop",
        ),
        pytest.param(
            """
import atexit

def late():
    try:
        asyncio.run(ask())
    except RuntimeError as error:
        print(error)

atexit.register(late)
print(asyncio.run(ask()), flush=True)
""",
            "0\nthe program is ending: no more calls can be made\n",
            id="call after the end",
        ),
        pytest.param(
            """
job = ep.blocking.run({})
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    job.result()
except KeyboardInterrupt:
    print("interrupted", job.blocking.status())
    job.blocking.cancel()
""",
            "interrupted IN_QUEUE\n",
            id="Ctrl-C",
        ),
    ],
)
def test_program_ends_as_it_should(
    platform: Platform, scripted: Make, run: Callable[..., Any], tmp_path: Path, text: str, printed: str
) -> None:
    endpoint = scripted(platform, workers={"min": 0, "max": 1})
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(text))
    done = run(
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::ResourceWarning",
        file,
        endpoint.id,
        env=platform.variables,
        timeout=40,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
