"""Ways to break an app: each has a clear error, the server lives, and the other endpoints answer all the while."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from support import Project, Serve, Server

HEAD = "from runpod_flash import Endpoint, GpuType\n"


def queue(name: str, body: str = "return x", head: str = "", config: str = 'cpu="cpu3c-1-2"') -> str:
    return f"{HEAD}{head}\n@Endpoint(name={name!r}, {config})\ndef run(x: int = 0):\n    {body}\n"


#: Files that cannot be served: content, and a text that the answer at their route has.
FILES: dict[str, tuple[str | bytes, str]] = {
    "unclosed": (HEAD + "def broken(:\n", "unclosed.py:2"),
    "indented": (HEAD + "def f():\nreturn 1\n", "indented.py:3"),
    "python2": (HEAD + "print 'x'\n", "python2.py:2"),
    "unterminated": (HEAD + "x = 'abc\n", "unterminated.py:2"),
    "merge_conflict": (HEAD + "<<<<<<< HEAD\nx = 1\n=======\n", "merge_conflict.py:2"),
    "null_byte": (HEAD.encode() + b"x = 1\0\n", "null_byte.py"),
    "not_utf8": (HEAD.encode() + b"x = '\xff\xfe'\n", "not_utf8.py"),
    "unknown_encoding": (b"# -*- coding: klingon -*-\n" + HEAD.encode(), "unknown_encoding.py"),
    "unknown_gpu": (queue("g1", config="gpu=GpuType.NVIDIA_H1OO"), "NVIDIA_H1OO"),
    "gpu_and_cpu": (queue("g2", config='gpu=GpuType.ANY, cpu="cpu3c-1-2"'), "cpu"),
    "unknown_cpu": (queue("g3", config='cpu="cpu99-1"'), "cpu99-1"),
    "bad_workers": (queue("g4", config='cpu="cpu3c-1-2", workers=(5, 1)'), "workers"),
    "bad_name": (queue("a/b"), "a/b"),
    "unknown_parameter": (queue("g5", config="memory=5"), "memory"),
    "bad_route": (
        HEAD + 'api = Endpoint(name="g6", cpu="cpu3c-1-2")\n@api.get("no-slash")\ndef f(): ...\n',
        "no-slash",
    ),
    "route_on_class": (HEAD + 'api = Endpoint(name="g7", cpu="cpu3c-1-2")\n@api.get("/x")\nclass C: ...\n', "class"),
    "same_route": (
        HEAD + 'api = Endpoint(name="g8", cpu="cpu3c-1-2")\n'
        '@api.get("/x")\ndef f(): ...\n@api.get("/x")\ndef g(): ...\n',
        "/x",
    ),
}

#: Files that are read well and cannot be loaded in a worker: content, and a text of the job's error.
LOADS: dict[str, tuple[str, str]] = {
    "missing_module": (queue("l1", head="import surely_not_installed\n"), "surely_not_installed"),
    "exits": (queue("l2", head="import sys\nsys.exit(3)\n"), "SystemExit"),
    "raises": (queue("l3", head="raise RuntimeError('at import')\n"), "RuntimeError: at import"),
    "loop_a": (queue("l4", head="from loop_b import missing\n"), "loop_b"),
    "loop_b": (queue("l5", head="from loop_a import other\n"), "loop_a"),
    "hard_exit": (queue("l6", head="import os\nos._exit(4)\n"), "4"),
    "crashes": (queue("l7", head="import os\nos.abort()\n"), "SIGABRT"),
    "name_error": (queue("l8", head="undefined_name\n"), "NameError"),
    "deep": (queue("l10", head="x = " + "(" * 5000 + ")" * 5000 + "\n"), "nested parentheses"),
    "class_needs_arguments": (
        HEAD + '@Endpoint(name="l9", cpu="cpu3c-1-2")\nclass M:\n'
        "    def __init__(self, path): ...\n    def run(self, x: int = 0): return x\n",
        "path",
    ),
}

#: What one function does to its worker, and a text of the error.
WAYS: dict[str, tuple[str, str]] = {
    "raise": ("raise ValueError('boom')", "ValueError: boom"),
    "custom": ("class Odd(Exception): pass\n    raise Odd('x')", "Odd"),
    "bad_str": ("class Bad(Exception):\n        def __str__(self): raise KeyError('in str')\n    raise Bad()", "Bad"),
    "group": (
        "raise ExceptionGroup('many', [ValueError('one')]) if hasattr(__builtins__, 'ExceptionGroup') else 1/0",
        "",
    ),
    "system_exit": ("raise SystemExit(5)", "SystemExit"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "cancelled": ("import asyncio\n    raise asyncio.CancelledError", "CancelledError"),
    "stop_iteration": ("raise StopIteration", "StopIteration"),
    "recursion": ("return way_recursion(x)", "RecursionError"),
    "os_exit": ("import os\n    os._exit(9)", "9"),
    "abort": ("import os\n    os.abort()", "SIGABRT"),
    "segfault": ("import ctypes\n    ctypes.string_at(0)", "SIGSEGV"),
    "kill": ("import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "nan": ("return {'deep': [1.0, float('nan')]}", "deep"),
    "infinite": ("return float('inf')", ""),
    "object": ("return object()", ""),
    "function": ("return lambda: 1", ""),
    "circular": ("loop = []\n    loop.append(loop)\n    return loop", ""),
    "bytes": ("return b'\\xff\\xfe'", ""),
    "surrogate": ("return '\\ud800'", ""),
    "deep_result": ("value = []\n    for _ in range(100000): value = [value]\n    return value", ""),
    "module": ("import os\n    return os", ""),
    "memory": ("return 'x' * (1 << 62)", "MemoryError"),
    "closed_descriptors": ("import os\n    os.closerange(3, 200)\n    return 1", ""),
    "hang": ("import time\n    time.sleep(600)", ""),
    "busy": ("while True: pass", ""),
}
#: Those that may work just as well: what matters is that nothing else breaks.
MAY_COMPLETE = {"object", "infinite", "surrogate", "bytes", "module", "function", "deep_result"}


def breaking_source() -> str:
    ways = "".join(f"\ndef way_{name}(x):\n    {body}\n" for name, (body, _) in WAYS.items())
    return f"""{HEAD}{ways}
