"""A small parent for worker processes, written from `docs/worker-protocol.md` alone."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import runpod_flash
from typing_extensions import Self

PACKAGE = Path(runpod_flash.__file__).parent
BOOTSTRAP = PACKAGE / "worker" / "bootstrap.py"
RUNTIME_PATHS = [str(PACKAGE.parent), *(path for path in sys.path if path.endswith("site-packages"))]

LOAD, READY, LOAD_FAILED, CALL, ANSWER, CHUNK, CANCEL, OUTPUT, HTTP_START, HTTP_CHUNK, STOP = range(1, 12)
FROM_WORKER = 1
HEADER = struct.Struct("<2sBBHHQII")
TIMEOUT = 20


def pack(value: Any) -> bytes:
    """MessagePack, as far as heads need it."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, str):
        data = value.encode()
        return b"\xdb" + struct.pack(">I", len(data)) + data
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, (list, tuple)):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    assert isinstance(value, dict)
    pairs = b"".join(pack(key) + pack(part) for key, part in value.items())
    return b"\xdf" + struct.pack(">I", len(value)) + pairs


def unpack(data: bytes) -> Any:
    value, rest = _unpack(memoryview(data))
    assert not rest, "bytes after a head"
    return value


SIZED = {
    0xC4: ">B",
    0xC5: ">H",
    0xC6: ">I",
    0xD9: ">B",
    0xDA: ">H",
    0xDB: ">I",
    0xDC: ">H",
    0xDD: ">I",
    0xDE: ">H",
    0xDF: ">I",
}
NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}


def _unpack(data: memoryview) -> tuple[Any, memoryview]:
    code, data = data[0], data[1:]
    if code < 0x80:
        return code, data
    if code >= 0xE0:
        return code - 0x100, data
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], data
    if code in NUMBERS:
        form = NUMBERS[code]
        size = struct.calcsize(form)
        return struct.unpack(form, data[:size])[0], data[size:]
    if code in SIZED:
        size = struct.calcsize(SIZED[code])
        length, data = struct.unpack(SIZED[code], data[:size])[0], data[size:]
        kind = "bin" if code <= 0xC6 else "str" if code <= 0xDB else "array" if code <= 0xDD else "map"
    elif code < 0x90:
        kind, length = "map", code & 0x0F
    elif code < 0xA0:
        kind, length = "array", code & 0x0F
    else:
        assert 0xA0 <= code < 0xC0
        kind, length = "str", code & 0x1F
    if kind in ("bin", "str"):
        raw = bytes(data[:length])
        return raw if kind == "bin" else raw.decode(), data[length:]
    items = []
    for _ in range(length * (2 if kind == "map" else 1)):
        item, data = _unpack(data)
        items.append(item)
    return items if kind == "array" else dict(zip(items[::2], items[1::2], strict=True)), data


class Frame:
    """A frame as it came."""

    def __init__(self, kind: int, flags: int, call_id: int, head: Any, buffers: list[bytes]) -> None:
        self.kind, self.flags, self.call_id, self.head, self.buffers = kind, flags, call_id, head, buffers

    def __repr__(self) -> str:
        return f"<frame {self.kind} of {self.call_id}: {self.head}>"


