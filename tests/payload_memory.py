"""Measures how much memory a large value needs beside itself while it is sent, and while it is received.

A program: `serve` answers jobs, throws away what it is sent and gives back the value that the endpoint is named for;
`send KIND ADDRESS` and `receive KIND ADDRESS` print the peak in bytes, and the bytes of the value.
"""

from __future__ import annotations

import array as typed_array
import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

#: Bytes that a call may need beside its values.
BESIDE = 32 * 10**6
#: Bytes of every value.
SIZE = 256 * 10**6
ITEMS = SIZE // 8
HEAD = json.dumps({"function_name": "f", "function_code": "def f(*args): pass"})


def _numbers(count: int = ITEMS) -> Any:
    return np.ones(count)


def _memmap(count: int) -> Any:
    handle, path = tempfile.mkstemp()
    os.truncate(handle, count * 8)
    os.close(handle)
    array: Any = np.memmap(path, dtype="f8", mode="r+", shape=(count,))
    os.unlink(path)
    array.sum()  # Its pages are counted as memory of the process once they are read.
    return array


def _masked(order: Any = "C") -> Any:
    shape = 4000, ITEMS // 4000
    return np.ma.masked_array(np.ones(shape, order=order), mask=np.zeros(shape, bool, order=order))


def _masked_strided() -> Any:
    return np.ma.masked_array(_numbers(2 * ITEMS), mask=np.zeros(2 * ITEMS, bool))[::2]


