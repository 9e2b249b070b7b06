"""Stopwatches: programs, servers and HTTP answers, timed from outside with nothing but the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: Between two tries of something that has no event to wait for; adds at most this to a time.
TICK = 0.002
#: A bench that has no answer by then has failed.
PATIENCE = 120.0


@dataclass(frozen=True)
class Package:
    """One of the two packages, in an environment of its own."""

    name: str
    python: Path
    environment: dict[str, str]

    @property
    def flash(self) -> str:
        """Its console script."""
        return str(self.python.with_name("flash"))

    def popen(self, arguments: Sequence[str], folder: Path, output: IO[Any] | int) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own."""
        return subprocess.Popen(
            arguments,
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment(home: Path, cache: Path) -> dict[str, str]:
    """Return this process's environment without Runpod's and our settings: no key, no account, no notices."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "FLASH_"))}
    return kept | {
        "HOME": str(home),
        "FLASH_CACHE_DIR": str(cache),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        "RUNPOD_FLASH_SILENCE_DEPRECATION": "1",
        "FLASH_NO_UPDATE_CHECK": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def seconds(action: Callable[[], object]) -> float:
    """Return how long `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run_program(package: Package, *arguments: str, folder: Path, check: bool = True) -> float:
    """Return how long a program takes from its start to its end."""
    start = time.perf_counter()
    ended = subprocess.run(
        arguments, cwd=folder, env=package.environment, capture_output=True, timeout=PATIENCE, check=False
    )
    took = time.perf_counter() - start
    if check and ended.returncode != 0:
        raise RuntimeError(f"{arguments}: {ended.returncode}\n{ended.stdout.decode()}\n{ended.stderr.decode()}")
    return took


def first_line(package: Package, *arguments: str, folder: Path, wanted: str) -> float:
    """Return how long a program takes until it prints a line with `wanted`."""
    start = time.perf_counter()
    process = package.popen(arguments, folder, subprocess.PIPE)
    assert process.stdout
    printed: list[str] = []
    with stopping(process):
        for line in process.stdout:
            if wanted in line.decode(errors="replace"):
                return time.perf_counter() - start
            printed.append(line.decode(errors="replace"))
    raise RuntimeError(f"{arguments} did not print {wanted!r}:\n{''.join(printed)}")


@contextlib.contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End the process and its session when the block ends."""
    try:
        yield process
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break
        for process_id in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        if process.stdout:
            process.stdout.close()


@dataclass
class Running:
    """A dev server that has answered."""

    process: subprocess.Popen[bytes]
    port: int
    started: float
    ready_after: float

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Return status and body of one request, or `(0, "")` where nothing listens yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def until(self, good: Callable[[int, str], bool], method: str, path: str, body: object = None) -> float:
        """Ask again and again until the answer is good; return the time since the server's start."""
        while True:
            status, text = self.ask(method, path, body)
            now = time.perf_counter()
            if good(status, text):
                return now - self.started
            if self.process.poll() is not None or now - self.started > PATIENCE:
                raise RuntimeError(f"{method} {path}: {status} {text[:500]}")
            time.sleep(TICK)


@contextlib.contextmanager
def serving(package: Package, folder: Path) -> Iterator[Running]:
    """Start the package's dev server, wait for its first 200, and stop it when the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with (folder / "server.log").open("wb") as log:
        started = time.perf_counter()
        process = package.popen([package.flash, "run", "--port", str(port)], folder, log)
        with stopping(process):
            server = Running(process, port, started, 0.0)
            try:
                server.ready_after = server.until(lambda status, _: status == 200, "GET", "/ping")
                yield server
            except RuntimeError as error:
                raise RuntimeError(f"{package.name}: {error}\n{(folder / 'server.log').read_text()}") from None


def descendants(process_id: int) -> list[int]:
    """Return the processes below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    left = [process_id]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def resident(process_id: int) -> float:
    """Return the resident memory of one process in MB (10^6 bytes)."""
    status = Path(f"/proc/{process_id}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6


def alternating(runs: int, *actions: Callable[[], float]) -> list[float]:
    """Return each action's median over `runs`, taken in turns so that a busy minute hits all alike."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(runs):
        for times, action in zip(taken, actions, strict=True):
            times.append(action())
    return [statistics.median(times) for times in taken]
