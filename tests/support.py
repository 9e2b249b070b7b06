"""What tests share: a clean environment, projects on disk, and a `flash run` that always goes away.

Nothing here sleeps where an event can be awaited: a server is ready when it says its address and
answers `/ping`; a line is waited for on the stream that carries it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

#: Carried by every process that a test starts, and so by every worker below it.
MARK = "FLASH_TEST_MARK"
FLASH = Path(sys.executable).with_name("flash")
ADDRESS = re.compile(r"https?://(?P<host>[^\s:/]+):(?P<port>\d+)")


def clean_environment(home: Path, cache: Path) -> dict[str, str]:
    """Return this process's environment without what could change an answer or spend money.

    No Runpod key, no `FLASH_*` setting, no proxy for loopback, no home folder with credentials;
    `uv`'s downloads stay in the user's own cache, so that they are made once.
    """
    uv_cache = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RUNPOD_", "FLASH_", "PYTEST_", "COV_", "XDG_"))
        and name not in {"PYTHONPATH", "PYTHONSTARTUP", "NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV"}
    }
    return kept | {
        "HOME": str(home),
        "FLASH_CACHE_DIR": str(cache),
        "UV_CACHE_DIR": uv_cache,
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "PATH": f"{FLASH.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def processes_with_mark(mark: str) -> dict[int, str]:
    """Return the command lines, by process ID, of living processes that carry `mark`."""
    found: dict[int, str] = {}
    needle = f"{MARK}={mark}".encode()
    proc = Path("/proc")
    for entry in proc.iterdir() if proc.is_dir() else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if needle not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # ended meanwhile
            continue
        if state not in "ZX":
            found[int(entry.name)] = command
    return found


def end_marked(mark: str, within: float) -> dict[int, str]:
    """Wait until no process carries `mark`; kill and return those that are left after `within` seconds."""
    deadline = time.monotonic() + within
    while left := processes_with_mark(mark):
        if time.monotonic() > deadline:
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return left
        time.sleep(0.02)  # not our children: there is no event to wait for
    return {}


def free_port() -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Project:
    """A folder with a user's files."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which exists."""
        self.root = root

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def write(self, files: Mapping[str, str | bytes]) -> Project:
        """Write files by relative path, as an editor does: beside, then renamed over; text is dedented."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = textwrap.dedent(content).lstrip("\n").encode() if isinstance(content, str) else content
            beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
            beside.write_bytes(data)
            beside.replace(path)
        return self


class Output:
    """The lines that a process prints, both streams together, as they come."""

    def __init__(self, stream: Any) -> None:
        """Read `stream`, a binary file, to its end on a thread of its own."""
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def _read(self, stream: Any) -> None:
        for raw in iter(stream.readline, b""):
            with self._changed:
                self._lines.append(raw.decode(errors="replace").rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        """Everything so far."""
        with self._changed:
            return "\n".join(self._lines)

    @property
    def mark(self) -> int:
        """How many lines there are; pass it as `after` to look only at later ones."""
        with self._changed:
            return len(self._lines)

    def wait_for(self, wanted: str | re.Pattern[str] | Callable[[str], Any], within: float, after: int = 0) -> str:
        """Return the first line from `after` on that contains, matches or satisfies `wanted`."""
        if isinstance(wanted, str):
            text = wanted
            matches: Callable[[str], Any] = lambda line: text in line  # noqa: E731
        elif isinstance(wanted, re.Pattern):
            matches = wanted.search
        else:
            matches = wanted
        deadline = time.monotonic() + within
        position = after
        with self._changed:
            while True:
                for line in self._lines[position:]:
                    position += 1
                    if matches(line):
                        return line
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "the output ended" if self._ended else f"not within {within} s"
                    printed = "\n".join(self._lines)
                    raise AssertionError(f"no line with {wanted!r}: {why}; output so far:\n{printed}")
                self._changed.wait(left)

    def join(self, within: float) -> None:
        """Wait until the stream has ended."""
        self._reader.join(within)


class Server:
    """One `flash run` in a project folder."""

    def __init__(self, root: Path, *arguments: str, environment: Mapping[str, str], ready: float = 30) -> None:
        """Start it on a free port and wait until it answers `/ping`."""
        self.root = root
        self.mark = uuid.uuid4().hex
        if "--port" not in arguments and "-p" not in arguments:
            arguments = (*arguments, "--port", str(free_port()))
        self.process = subprocess.Popen(
            [str(FLASH), "run", *arguments],
            cwd=root,
            env=dict(environment) | {MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.output = Output(self.process.stdout)
        try:
            # The port may have been taken between our look and its bind: what it says is what counts.
            said = ADDRESS.search(self.output.wait_for(ADDRESS, ready))
            assert said
            self.port = int(said["port"])
            self.url = f"http://127.0.0.1:{self.port}"
            self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
            self._await_ping(ready)
        except BaseException:
            self.kill()
            raise

    def _await_ping(self, ready: float) -> None:
        deadline = time.monotonic() + ready
        while True:
            try:
                if self.client.get("/ping").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, f"flash run ended with {self.process.returncode}:\n{self.output.text}"
            assert time.monotonic() < deadline, f"no answer on /ping within {ready} s:\n{self.output.text}"
            time.sleep(0.005)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET `path`."""
        return self.client.get(path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """POST `json` to `path`."""
        return self.client.post(path, json=json, **options) if json is not None else self.client.post(path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request."""
        return self.client.request(method, path, **options)

    def runsync(self, path: str, **inputs: Any) -> Any:
        """Call a queue-based function at its project route and return its output; fails unless it completed."""
        answer = self.post(f"{path}/runsync", {"input": inputs or {"__empty": True}})
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        body = answer.json()
        assert body["status"] == "COMPLETED", body
        return body["output"]

    def wait_for_line(
        self, wanted: str | re.Pattern[str] | Callable[[str], Any], within: float = 15, after: int = 0
    ) -> str:
        """Return the first console line from `after` on that contains or matches `wanted`."""
        return self.output.wait_for(wanted, within, after)

    def processes(self) -> dict[int, str]:
        """Return the command lines, by process ID, of the workers and other processes below the server."""
        return {pid: line for pid, line in processes_with_mark(self.mark).items() if pid != self.process.pid}

    def stop(self, sign: signal.Signals = signal.SIGINT, within: float = 15) -> int:
        """Stop it as Ctrl-C does, assert that nothing is left, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"flash run did not stop within {within} s:\n{self.output.text}") from None
        left = end_marked(self.mark, within=3)
        self._close()
        assert not left, f"left behind after the server stopped: {left}\n{self.output.text}"
        return status

    def kill(self) -> None:
        """End the server and everything below it at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        end_marked(self.mark, within=0)
        self._close()

    def _close(self) -> None:
        self.output.join(3)
        if self.process.stdout:
            self.process.stdout.close()
        if hasattr(self, "client"):
            self.client.close()

    @property
    def is_running(self) -> bool:
        """Whether the server process lives."""
        return self.process.poll() is None


class Serve:
    """Starts servers for one test, and stops them all."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start them with `environment`."""
        self._environment = environment
        self.servers: list[Server] = []

    def __call__(
        self, where: Project | Path, *arguments: str, env: Mapping[str, str] | None = None, ready: float = 30
    ) -> Server:
        """Start `flash run` with `arguments` in `where`; `env` is added to the environment."""
        root = where.root if isinstance(where, Project) else where
        server = Server(root, *arguments, environment=dict(self._environment) | dict(env or {}), ready=ready)
        self.servers.append(server)
        return server

    def stop_all(self) -> None:
        """Stop every server; fails where one does not stop or leaves a process behind."""
        problems: list[str] = []
        for server in self.servers:
            try:
                server.stop()
            except AssertionError as problem:
                problems.append(str(problem))
        assert not problems, "\n".join(problems)


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