def _frame() -> Any:
    import pandas as pd

    return pd.DataFrame(np.ones((8, ITEMS // 8)).T, columns=list("abcdefgh"))


def _frame_of_rows() -> Any:
    import pandas as pd

    return pd.DataFrame(np.ones((ITEMS // 8, 8)), copy=False)


def _frame_of_every_second_row() -> Any:
    import pandas as pd

    return pd.DataFrame(np.ones((8, ITEMS // 4)).T).iloc[::2]


def _mixed_frame() -> Any:
    import pandas as pd

    rows = ITEMS // 4
    columns = {"a": np.ones(rows), "b": np.arange(rows), "c": np.arange(rows).astype("M8[us]")}
    return pd.DataFrame(columns | {"d": np.ones(2 * rows, "f4")[:rows], "e": np.ones(rows, "i4")})


def _table() -> Any:
    import pyarrow as pa

    return pa.table({"a": np.ones(ITEMS // 2), "b": np.arange(ITEMS // 2)})


def _tensor(items: int = ITEMS) -> Any:
    import torch

    return torch.ones(items, dtype=torch.float64)


KINDS: dict[str, Callable[[], Any]] = {
    "array": _numbers,
    "array strided": lambda: _numbers(2 * ITEMS)[::2],
    "array strided in two axes": lambda: _numbers(4 * ITEMS).reshape(4000, -1)[::2, ::-2],
    "array Fortran": lambda: np.asfortranarray(_numbers().reshape(4000, -1)),
    "array Fortran strided": lambda: np.asfortranarray(_numbers(2 * ITEMS).reshape(4000, -1))[::2],
    "memmap": lambda: _memmap(ITEMS),
    "memmap strided": lambda: _memmap(2 * ITEMS)[::2],
    "masked": _masked,
    "masked Fortran": lambda: _masked("F"),
    "masked strided": _masked_strided,
    "structured strided": lambda: np.zeros(2 * ITEMS // 3, "i8,f8,f8")[::2],
    "dates": lambda: np.zeros(ITEMS, "M8[us]"),
    "bytes": lambda: bytes(SIZE),
    "bytearray": lambda: bytearray(SIZE),
    "memoryview strided": lambda: memoryview(_numbers(2 * ITEMS))[::2],
    "frame": _frame,
    "frame of rows": _frame_of_rows,
    "frame of every second row": _frame_of_every_second_row,
    "frame of several kinds": _mixed_frame,
    "text": lambda: "a" * SIZE,
    "array.array": lambda: typed_array.array("d", [1.0]) * ITEMS,
    "table": _table,
    "tensor": _tensor,
    "tensor strided": lambda: _tensor(2 * ITEMS)[::2],
}


def _result(kind: str) -> bytes:
    import cloudpickle
    from runpod_flash import _core

    if kind.startswith("our "):  # As our workers send it.
        return _core.dump_text(KINDS[kind[4:]]()).encode()
    return base64.b64encode(cloudpickle.dumps(KINDS[kind]() if kind in KINDS else None))


def _serve(connection: socket.socket, texts: dict[str, bytes], lock: threading.Lock) -> None:
    read, space = b"", memoryview(bytearray(1 << 20))
    while True:
        while b"\r\n\r\n" not in read:
            if not (more := connection.recv(65536)):
                return
            read += more
        head, _, read = read.partition(b"\r\n\r\n")
        first, *fields = head.decode().splitlines()
        lengths = [field.split(":")[1] for field in fields if field.lower().startswith("content-length:")]
        left = sum(map(int, lengths)) - len(read)
        read = b""
        while left > 0:
            left -= connection.recv_into(space[: min(left, len(space))])
        kind = first.split()[1].split("/")[2].replace("-", " ")
        with lock:  # One at a time: they are large.
            if kind not in texts:
                texts.clear()
                texts[kind] = _result(kind)
            start = b'{"id":"job-u1","status":"COMPLETED","output":{"success":true,"result":"'
            parts = start, texts[kind], b'","stdout":"","error":null}}'
            head_back = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            for part in (head_back % sum(map(len, parts)), *parts):
                connection.sendall(part)


def serve() -> None:
    """Answer jobs until the process is ended."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    texts: dict[str, bytes] = {}
    lock = threading.Lock()
    while True:
        threading.Thread(target=_serve, args=(listening.accept()[0], texts, lock), daemon=True).start()


def memory(name: str) -> int:
    """Return a line of `/proc/self/status` in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def size_of(value: Any) -> int:
    """Return how many bytes a value's data has."""
    if isinstance(value, np.ma.MaskedArray):
        return int(value.nbytes + value.mask.nbytes)
    if hasattr(value, "memory_usage"):
        return int(value.memory_usage().sum())
    if isinstance(value, typed_array.array):
        return len(value) * value.itemsize
    return len(value) if isinstance(value, (str, bytes, bytearray)) else int(value.nbytes)


async def measure(action: str, kind: str) -> dict[str, int]:
    """Send or receive a value of a kind once."""
    from runpod_flash import _core

    def call(endpoint: str, *args: Any) -> Any:
        return _core.live_call(endpoint, "f", HEAD, args, {}, None, 120.0)

    # What only the first one costs: the client, the classes that are imported.
    value: Any = np.arange(200_000)[::2]
    await call("nothing", value, np.ma.masked_array(value))
    value = KINDS[kind.removeprefix("our ")]()
    size = size_of(value)
    if action == "receive":
        value = None
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")
    before = memory("VmRSS")
    answer, _ = await call(*(("nothing", value) if action == "send" else (kind.replace(" ", "-"),)))
    peak = memory("VmHWM") - before
    assert (answer is None) == (action == "send")
    return {"peak": peak, "size": size}


@contextlib.contextmanager
def server(environment: dict[str, str]) -> Iterator[Callable[[str, str], dict[str, int]]]:
    """Run the server for as long as the block lasts; give a function that measures in a process of its own."""
    command = [sys.executable, __file__]
    process = subprocess.Popen([*command, "serve"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    address = f"http://127.0.0.1:{process.stdout.readline().strip()}/v2"

    def measured(action: str, kind: str) -> dict[str, int]:
        ended = subprocess.run(
            [*command, action, kind, address],
            env=environment | {"RUNPOD_API_KEY": "key", "FLASH_PAYLOAD_LIMIT_MB": "0"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert ended.returncode == 0, ended.stderr
        found: dict[str, int] = json.loads(ended.stdout)
        assert found["size"] > 200 * 10**6
        return found

    try:
        yield measured
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    os.environ["RUNPOD_ENDPOINT_BASE_URL"] = sys.argv[3]
    print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2]))))
