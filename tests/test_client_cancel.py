"""Calls that are given up: their jobs do not run on unseen, also when the program ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Act, Server, answer, hang
from platform_support import Platform, Scripted, until
from runpod_flash import Endpoint, _core

QUEUED = b'{"id":"j1","status":"IN_QUEUE"}'
CANCELLED = b'{"id":"j1","status":"CANCELLED"}'
HEAD = json.dumps({"function_name": "f", "function_code": "def f(): pass"})


async def test_cancelled_live_call_cancels_its_job(
    platform: Platform, scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)
    endpoint = scripted(platform, workers={"min": 0, "max": 1})
    call = asyncio.ensure_future(_core.live_call(endpoint.id, "f", HEAD, (1,), {}, None, None))
    while (await Endpoint(id=endpoint.id).health())["jobs"]["inQueue"] < 1:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(until, lambda: endpoint.health()["jobs"]["inQueue"] == 0, 10, "the job is cancelled")
    with pytest.raises(TimeoutError):
        await _core.live_call(endpoint.id, "f", HEAD, (1,), {}, None, 0.2)
    await asyncio.to_thread(until, lambda: endpoint.health()["jobs"]["inQueue"] == 0, 10, "the job is cancelled")


PROGRAM = """
import asyncio, json, os, sys
from runpod_flash import _core

async def main():
    head = json.dumps({"function_name": "f", "function_code": "def f(): pass"})
    await _core.live_call("ep", "f", head, (), {}, None, None)

"""
LEFT = """
loop = asyncio.new_event_loop()
task = loop.create_task(main())
while not os.path.exists(sys.argv[1]):
    loop.run_until_complete(asyncio.sleep(0.01))
task._log_destroy_pending = False
"""


@pytest.mark.parametrize("when", ["runsync", "status-sync"])
@pytest.mark.parametrize("how", ["Ctrl-C", "a forgotten loop"])
def test_program_that_ends_cancels_the_jobs_of_its_calls(
    environment: dict[str, str], tmp_path: Path, how: str, when: str
) -> None:
    may_answer = threading.Event()

    def script(kind: str, _: int) -> Act:
        if kind == "runsync" and when == "runsync":
            may_answer.wait(30)
        if kind == "runsync":
            return answer(200, QUEUED)
        return hang if kind == "status-sync" else answer(200, CANCELLED)

    server = Server(script)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + ("asyncio.run(main())" if how == "Ctrl-C" else LEFT))
    ended = subprocess.Popen(
        [sys.executable, program, tmp_path / "end"],
        env=environment | server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        server.wait_for(when)
        if how == "Ctrl-C":
            ended.send_signal(signal.SIGINT)
        else:
            (tmp_path / "end").touch()
        # The ID of the job comes after the program was told to end.
        may_answer.set()
        server.wait_for("cancel")
        _, told = ended.communicate(timeout=20)
        assert (ended.returncode, "KeyboardInterrupt" in told) == ((-2, True) if how == "Ctrl-C" else (0, False)), told
        assert (server.count("runsync"), server.count("cancel")) == (1, 1)
    finally:
        ended.kill()
        ended.wait()
        server.close()


def test_program_that_ends_waits_no_longer_than_it_must(run: Callable[..., Any], tmp_path: Path) -> None:
    server = Server(lambda *_: hang)
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM + "try:\n    asyncio.run(asyncio.wait_for(main(), 0.3))\nexcept asyncio.TimeoutError:\n    pass\n"
    )
    done = run(sys.executable, program, env=server.environment, timeout=30)
    server.close()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.count("runsync") == 1


def test_forked_child_leaves_the_jobs_of_its_parent_alone(environment: dict[str, str], tmp_path: Path) -> None:
    def script(kind: str, _: int) -> Act:
        if kind == "runsync":
            return answer(200, QUEUED)
        return hang if kind == "status-sync" else answer(200, CANCELLED)

    server = Server(script)
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM
        + """
loop = asyncio.new_event_loop()
task = loop.create_task(main())
while not os.path.exists(sys.argv[1]):
    loop.run_until_complete(asyncio.sleep(0.01))
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
os._exit(0)
"""
    )
    ended = subprocess.Popen([sys.executable, program, tmp_path / "end"], env=environment | server.environment)
    try:
        server.wait_for("status-sync")
        (tmp_path / "end").touch()
        assert ended.wait(30) == 0
        assert server.count("cancel") == 0
    finally:
        ended.kill()
        ended.wait()
        server.close()
        assert os.path.exists(tmp_path / "end")
