"""`flash run` as a process: command line, ports, signals, and what it leaves behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

WORKER = """
    import asyncio, os, pathlib
    from runpod_flash import Endpoint

    @Endpoint(name="a", cpu="cpu3c-1-2")
    async def run(seconds: float = 0) -> str:
        if "STARTED" in os.environ:
            pathlib.Path(os.environ["STARTED"]).touch()
        await asyncio.sleep(seconds)
        return "done"
"""


def test_help_and_version_are_on_stdout(flash) -> None:
    version = flash("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("Runpod Flash CLI v1.22.")
    assert flash("-v").stdout == version.stdout
    shown = flash("--help")
    assert shown.returncode == 0
    for command in ("init", "run", "manifest"):
        assert command in shown.stdout
    assert "deploy" not in shown.stdout
    for option in ("--host", "--port", "--no-reload", "--auto-provision", "--deps"):
        assert option in flash("run", "--help").stdout


@pytest.mark.parametrize(
    "arguments", [(), ("bogus",), ("run", "--bogus"), ("run", "--port", "x"), ("run", "--deps", "x")]
)
def test_wrong_command_line_is_exit_2_on_stderr(flash, arguments: tuple[str, ...]) -> None:
    done = flash(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr


def test_wrong_variable_is_exit_2(flash) -> None:
    for name, value in {"FLASH_PORT": "high", "FLASH_DEPS": "some"}.items():
        done = flash("run", env={name: value})
        assert done.returncode == 2, done.stderr
        assert value in done.stderr


def test_misspelt_command_gets_a_suggestion(flash) -> None:
    assert "run" in flash("rnu").stderr + flash("runn").stderr


@pytest.mark.parametrize("name", ["build", "deploy", "undeploy", "env", "app", "update"])
def test_command_of_a_later_version_says_so(flash, name: str) -> None:
    done = flash(name)
    assert done.returncode == 2
    assert "not in this version yet" in done.stderr


def test_project_without_endpoints_shows_how_to_write_one(flash, tmp_path) -> None:
    done = flash("run", cwd=tmp_path)
    assert done.returncode == 1
    assert "@Endpoint(" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_target_that_cannot_be_followed_is_an_error(flash, tmp_path) -> None:
    done = flash("run", cwd=tmp_path, env={"FLASH_TARGET": "moon"})
    assert done.returncode == 1
    assert "FLASH_TARGET" in done.stderr


def test_key_that_was_found_is_mentioned_and_not_shown(project, serve) -> None:
    server = serve(project({"a.py": WORKER}), env={"RUNPOD_API_KEY": "rpa_SECRET"})
    assert "a Runpod key was found and is not used" in server.output.text
    assert "SECRET" not in server.output.text


def test_port_that_is_taken_leads_to_the_next_one(project, serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = serve(project({"a.py": WORKER}), "--port", str(port))
        assert server.port > port
        assert f"port {port} is in use" in server.output.text
        assert server.runsync("/a", seconds=0) == "done"


def test_address_that_is_not_loopback_demands_a_token(project, serve) -> None:
    server = serve(project({"a.py": WORKER}), "--host", "0.0.0.0", env={"FLASH_TOKEN": "s3cret"})
    body = {"input": {"seconds": 0}}
    assert server.post("/a/runsync", body).status_code == 401
    assert server.get("/openapi.json").status_code == 401
    assert server.post("/a/runsync", body, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert server.post("/a/runsync", body, headers={"authorization": "Bearer s3cret"}).status_code == 200
    # A browser opens the page once with the token, and has a cookie from then on.
    with httpx.Client(base_url=server.url, trust_env=False) as browser:
        assert browser.get("/docs?token=s3cret").status_code == 200
        assert browser.get("/openapi.json").status_code == 200
    assert "s3cret" in server.output.text


def test_auto_provision_starts_workers_at_once(project, serve) -> None:
    server = serve(project({"a.py": WORKER}), "--auto-provision")
    server.wait_for_line("nothing to provision")
    server.wait_for_line("worker ready")


def wait_for(path: Path) -> None:
    """Wait until a worker has written a file."""
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_finishes_what_runs_and_leaves_nothing(project, serve, tmp_path: Path, sign: signal.Signals) -> None:
    files = project({"a.py": WORKER})
    started = tmp_path / "started"
    server = serve(files, env={"STARTED": str(started)})
    answers: list[object] = []
    calling = threading.Thread(target=lambda: answers.append(server.runsync("/a", seconds=1)))
    calling.start()
    wait_for(started)
    server.process.send_signal(sign)
    server.wait_for_line("ctrl+c again stops at once")
    calling.join(15)
    assert answers == ["done"]
    assert server.stop() == 0
    assert "Traceback" not in server.output.text
    assert {path.name for path in files.root.iterdir()} - {".flash", "__pycache__"} == {"a.py"}


def test_second_signal_stops_at_once(project, serve, tmp_path: Path) -> None:
    started = tmp_path / "started"
    server = serve(project({"a.py": WORKER}), env={"STARTED": str(started)})

    def call() -> None:
        with contextlib.suppress(httpx.TransportError):
            server.post("/a/runsync", {"input": {"seconds": 60}})

    calling = threading.Thread(target=call)
    calling.start()
    wait_for(started)
    server.process.send_signal(signal.SIGINT)
    server.wait_for_line("ctrl+c again stops at once")
    began = time.monotonic()
    assert server.stop(within=8) == 0
    assert time.monotonic() - began < 5
    calling.join(10)
    assert not calling.is_alive()


def test_killed_server_takes_its_workers_along(project, serve) -> None:
    server = serve(project({"a.py": WORKER}))
    server.runsync("/a", seconds=0)
    assert server.processes()
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 5
    while left := server.processes():
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_idle_server_stops_quickly(project, serve) -> None:
    server = serve(project({"a.py": WORKER}))
    server.runsync("/a", seconds=0)
    began = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 3


def test_jobs_in_a_state_folder_survive_a_kill(serve, project) -> None:
    root = project({"app.py": WORKER})
    server = serve(root, "--state", "jobs")
    done = server.post("/v2/a/runsync", {"input": {"seconds": 0}}).json()
    assert done["status"] == "COMPLETED"
    running = server.post("/v2/a/run", {"input": {"seconds": 0.2}}).json()
    server.kill()
    again = serve(root, "--state", "jobs")
    assert again.get(f"/v2/a/status/{done['id']}").json() == done
    ended = again.get(f"/v2/a/status-sync/{running['id']}").json()
    assert (ended["status"], ended["output"]) == ("COMPLETED", "done")


def test_state_folder_is_not_shared_by_two_servers(serve, project, flash) -> None:
    root = project({"app.py": WORKER})
    server = serve(root, "--state", "jobs")
    refused = flash("run", "--port", "0", "--state", "jobs", cwd=root.root)
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    assert str(server.process.pid) in refused.stderr
