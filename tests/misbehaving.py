"""A server that does what a test says with each request, good or bad, over real connections."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

DONE = b'{"id":"j1","status":"COMPLETED","output":{"n":42}}'
RUNS = b'{"id":"j1","status":"IN_PROGRESS"}'

#: What a server does with a request: writes to the connection, and says whether it goes on.
Act = Callable[[socket.socket], bool]


def answer(status: int, body: bytes = b"", **headers: str) -> Act:
    """Answer properly."""

    def act(connection: socket.socket) -> bool:
        lines = [f"HTTP/1.1 {status} X", "X-Request-Id: req-7", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return True

    return act


def refuse(status: int, **headers: str) -> Act:
    """Refuse with a reason."""
    return answer(status, json.dumps({"error": f"it is {status}"}).encode(), **headers)


def reset(connection: socket.socket) -> bool:
    """Break the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def cut_off(connection: socket.socket) -> bool:
    """Break the connection in the middle of the answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + DONE[:20])
    return False


def hang(connection: socket.socket) -> bool:
    """Do nothing until the client leaves."""
    while connection.recv(4096):
        pass
    return False


def dribble(connection: socket.socket) -> bool:
    """Send a byte now and then, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
    connection.settimeout(0.02)
    while True:
        connection.sendall(b" ")
        try:
            if not connection.recv(1):
                return False
        except TimeoutError:
            continue


@dataclass
class Server:
    """Does what `script` says with a request's kind (`runsync`, `status` …) and how many of it came before."""

    script: Callable[[str, int], Act | str]
    requests: list[str] = field(default_factory=list)
    #: Told of each request.
    came: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self, *kinds: str) -> int:
        """Return how many requests of these kinds came."""
        return sum(request in kinds for request in self.requests)

    @property
    def environment(self) -> dict[str, str]:
        """What points a process at this server."""
        url = f"http://127.0.0.1:{self.port}"
        return {"RUNPOD_API_BASE_URL": url, "RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2", "RUNPOD_API_KEY": "rpa_SECRET"}

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait until so many requests of a kind have come."""
        with self.came:
            assert self.came.wait_for(lambda: self.count(kind) >= count, 30), self.requests

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as reader:
                while line := reader.readline():
                    kind = line.split()[1].decode().split("/")[3].partition("?")[0]
                    length = 0
                    while (header := reader.readline().strip()) != b"":
                        name, _, value = header.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    with self.lock:
                        before = self.count(kind)
                        self.requests.append(kind)
                    with self.came:
                        self.came.notify_all()
                    act = self.script(kind, before)
                    if isinstance(act, str):  # the body is not read
                        reset(connection)
                        return
                    reader.read(length)
                    if not act(connection):
                        return
        except OSError:
            return

    def close(self) -> None:
        """Listen no longer, also where a thread waits for a connection."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


#: Starts a server with its script.
Serve = Callable[[Callable[[str, int], Act | str]], Server]


def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Give what starts servers and points this process at the latest; they end with the test."""
    servers: list[Server] = []

    def start(script: Callable[[str, int], Act | str]) -> Server:
        servers.append(Server(script))
        for name, value in servers[-1].environment.items():
            monkeypatch.setenv(name, value)
        return servers[-1]

    yield start
    for server in servers:
        server.close()
