"""Many ways to break an app: each has a clear error, and nobody else notices.

One server serves every broken file beside three good endpoints. Eight clients call the good ones all the while; a
single failed call fails the test that it happened in.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from breakages import BY_CALL, DEATHS, HEAD, HELPERS, ODD, REFUSED, Way, endpoint
from support import Serve, Server

pytestmark = pytest.mark.xdist_group("break")

GOOD = {
    "good_queue.py": HEAD
    + """
@Endpoint(name="good-queue", cpu="cpu3g-1-4")
async def add(a: int, b: int = 1) -> int:
    return a + b
""",
    "good_sync.py": HEAD
    + """
@Endpoint(name="good-sync", cpu="cpu3g-1-4")
def upper(text: str) -> str:
    return text.upper()
""",
    "good_routes.py": HEAD
    + """
api = Endpoint(name="good-routes", cpu="cpu3g-1-4", workers=(1, 2))


@api.get("/items/{item}")
async def item(item: int, more: bool = False) -> dict:
    return {"item": item, "more": more}


@api.post("/echo")
async def echo(text: str) -> dict:
    return {"echo": text}
""",
}


@dataclass
class Crowd:
    """Clients that call the good endpoints until they are told to go."""

    url: str
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, clients: int) -> None:
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int, within: float = 30) -> None:
        """Wait until `count` further calls have answered."""
        with self._changed:
            wanted = self.answered + count
            assert self._changed.wait_for(lambda: self.answered >= wanted, within), "the good endpoints stand still"

    def _call(self, number: int) -> None:
        calls: list[tuple[str, str, Any, Callable[[Any], bool]]] = [
            ("POST", "/good_queue/runsync", {"input": {"a": number}}, lambda body: body["output"] == number + 1),
            (
                "GET",
                f"/good_routes/items/{number}?more=true",
                None,
                lambda body: body == {"item": number, "more": True},
            ),
            ("POST", "/good_sync/runsync", {"input": {"text": "quiet"}}, lambda body: body["output"] == "QUIET"),
            ("POST", "/good_routes/echo", {"text": "aé"}, lambda body: body == {"echo": "aé"}),
        ]
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            turn = number
            while not self._over.wait(0.1):
                method, path, sent, is_right = calls[turn % len(calls)]
                turn += 1
                try:
                    answer = client.request(method, path, json=sent)
                    problem = None if answer.status_code == 200 and is_right(answer.json()) else answer.text[:500]
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    problem = repr(error)
                with self._changed:
                    self.answered += 1
                    if problem is not None:
                        self.failures.append(f"{method} {path}: {problem}")
                    self._changed.notify_all()


@dataclass
class Broken:
    """The server of all broken files, and its crowd."""

    server: Server
    crowd: Crowd
    root: Path

    def call(self, name: str, sent: object) -> tuple[int, dict[str, object]]:
        answer = self.server.post(f"/{urllib.parse.quote(name)}/runsync", {"input": sent})
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, session_environment: dict[str, str]) -> Iterator[Broken]:
    root = tmp_path_factory.mktemp("broken")
    files: dict[str, str | bytes] = {**GOOD, **HELPERS}
    files |= {f"{way.name}.py": way.text for way in BY_CALL}
    files |= {name: content for name, (content, _) in REFUSED.items()}
    files |= {name: content for name, (content, _) in ODD.items()}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    strange_entries(root)
    serve = Serve(session_environment)
    server = serve(root, ready=60)
    crowd = Crowd(server.url)
    try:
        server.runsync("/good_queue", a=1)
        server.runsync("/good_sync", text="a")
        crowd.start(8)
        yield Broken(server, crowd, root)
    finally:
        crowd.stop()
        with contextlib.suppress(FileNotFoundError):
            (root / "pipe.py").unlink()
        serve.stop_all()


def strange_entries(root: Path) -> None:
    """Put things into the project that are no files, or end in themselves, or do not end."""
    (root / "folder.py").mkdir()
    os.mkfifo(root / "pipe.py")
    (root / "loop_folder").symlink_to(root)
    (root / "loop_a.py").symlink_to(root / "loop_b.py")
    (root / "loop_b.py").symlink_to(root / "loop_a.py")
    (root / "dangling.py").symlink_to(root / "nowhere.py")
    (root / "endless.py").symlink_to("/dev/zero")
    with (
        socket.socket(socket.AF_UNIX) as listener,
        contextlib.chdir(root) if hasattr(contextlib, "chdir") else here(root),
    ):
        listener.bind("socket.py")
    (root / os.fsdecode(b"name\xff.py")).write_text(endpoint("odd-name"))
    deep = root / "/".join(["deep"] * 12)
    deep.mkdir(parents=True)
    (deep / "bottom.py").write_text(endpoint("bottom"))


@contextlib.contextmanager
def here(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def nobody_else_notices(broken: Broken) -> Iterator[None]:
    """Hold every test to it: the server lives, and the crowd had no failure while it ran."""
    before = len(broken.crowd.failures)
    yield
    broken.crowd.more(8)
    assert broken.server.is_running, broken.server.output.text[-3000:]
    assert broken.crowd.failures[before:] == []


@pytest.mark.parametrize("way", BY_CALL, ids=lambda way: way.name)
def test_broken_function_answers_with_its_reason(broken: Broken, way: Way) -> None:
    status, answer = broken.call(way.name, way.send)
    text = json.dumps(answer)[:2000]
    if way.error is None:
        assert (status, answer.get("status")) == (200, "COMPLETED"), text
        if way.name != "returns_odd_keys":  # JSON decides how such keys are written
            assert answer["output"] == way.output, text
        return
    assert answer.get("status") != "COMPLETED", text
    assert re.search(way.error, text), text
    assert "Traceback" not in str(answer.get("error")), "the error is one line; the traceback is apart"
    assert "runpod_flash/worker" not in text, "only the user's frames are shown"


@pytest.mark.parametrize("way", DEATHS, ids=lambda way: way.name)
def test_dead_worker_is_replaced(broken: Broken, way: Way) -> None:
    # Runs after the test above: the first worker is gone.
    _, answer = broken.call(way.name, way.send)
    assert re.search(way.error or "", json.dumps(answer)), answer


@pytest.mark.parametrize("name", REFUSED)
def test_refused_file_is_named_on_the_console(broken: Broken, name: str) -> None:
    console = broken.server.output.text
    place = re.search(rf"(?m)^.*{re.escape(name)}(:\d+)?.*$", console)
    assert place, console[:6000]
    around = console[max(0, place.start() - 600) : place.end() + 900]
    assert re.search(REFUSED[name][1], around), around
    if name == "twice_a.py":  # the first of two stays where it is
        return
    status, answer = broken.call(name.removesuffix(".py"), {"value": 1})
    assert status >= 400 or answer["status"] == "FAILED", answer


def test_refused_files_are_named_in_the_docs(broken: Broken) -> None:
    document = broken.server.get("/openapi.json").text + broken.server.get("/docs").text
    missing = [name for name in ("syntax_error.py", "unknown_gpu.py", "twice_a.py") if name not in document]
    assert not missing


@pytest.mark.parametrize("name", ODD)
def test_odd_file_is_served(broken: Broken, name: str) -> None:
    status, answer = broken.call(name.removesuffix(".py"), {"value": 1})
    assert status == 200, answer
    assert answer.get("output") == ODD[name][1], answer


def test_deep_folder_is_served(broken: Broken) -> None:
    status, answer = broken.call("/".join(["deep"] * 12 + ["bottom"]), {"value": 2})
    assert (status, answer.get("output")) == (200, 2), answer


@pytest.mark.parametrize("content", ["def act(:\n", "", "\x00\x00", "import no_such_module\n"], ids=repr)
def test_file_broken_by_a_save_and_mended_serves_again(broken: Broken, content: str) -> None:
    path = broken.root / "mended.py"
    mark = broken.server.output.mark
    path.write_text(endpoint("mended", "return 'first'"))
    await_output(broken, "mended", "first")
    path.write_text(content)
    if content.startswith(("def", "\x00")):
        broken.server.wait_for_line("mended.py", after=mark)
    path.write_text(endpoint("mended", "return 'second'"))
    await_output(broken, "mended", "second")
    path.unlink()


def await_output(broken: Broken, name: str, output: str) -> None:
    """Call until the saved version answers: what tells of a save is its effect."""
    for _ in range(500):
        status, answer = broken.call(name, {"value": 1})
        if status == 200 and answer.get("output") == output:
            return
        broken.crowd.more(1)
    raise AssertionError(f"{name} did not answer {output!r}: {answer}")


BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 422),
    "text": (b"hello", 422),
    "half an object": (b'{"input": {"a": 1', 422),
    "a list": (b"[1, 2]", 422),
    "null": (b"null", 422),
    "null input": (b'{"input": null}', 422),
    "a list as input": (b'{"input": [1]}', 422),
    "a wrong type": (b'{"input": {"a": "many"}}', 422),
    "no parameter": (b'{"input": {}}', 422),
    "bytes that are no text": (b'{"input": {"a": "\xff\xfe"}}', 422),
    "deep brackets": (b'{"input": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 422),
    "a huge exponent": (b'{"input": {"a": 1e400}}', 422),
    "not a number": (b'{"input": {"a": NaN}}', 422),
    "a lone surrogate": (b'{"input": {"a": "\\ud800"}}', 422),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bad_body_is_a_422_in_fastapis_shape(broken: Broken, kind: str) -> None:
    sent, expected = BODIES[kind]
    answer = broken.server.request("POST", "/good_queue/runsync", content=sent)
    assert answer.status_code == expected, answer.text[:500]
    assert answer.json()["detail"], answer.text


def test_big_body_is_read_or_refused(broken: Broken) -> None:
    answer = broken.server.post("/good_sync/runsync", {"input": {"text": "a" * 40_000_000}})
    assert answer.status_code in (200, 413)
    if answer.status_code == 200:
        assert len(answer.json()["output"]) == 40_000_000


def test_unknown_paths_and_methods_are_refused(broken: Broken) -> None:
    request = broken.server.request
    assert request("POST", "/no/such/runsync", json={}).status_code == 404
    assert request("GET", "/good_queue/runsync").status_code == 405
    assert request("GET", "/v2/good-queue/status/no-such-job").status_code == 404
    assert request("POST", "/v2/no-such-endpoint/run", json={"input": {}}).status_code == 404
    assert request("GET", "/good_routes/items/not-a-number").status_code == 422
    assert request("GET", "/%ff%00/..%2f..%2fetc%2fpasswd").status_code in (400, 404)
    assert request("GET", "/good_queue/runsync", headers={"Host": "evil.example"}).status_code in (400, 403, 421)


RAW: dict[str, bytes] = {
    "garbage": bytes(range(256)) * 16,
    "no such protocol": b"GET /ping GOPHER/0.1\r\n\r\n",
    "huge headers": b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"x" * 2_000_000 + b"\r\n\r\n",
    "many headers": b"GET /ping HTTP/1.1\r\nHost: localhost\r\n"
    + b"".join(b"X-%d: y\r\n" % n for n in range(9000))
    + b"\r\n",
    "two lengths": b"POST /good_queue/runsync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "negative length": b"POST /good_queue/runsync HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "bad chunk": b"POST /good_queue/runsync HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
}


@pytest.mark.parametrize("kind", RAW)
def test_bytes_that_are_no_request_are_refused(broken: Broken, kind: str) -> None:
    with socket.create_connection(("127.0.0.1", broken.server.port), timeout=10) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(RAW[kind])
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(65536)
            assert answer == b"" or answer.split()[1].startswith(b"4"), answer


@pytest.mark.parametrize(
    "sent", ["", "POST /good_queue/runsync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{"]
)
def test_client_that_hangs_up_costs_nothing(broken: Broken, sent: str) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", broken.server.port), timeout=10) as connection:
            connection.sendall(sent.encode())


def test_ways_are_at_least_fifty() -> None:
    assert len(BY_CALL) + len(REFUSED) + len(ODD) + len(BODIES) + len(RAW) >= 50