@Endpoint(name="breaks", cpu="cpu3c-1-2", workers=(0, 1), execution_timeout_ms=5000)
def breaks(how: str):
    return globals()["way_" + how](0)
"""


class Others:
    """Eight clients that call the sound endpoints without a pause, until they are told to stop."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.calls = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(8)]
        for thread in self._threads:
            thread.start()

    def _call(self, number: int) -> None:
        with httpx.Client(base_url=self.server.url, timeout=60, trust_env=False) as client:
            while not self._stop.wait(0.02):
                if number % 2:
                    answer = client.post("/good/run/runsync", json={"input": {"x": number}})
                    fine = answer.status_code == 200 and answer.json().get("output") == number
                else:
                    answer = client.get(f"/good/echo/{number}")
                    fine = answer.status_code == 200 and answer.json() == {"number": number}
                with self._lock:
                    self.calls += 1
                    if not fine:
                        self.failures.append(f"{answer.status_code}: {answer.text[:300]}")

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


GOOD = (
    queue("good").replace("def run", "def run")
    + """
@Endpoint(name="second", cpu="cpu3c-1-2")
def second(x: int = 0):
    return x

api = Endpoint(name="good-api", cpu="cpu3c-1-2")

@api.get("/echo/{number}")
def echo(number: int):
    return {"number": number}
"""
)


