"""How a `flash run --remote` ends, and what is left of it: nothing, or a list of what stays and costs money."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fault_proxy import FaultProxy, fault_proxy
from platform_support import Platform, until
from support import FLASH, MARK, Project, Serve, end_marked

Flash = Callable[..., subprocess.CompletedProcess[str]]

APP = """
    import asyncio

    from runpod_flash import Endpoint


    @Endpoint(name="NAME", cpu="cpu3c-1-2", workers=(0, 1))
    async def work(n: int, sleep: bool = False) -> int:
        if sleep:
            await asyncio.sleep(600)
        return 2 * n
"""


def app(name: str) -> dict[str, str]:
    """Return a project with one endpoint."""
    return {"work.py": APP.replace("NAME", name)}


def endpoints(platform: Platform, name: str) -> list[str]:
    """Return the names of the live endpoints on the platform that begin with `live-{name}`."""
    found = platform.get("/v2/serverless").json()["endpoints"]
    return sorted(endpoint["name"] for endpoint in found if endpoint["name"].startswith(f"live-{name}"))


def tracked(project: Project) -> list[str]:
    """Return the names of the endpoints that a folder tracks."""
    found = json.loads((project / ".flash/resources.json").read_text())
    return [endpoint["name"] for endpoint in found["endpoints"]]


@pytest.fixture
def proxy(platform: Platform) -> Iterator[FaultProxy]:
    """The platform, which fails where a test says so."""
    with fault_proxy(platform) as proxy:
        yield proxy


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_a_run_and_its_endpoints(
    project: Callable[..., Project], platform: Platform, serve: Serve, sign: signal.Signals
) -> None:
    name = f"ends-{sign.name.lower()}"
    root = project(app(name))
    server = serve(root, "--remote", env=platform.variables)
    assert server.runsync("/work", n=2) == 4
    assert endpoints(platform, name) == [f"live-{name}"]
    assert server.stop(sign) == 0
    assert (endpoints(platform, name), tracked(root)) == ([], [])


def test_second_ctrl_c_does_not_wait_for_jobs_and_removes_all_the_same(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("twice"))
    server = serve(root, "--remote", env=platform.variables)
    answers: list[Any] = []
    calling = threading.Thread(
        target=lambda: answers.append(server.post("/work/runsync", {"input": {"n": 1, "sleep": True}}))
    )
    calling.start()
    until(lambda: server.get("/v2/twice/health").json()["jobs"]["inProgress"] == 1, 30)
    server.process.send_signal(signal.SIGINT)
    server.wait_for_line("the running request may finish within")
    assert server.stop() == 0
    calling.join(5)
    assert endpoints(platform, "twice") == []
    # Whoever waits for a job is told.
    assert (answers[0].status_code, answers[0].json()["status"]) == (200, "FAILED")
    assert "flash run is ending" in answers[0].text


def test_what_cannot_be_removed_is_an_error_and_offered_again(
    project: Callable[..., Project], platform: Platform, proxy: FaultProxy, serve: Serve, flash: Flash
) -> None:
    root = project(app("stuck"))
    server = serve(root, "--remote", env=proxy.variables)
    assert server.runsync("/work", n=2) == 4
    [id] = [one["id"] for one in json.loads((root / ".flash/resources.json").read_text())["endpoints"]]
    proxy.answer("deleteEndpoint", 503, "<h1>maintenance</h1>", "text/html")
    assert server.stop(within=30) == 1
    said = server.output.text
    assert f"`live-stuck` ({id}) could not be removed: cannot delete endpoint `{id}`: Runpod answered 503" in said
    assert f"error: an endpoint stays on Runpod: `live-stuck` ({id})" in said
    assert "they cost money while workers run: `flash run --clean` in this folder removes them" in said
    assert (endpoints(platform, "stuck"), tracked(root)) == (["live-stuck"], ["live-stuck"])
    proxy.heal()
    # Without a key, and without anything to serve, it is still said.
    (root / "work.py").unlink()
    ended = flash("run", "--port", "0", cwd=root.root, env=proxy.variables | {"RUNPOD_API_KEY": ""})
    assert (ended.returncode, f"live-stuck ({id}), made " in ended.stderr) == (1, True)
    assert "without an API key they cannot be removed: `flash login`" in ended.stderr
    ended = flash("run", "--port", "0", "--clean", cwd=root.root, env=proxy.variables)
    assert (ended.returncode, "removed `live-stuck`" in ended.stderr) == (1, True)
    assert "no endpoints found" in ended.stderr
    assert (endpoints(platform, "stuck"), tracked(root)) == ([], [])


def test_clean_asks_nobody_and_says_when_there_is_nothing(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("clean"))
    server = serve(root, "--local", "--clean", env=platform.variables)
    server.wait_for_line("--clean: no earlier run left anything on Runpod")
    server.stop()
    server = serve(root, "--remote", env=platform.variables)
    assert server.runsync("/work", n=2) == 4
    server.kill()
    server = serve(root, "--local", "--clean", env=platform.variables)
    server.wait_for_line("removed `live-clean`")
    assert endpoints(platform, "clean") == []
    assert server.runsync("/work", n=2) == 4


def test_third_ctrl_c_leaves_at_once_and_says_what_stays(
    project: Callable[..., Project], platform: Platform, proxy: FaultProxy, serve: Serve
) -> None:
    root = project(app("third"))
    server = serve(root, "--remote", env=proxy.variables)
    assert server.runsync("/work", n=2) == 4
    gone = threading.Event()
    proxy.rules.append(lambda request: gone.wait(60) and None if "deleteEndpoint" in request else None)
    server.process.send_signal(signal.SIGINT)
    server.wait_for_line("removing from Runpod: `live-third`")
    until(lambda: proxy.count("deleteEndpoint") == 1)
    server.process.send_signal(signal.SIGINT)
    server.wait_for_line("(ctrl+c once more leaves them there)")
    assert server.stop() == 1
    assert "error: an endpoint stays on Runpod: `live-third`" in server.output.text
    gone.set()
    assert tracked(root) == ["live-third"]
    serve(root, "--local", "--clean", env=platform.variables).wait_for_line("--clean: no earlier run left anything")


def test_two_runs_of_one_project_share_its_endpoints(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("shared"))
    first = serve(root, "--remote", env=platform.variables)
    second = serve(root, "--remote", env=platform.variables)
    assert [server.runsync("/work", n=2) for server in (first, second)] == [4, 4]
    assert endpoints(platform, "shared") == ["live-shared"]
    assert first.stop() == 0
    assert f"stays: process {second.process.pid} uses it" in first.output.text
    assert second.runsync("/work", n=3) == 6
    assert second.stop() == 0
    assert (endpoints(platform, "shared"), tracked(root)) == ([], [])


def test_run_that_needs_what_another_removes_waits_and_makes_its_own(
    project: Callable[..., Project], platform: Platform, proxy: FaultProxy, serve: Serve
) -> None:
    root = project(app("handed"))
    first = serve(root, "--remote", env=proxy.variables)
    second = serve(root, "--remote", env=proxy.variables)
    assert first.runsync("/work", n=2) == 4
    before = json.loads((root / ".flash/resources.json").read_text())["endpoints"][0]["id"]
    going_on = threading.Event()
    proxy.rules.append(lambda request: going_on.wait(60) and None if "deleteEndpoint" in request else None)
    first.process.send_signal(signal.SIGINT)
    until(lambda: proxy.count("deleteEndpoint") == 1)
    answers: list[Any] = []
    calling = threading.Thread(target=lambda: answers.append(second.runsync("/work", n=3)))
    calling.start()
    second.wait_for_line(f"waiting for process {first.process.pid}, which is at work on `live-handed`")
    going_on.set()
    calling.join(30)
    assert answers == [6]
    assert first.stop() == 0
    assert json.loads((root / ".flash/resources.json").read_text())["endpoints"][0]["id"] != before
    assert second.stop() == 0
    assert (endpoints(platform, "handed"), tracked(root)) == ([], [])


def test_run_on_this_machine_waits_for_no_network(
    project: Callable[..., Project], platform: Platform, proxy: FaultProxy, serve: Serve
) -> None:
    root = project(app("offline"))
    server = serve(root, "--remote", env=proxy.variables)
    assert server.runsync("/work", n=2) == 4
    server.kill()
    back = threading.Event()
    proxy.rules.append(lambda _: back.wait(60) and None)
    server = serve(root, "--local", env=proxy.variables)
    server.wait_for_line("live-offline (")
    server.wait_for_line("Runpod cannot be asked to remove anything: it did not answer within 5 s")
    assert server.runsync("/work", n=3) == 6
    server.stop()
    back.set()
    serve(root, "--local", "--clean", env=proxy.variables).wait_for_line("removed `live-offline`")
    assert endpoints(platform, "offline") == []


class Terminal:
    """A `flash run` on a terminal of 80 columns."""

    def __init__(self, root: Project, environment: dict[str, str], *arguments: str) -> None:
        """Start it."""
        self.mark = os.urandom(8).hex()
        self.text = ""
        self.controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [str(FLASH), "run", "--port", "0", *arguments],
            cwd=root.root,
            env=environment | {MARK: self.mark, "NO_COLOR": "1"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)

    def wait_for(self, text: str) -> None:
        """Read until it has printed `text`, which need not end a line."""
        while text not in self.text:
            ready, _, _ = select.select([self.controller], [], [], 20)
            assert ready, f"no {text!r}; output so far:\n{self.text}"
            self.text += os.read(self.controller, 4096).decode()

    def end(self) -> int:
        """Press Ctrl-C and wait."""
        self.process.send_signal(signal.SIGINT)
        # To the end of the terminal, which is an error on Linux: a full one would hold it up.
        with contextlib.suppress(OSError):
            while piece := os.read(self.controller, 4096):
                self.text += piece.decode()
        return self.process.wait(15)

    def close(self) -> None:
        """End it at once where it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        end_marked(self.mark, within=3)
        os.close(self.controller)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Start `flash run` on a terminal."""
    started: list[Terminal] = []

    def start(root: Project, *arguments: str, env: dict[str, str]) -> Terminal:
        started.append(Terminal(root, environment | env, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_run_that_asks_or_waits_for_a_network_ends_at_ctrl_c(
    project: Callable[..., Project],
    platform: Platform,
    proxy: FaultProxy,
    terminal: Callable[..., Terminal],
) -> None:
    root = project(app("waits"))
    asking = terminal(root, env=platform.variables)
    asking.wait_for("run functions here, or on Runpod")
    assert asking.end() == 0
    assert not (root / ".flash/settings.json").exists()
    release = threading.Event()
    proxy.rules.append(lambda _: release.wait(60) and None)
    hanging = terminal(root, "--remote", env=proxy.variables)
    until(lambda: proxy.requests, 20)
    assert hanging.end() == 0
    release.set()


def test_endpoint_table_fits_into_80_columns(
    project: Callable[..., Project], platform: Platform, terminal: Callable[..., Terminal]
) -> None:
    name = "an-endpoint-whose-name-is-rather-long-for-a-table"
    running = terminal(project(app(name)), "--local", env=platform.variables)
    running.wait_for("ctrl+c\r\n")
    lines = [line.rstrip() for line in running.text.splitlines()]
    [at] = [number for number, line in enumerate(lines) if line.startswith(f"  {name}")]
    assert lines[at] == f"  {name}  queue  CPU cpu3c-1-2"
    assert lines[at + 1] == "    POST  /work/runsync  work"
    assert max(len(line) for line in lines) <= 80