class Worker:
    """A worker process and the parent's end of its socket."""

    def __init__(self, python: str = sys.executable, env: dict[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, **(env or {})}
        environment["FLASH_WORKER_FD"] = str(theirs.fileno())
        environment["FLASH_RUNTIME_PATHS"] = os.pathsep.join(RUNTIME_PATHS)
        self.process = subprocess.Popen(
            [python, str(BOOTSTRAP)],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        theirs.close()
        self.socket = ours
        self.ids = iter(range(1, 1_000_000))
        self.frames: dict[int, queue.Queue[Frame]] = {}
        self.lines: list[tuple[str, int, str | None, str]] = []
        self.nested: queue.Queue[Frame] = queue.Queue()
        self.ended = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    # Frames.

    def send(self, kind: int, call_id: int = 0, head: Any = None, buffers: Any = (), flags: int = 0) -> None:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        packed = b"" if head is None else pack(head)
        with self.lock:
            self.socket.sendall(
                HEADER.pack(b"FL", 1, kind, flags, len(views), call_id, len(packed), 0)
                + b"".join(struct.pack("<Q", view.nbytes) for view in views)
                + packed
            )
            for view in views:
                self.socket.sendall(view)

    def queue_of(self, call_id: int) -> queue.Queue[Frame]:
        return self.frames.setdefault(call_id, queue.Queue())

    def next(self, call_id: int = 0) -> Frame:
        """The next frame of a call, output aside."""
        return self.queue_of(call_id).get(timeout=TIMEOUT)

    def _exactly(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            read = self.socket.recv_into(view)
            if read == 0:
                raise EOFError
            view = view[read:]
        return bytes(data)

    def _read(self) -> None:
        try:
            while True:
                magic, version, kind, flags, count, call_id, length, _ = HEADER.unpack(self._exactly(HEADER.size))
                assert (magic, version) == (b"FL", 1)
                sizes = struct.unpack(f"<{count}Q", self._exactly(8 * count))
                head = self._exactly(length)
                buffers = [self._exactly(size) for size in sizes]
                frame = Frame(kind, flags, call_id, unpack(head) if head else None, buffers)
                if kind == OUTPUT:
                    self.lines.append(
                        (frame.head["stream"], call_id, frame.head["job"], buffers[0].decode().rstrip("\n"))
                    )
                elif flags & FROM_WORKER:
                    self.nested.put(frame)
                else:
                    self.queue_of(call_id).put(frame)
        except (EOFError, OSError):
            self.ended.set()

    # What tests say.

    def load(self, source: dict[str, Any], callables: Any = (), routes: Any = (), **more: Any) -> Frame:
        """Send ``Load``; returns ``Ready`` or ``LoadFailed``."""
        head = {
            "endpoint": "own",
            "kind": "load_balanced" if routes else "queue",
            "source": source,
            "callables": list(callables),
            "routes": [{"method": method, "path": path, "function": name} for method, path, name in routes],
            "max_concurrency": 1,
            "env": {},
            "working_directory": None,
            **more,
        }
        self.send(LOAD, 0, head)
        return self.next()

    def start(self, head: dict[str, Any], buffers: Any, **more: Any) -> int:
        """Send a call; returns its ID."""
        call_id = next(self.ids)
        full = {"endpoint": "own", "callable": "", "job": None, "chain": [], "stream": False, **head, **more}
        self.send(CALL, call_id, full, buffers)
        return call_id

    def start_python(self, name: str, *args: Any, **kwargs: Any) -> int:
        buffers: list[Any] = []
        pickled = pickle.dumps((args, kwargs), 5, buffer_callback=buffers.append)
        head = {"callable": name, "input": {"kind": "python", "constructor": None, "function": None}}
        return self.start(head, [pickled, *[buffer.raw() for buffer in buffers]])

    def python(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call with pickled arguments; returns the result or the failed head."""
        return result_of(self.next(self.start_python(name, *args, **kwargs)))

    def start_json(self, name: str, value: Any, **more: Any) -> int:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.start({"callable": name, "input": {"kind": "json"}}, [text], **more)

    def json(self, name: str, value: Any, **more: Any) -> Any:
        """Call with JSON; returns the result or the failed head."""
        return result_of(self.next(self.start_json(name, value, **more)))

    def start_http(self, method: str, target: str, body: bytes = b"", headers: Any = (), **more: Any) -> int:
        path, _, query = target.partition("?")
        head = {
            "kind": "http",
            "method": method,
            "path": path,
            "query": query,
            "headers": [[name, value.encode()] for name, value in headers],
            "root_path": more.pop("root_path", ""),
            "client": "127.0.0.1:5000",
        }
        return self.start({"input": head}, [body], **more)

    def http(self, method: str, target: str, body: bytes = b"", headers: Any = (), **more: Any) -> Response:
        """Send an HTTP request; returns the whole answer."""
        call_id = self.start_http(method, target, body, headers, **more)
        return Response(list(self.http_frames(call_id)))

    def http_frames(self, call_id: int) -> Iterator[Frame]:
        while True:
            frame = self.next(call_id)
            yield frame
            if frame.kind == ANSWER:
                return

    def output(self) -> str:
        """Everything printed through Python so far."""
        return "\n".join(line for *_, line in self.lines)

    def stop(self) -> int:
        """Ask it to stop; returns its exit status."""
        self.send(STOP)
        return self.process.wait(TIMEOUT)

    def kill(self) -> None:
        """End the whole group, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(TIMEOUT)
        self.socket.close()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()


class Response:
    """A complete HTTP answer."""

    def __init__(self, frames: list[Frame]) -> None:
        start = next(frame for frame in frames if frame.kind == HTTP_START)
        self.status: int = start.head["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start.head["headers"]}
        self.chunks = [frame.buffers[0] for frame in frames if frame.kind == HTTP_CHUNK]
        self.body = b"".join(self.chunks)
        self.end = frames[-1].head

    def json(self) -> Any:
        return json.loads(self.body)


def result_of(frame: Frame) -> Any:
    """The value of an answer; a failure stays the report."""
    assert frame.kind == ANSWER, frame
    if frame.head["kind"] == "json":
        return json.loads(frame.buffers[0])
    if frame.head["kind"] == "python":
        return pickle.loads(frame.buffers[0], buffers=frame.buffers[1:])
    return frame.head


def module(folder: Path, name: str, text: str) -> dict[str, Any]:
    """Write a project module and return its source."""
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return {"kind": "module", "root": str(folder), "module": name, "file": str(file)}


def script(folder: Path, text: str, name: str = "app.py") -> dict[str, Any]:
    """Write a script and return its source."""
    file = folder / name
    file.write_text(text)
    return {"kind": "script", "file": str(file), "sys_path": [str(folder), *sys.path]}
