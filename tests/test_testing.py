"""The pytest plugin, as a user's project has it: in a pytest run of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

OFFICIAL = Path(__file__).resolve().parent.parent / ".venv-official" / "bin" / "python"

HANDLER = """
import runpod

runpod.serverless.start({"handler": lambda job: {"echo": job["input"]}})
"""
PROJECT = """
import os
from pathlib import Path
from urllib.error import HTTPError

import pytest

OFFICIAL = os.environ["OFFICIAL_PYTHON"]
seen = {}


def test_official_worker_answers(flash_platform):
    endpoint = flash_platform.run_worker("echo", [OFFICIAL, "handler.py"])
    answer = flash_platform.post(f"/v2/{endpoint}/runsync", {"input": {"text": "hi"}})
    assert (answer["status"], answer["output"]) == ("COMPLETED", {"echo": {"text": "hi"}}), answer
    seen.update(endpoint=endpoint, token=flash_platform.token, url=flash_platform.url)


def test_next_test_has_an_account_of_its_own(flash_platform):
    assert flash_platform.url == seen["url"]
    assert flash_platform.token != seen["token"]
    assert flash_platform.get("/v2/serverless")["endpoints"] == []
    with pytest.raises(HTTPError) as refusal:
        flash_platform.get(f"/v2/{seen['endpoint']}/health")
    assert refusal.value.code == 404


def test_variables_lead_here(flash_platform):
    assert flash_platform.env["RUNPOD_ENDPOINT_BASE_URL"] == flash_platform.api
    assert flash_platform.token not in repr(flash_platform)
    Path("url.txt").write_text(flash_platform.url)
"""


def test_flash_platform_is_started_once_and_isolated_per_test(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "test_project.py").write_text(PROJECT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "RUNPOD_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "."],
        cwd=tmp_path,
        env=environment | {"OFFICIAL_PYTHON": str(OFFICIAL)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 passed" in ended.stdout
    # It ends with the run.
    port = int((tmp_path / "url.txt").read_text().rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("localhost", port), 5)