@pytest.fixture(scope="module")
def broken(
    tmp_path_factory: pytest.TempPathFactory, session_environment: dict[str, str]
) -> Iterator[tuple[Server, Others]]:
    root = tmp_path_factory.mktemp("broken")
    files = {"good.py": GOOD, "breaks.py": breaking_source()}
    files |= {f"{name}.py": content for name, (content, _) in FILES.items()}
    files |= {f"{name}.py": content for name, (content, _) in LOADS.items()}
    project = Project(root)
    project.write(files)
    (root / "big.py").write_text("# " + "x" * (10 << 20) + "\n")
    (root / "loop").mkdir()
    (root / "loop" / "again").symlink_to(root / "loop")
    (root / "dangling.py").symlink_to(root / "nowhere.py")
    os.mkfifo(root / "pipe.py")
    (root / "folder.py").mkdir()
    serving = Serve(session_environment)
    server = serving(root)
    # The sound ones are there before the others begin to fail.
    assert server.runsync("/good/run", x=1) == 1
    assert server.get("/good/echo/1").status_code == 200
    others = Others(server)
    yield server, others
    others.end()
    serving.stop_all()


def alive(server: Server) -> None:
    assert server.is_running
    assert server.get("/ping").status_code == 200


@pytest.mark.parametrize("name", FILES)
def test_file_that_cannot_be_served_says_why(broken, name: str) -> None:
    server, _ = broken
    answer = server.post(f"/{name}/runsync", {"input": {"x": 1}})
    assert answer.status_code == 503, answer.text
    assert FILES[name][1] in answer.json()["detail"]
    assert f"{name}.py" in server.output.text
    alive(server)


@pytest.mark.parametrize("name", LOADS)
def test_file_that_cannot_be_loaded_fails_its_jobs(broken, name: str) -> None:
    server, _ = broken
    answer = server.post(f"/{name}/runsync", {"input": {"x": 1}})
    assert LOADS[name][1] in answer.text, answer.text
    assert "COMPLETED" not in answer.text
    alive(server)


@pytest.mark.parametrize("how", WAYS)
def test_function_that_breaks_fails_its_job(broken, how: str) -> None:
    server, _ = broken
    answer = server.post("/breaks/runsync", {"input": {"how": how}})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if how not in MAY_COMPLETE or body["status"] != "COMPLETED":
        assert body["status"] in ("FAILED", "TIMED_OUT"), body
        assert WAYS[how][1] in json.dumps(body)
        assert body["error"], body
    alive(server)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nope", b"[1]", b"null", b'{"input": NaN}', b"\xff\xfe", b'{"input": {"x": "y"}}', b'"' + b"x" * 100],
    ids=lambda body: repr(body[:12]),
)
def test_body_that_is_wrong_is_422(broken, body: bytes) -> None:
    server, _ = broken
    answer = server.post("/good/run/runsync", content=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]
    alive(server)


def test_body_that_is_deep_is_answered(broken) -> None:
    server, _ = broken
    deep = b'{"input": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    assert server.post("/good/run/runsync", content=deep).status_code in (200, 413, 422)
    alive(server)


def test_body_that_is_huge_is_answered(broken) -> None:
    server, _ = broken
    huge = b'{"input": {"x": "' + b"y" * (40 << 20) + b'"}}'
    assert server.post("/good/run/runsync", content=huge).status_code in (413, 422)
    alive(server)


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n\r\n\r\n",
        b"POST /good/run/runsync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nshort",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: nonsense\r\n\r\n",
    ],
    ids=["tls", "no-host", "cut-off", "long-path", "bad-length"],
)
def test_client_that_speaks_no_http_harms_nobody(broken, bytes_sent: bytes) -> None:
    server, _ = broken
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(bytes_sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    alive(server)


def test_other_endpoints_answered_all_the_while(broken) -> None:
    server, others = broken
    others.end()
    assert others.calls > 100
    assert others.failures == []
    assert server.get("/docs").status_code == 200
    assert server.get("/openapi.json").status_code == 200
