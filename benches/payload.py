"""What is measured of payloads: a large array sent to and received from Runpod, beside the official client."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from figure import Bench, Figure
from measure import Package

#: Bytes of the array, in MB of 10^6: memory is measured with the first, beside the official client with the second.
LARGE, COMPARED = 256, 128

#: Answers jobs and throws away what it is sent: `/run` is accepted, everything else gets the result.
SERVER = """
import base64, pickle, socket, sys, threading, numpy as np
size = int(sys.argv[1])
value = np.ones(size, "u1") if size else None
text = base64.b64encode(pickle.dumps(value, 5))
del value
start = b'{"id":"job-u1","status":"COMPLETED","delayTime":1,"executionTime":1,"workerId":"w",'
start += b'"output":{"success":true,"result":"'
done = (start, text, b'","stdout":"","error":null}}')
taken = (b'{"id":"job-u1","status":"IN_QUEUE"}',)
space = memoryview(bytearray(1 << 20))

def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    read = b""
    while True:
        while b"\\r\\n\\r\\n" not in read:
            more = connection.recv(65536)
            if not more:
                return
            read += more
        head, _, read = read.partition(b"\\r\\n\\r\\n")
        lines = head.decode().lower().split("\\r\\n")
        left = sum(int(line.split(":")[1]) for line in lines if line.startswith("content-length:")) - len(read)
        read = b""
        while left > 0:
            left -= connection.recv_into(space[: min(left, len(space))])
        parts = taken if lines[0].split()[1].endswith("/run") else done
        length = sum(map(len, parts))
        head = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n"
        connection.sendall(head % length)
        for part in parts:
            connection.sendall(part)

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""

MEASURE = """
import asyncio, json, os, resource, sys, time
sys.path.append(os.environ["PACKAGES"])
import numpy as np

def memory(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))

async def measured(action):
    usage = resource.getrusage(resource.RUSAGE_SELF)
    open("/proc/self/clear_refs", "w").write("5")
    before, start = memory("VmRSS"), time.perf_counter()
    value = await action()
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - usage.ru_utime, after.ru_stime - usage.ru_stime
    wall, peak = time.perf_counter() - start, memory("VmHWM") - before
    return {"wall": wall, "user": user, "cpu": user + system, "peak": peak}, value

size = int(sys.argv[1])
array = np.ones(size, "u1") if size else None
"""
OURS = (
    MEASURE
    + """
from runpod_flash import _core
head = json.dumps({"function_name": "f", "function_code": "def f(*args): pass"})

def call(value):
    return _core.live_call("endpoint", "f", head, (1, value), {}, None, 120.0)

async def main():
    if size:
        await call(None)  # What only the first call costs.
    print(json.dumps((await measured(lambda: call(array)))[0]))

asyncio.run(main())
"""
)
OFFICIAL = (
    MEASURE
    + """
import contextlib
from runpod_flash.core.resources import LiveServerless
from runpod_flash.stubs.live_serverless import LiveServerlessStub

def f(number, value):
    pass

async def call(value):
    stub = LiveServerlessStub(LiveServerless(name="bench", id="endpoint"))
    request = await stub.prepare_request(f, None, None, True, 1, value)
    return stub.handle_response(await stub.ExecuteFunction(request))

async def main():
    with contextlib.redirect_stdout(sys.stderr):
        found = (await measured(lambda: call(array)))[0]
    print(json.dumps(found))

asyncio.run(main())
"""
)
#: Posts a body that was encoded beforehand, by the same client.
POSTED = (
    MEASURE
    + """
import base64, pickle
from runpod_flash import _core
text = base64.b64encode(pickle.dumps(array, 5))
del array

def post(body):
    return _core.job_run(("endpoint",), body, [], 120.0)

async def main():
    await post([b"{}"])
    print(json.dumps((await measured(lambda: post([b'{"input":{"args":["', text, b'"]}}'])))[0]))

asyncio.run(main())
"""
)
#: What the machine can do: each chunk copied, then encoded by SIMD, and thrown away.
NOWHERE = (
    MEASURE
    + """
import pybase64

async def encode():
    view, space = memoryview(array), bytearray(49152)
    for start in range(0, len(view), 49152):
        chunk = view[start : start + 49152]
        space[: len(chunk)] = chunk
        pybase64.b64encode(space)

async def main():
    await encode()
    print(json.dumps((await measured(encode))[0]))

asyncio.run(main())
"""
)


