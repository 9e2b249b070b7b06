"""Official workers on `flash platform`: what they do there, and that nothing of them outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import FLASH, MARK, processes_with_mark

HANDLER = """
import os
import runpod

def handler(job):
    wanted = job["input"]
    if wanted == "exit":
        os._exit(3)
    if wanted == "raise":
        raise ValueError("boom")
    if wanted == "progress":
        runpod.serverless.progress_update(job, "half")
    return {"echo": wanted, "home": os.environ["HOME"], "secret": os.environ.get("SECRET"), "pid": os.getpid()}

runpod.serverless.start({"handler": handler})
"""


class Served:
    """A platform with one endpoint of official workers."""

    def __init__(self, official: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it; its workers run the handler above."""
        (folder / "handler.py").write_text(HANDLER)
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [str(FLASH), "platform", "--port", "0", "--json"],
            env={**environment, "SECRET": "of the shell"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        headers = {"Authorization": f"Bearer {ready['token']}"}
        self.client = httpx.Client(base_url=ready["url"], headers=headers, timeout=60, trust_env=False)
        made = self.client.post(
            "/v2/serverless",
            json={
                "name": "official",
                "type": "QUEUE",
                "workers": {"min": 0, "max": 1, "idleTimeout": 300},
                "command": [str(official), "handler.py"],
                "directory": str(folder),
                "env": {MARK: self.mark},
            },
        )
        assert made.status_code == 201, made.text
        self.id = made.json()["id"]

    def runsync(self, wanted: Any) -> Any:
        """Run a job to its end."""
        answer = self.client.post(f"/v2/{self.id}/runsync?wait=50000", json={"input": wanted})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def processes(self) -> dict[int, str]:
        """Return the processes of its workers."""
        return processes_with_mark(self.mark)

    def kill(self) -> None:
        """End the platform by SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def served(
    official: Path, tmp_path_factory: pytest.TempPathFactory, session_environment: dict[str, str]
) -> Iterator[Served]:
    """The platform that the tests of this module share."""
    served = Served(official, tmp_path_factory.mktemp("official"), session_environment)
    yield served
    served.kill()


def test_worker_gets_its_endpoints_environment_alone(served: Served) -> None:
    answer = served.runsync({"a": "é"})
    assert answer["status"] == "COMPLETED"
    assert answer["output"]["echo"] == {"a": "é"}
    assert answer["output"]["secret"] is None
    assert answer["output"]["home"] != os.environ.get("HOME")


def test_worker_that_raises_fails_its_job_and_goes_on(served: Served) -> None:
    failed = served.runsync("raise")
    assert failed["status"] == "FAILED"
    assert "retries" not in failed
    assert json.loads(failed["error"])["error_message"] == "boom"
    assert served.runsync("progress")["output"]["echo"] == "progress"


def test_worker_that_exits_loses_its_job_twice_and_leaves_nothing(served: Served) -> None:
    lost = served.runsync("exit")
    assert (lost["status"], lost["retries"], lost["error"]) == ("FAILED", 1, "job timed out after 1 retries")
    pid = served.runsync(1)["output"]["pid"]
    # The process that pings for a worker ends with it.
    assert len({os.getpgid(process) for process in served.processes()} - {os.getpgid(pid)}) == 0


def test_nothing_outlives_a_platform_that_is_killed(
    official: Path, tmp_path: Path, session_environment: dict[str, str]
) -> None:
    served = Served(official, tmp_path, session_environment)
    pid = served.runsync(1)["output"]["pid"]
    # The worker and the process that pings for it.
    assert pid in served.processes()
    assert len(served.processes()) >= 2
    served.kill()
    deadline = time.monotonic() + 10
    while left := served.processes():
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)