@contextlib.contextmanager
def server(bench: Bench, size: int) -> Iterator[str]:
    """Run the server that gives back an array of so many bytes; its address."""
    command = [str(bench.ours.python), "-c", SERVER, str(size)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=bench.ours.environment)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v2"
    finally:
        process.kill()
        process.wait()


def child(package: Package, code: str, size: int, address: str, folder: Path) -> dict[str, float]:
    """Run a program that measures itself."""
    packages = sysconfig.get_path("purelib")  # numpy, which the official package does not bring
    settings = {
        "PACKAGES": packages,
        "RUNPOD_ENDPOINT_BASE_URL": address,
        "RUNPOD_API_KEY": "bench",
        "FLASH_PAYLOAD_LIMIT_MB": "0",
    }
    program = folder / "measured.py"
    program.write_text(code)
    command = [str(package.python), "-W", "ignore", str(program), str(size)]
    ended = subprocess.run(
        command, env=package.environment | settings, cwd=folder, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{package.name}: {ended.stderr[-2000:]}")
    found: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def medians(runs: int, *actions: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    """Return each action's medians, taken in turns."""
    taken: list[list[dict[str, float]]] = [[] for _ in actions]
    for _ in range(runs):
        for found, action in zip(taken, actions, strict=True):
            found.append(action())
    return [{key: statistics.median(one[key] for one in found) for key in found[0]} for found in taken]


def send(bench: Bench) -> list[Figure]:
    """An array on its way to Runpod."""
    folder = bench.app({})
    folder.mkdir(parents=True, exist_ok=True)
    large, compared = LARGE * 10**6, COMPARED * 10**6
    with server(bench, 0) as address:

        def run(package: Package, code: str, size: int) -> Callable[[], dict[str, float]]:
            return lambda: child(package, code, size, address, folder)

        ours, small, official, posted, nowhere = medians(
            bench.runs,
            run(bench.ours, OURS, large),
            run(bench.ours, OURS, compared),
            run(bench.official, OFFICIAL, compared),
            run(bench.ours, POSTED, large),
            run(bench.ours, NOWHERE, large),
        )
    times = official["cpu"] / small["cpu"]
    return [
        Figure(f"{LARGE} MB array sent: memory beside it", ours["peak"], "–", "≤ 32 MB", ours["peak"] <= 32, "MB"),
        Figure(f"{COMPARED} MB array sent: CPU time", small["cpu"], official["cpu"], "≥ 10×", times >= 10),
        Figure(
            f"{LARGE} MB array sent: CPU time in this process's own code",
            ours["user"],
            nowhere["user"],
            "≥ 0.5×",
            nowhere["user"] / ours["user"] >= 0.5,
            beside="memcpy + SIMD base64, thrown away",
        ),
        Figure(
            f"{LARGE} MB array sent: time",
            ours["wall"],
            posted["wall"],
            "≥ 0.7×",
            posted["wall"] / ours["wall"] >= 0.7,
            beside="encoded beforehand",
        ),
    ]


def receive(bench: Bench) -> list[Figure]:
    """An array on its way back."""
    folder = bench.app({})
    folder.mkdir(parents=True, exist_ok=True)
    figures: list[dict[str, Any]] = []
    for size, packages in ((LARGE, [(bench.ours, OURS)]), (COMPARED, [(bench.ours, OURS), (bench.official, OFFICIAL)])):
        with server(bench, size * 10**6) as address:
            actions = [
                lambda package=package, code=code, address=address: child(package, code, 0, address, folder)
                for package, code in packages
            ]
            figures += medians(bench.runs, *actions)
    ours, small, official = figures
    times = official["cpu"] / small["cpu"]
    most = LARGE + 32
    return [
        Figure(f"{LARGE} MB array received: memory", ours["peak"], "–", f"≤ {most} MB", ours["peak"] <= most, "MB"),
        Figure(f"{COMPARED} MB array received: CPU time", small["cpu"], official["cpu"], "≥ 5×", times >= 5),
    ]


CASES: dict[str, Callable[[Bench], list[Figure]]] = {"payload_send": send, "payload_receive": receive}
