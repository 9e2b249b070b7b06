"""What is measured of the client: many jobs at once and the first call, beside the official client and plain aiohttp.

All talk to one server that only counts connections and says when a job is done; its own time does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from figure import Bench, Figure
from load import Client, free_port, wait_for_port
from measure import PATIENCE, Package, stopping

JOBS = int(os.environ.get("FLASH_BENCH_CLIENT_JOBS", "1000"))
#: Of the official client, whose time grows with the number: a tenth, and figures are per job.
FEW = max(1, JOBS // 10)
AIOHTTP = "aiohttp"

#: A Runpod whose jobs are done a moment after they came; the moment is in the job's ID.
SERVER = """
    import asyncio
    import json
    import re
    import sys
    import time

    LASTS = 0.3
    connections = 0


    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            global connections
            connections += 1
            self.transport, self.read = transport, b""

        def data_received(self, data):
            self.read += data
            while True:
                head, found, rest = self.read.partition(b"\\r\\n\\r\\n")
                if not found:
                    return
                length = re.search(rb"(?i)content-length: *([0-9]+)", head)
                length = int(length[1]) if length else 0
                if len(rest) < length:
                    return
                self.read = rest[length:]
                self.answer(head.split(b" ", 2)[1].decode(), rest[:length])

        def answer(self, target, body):
            global connections
            path, _, query = target.partition("?")
            kind, _, job = path.removeprefix("/v2/bench/").partition("/")
            now = time.time()
            if kind == "connections":
                self.say({"connections": connections})
                connections = 1
            elif kind in ("run", "runsync"):
                job = f"{json.loads(body)['input']['n']}-{now + LASTS}"
                if kind == "run":
                    self.say({"id": job, "status": "IN_QUEUE"})
                else:
                    asyncio.get_running_loop().call_later(LASTS, self.done, job)
            elif now >= float(job.rpartition("-")[2]):
                self.done(job)
            elif kind == "status-sync":
                asyncio.get_running_loop().call_later(float(job.rpartition("-")[2]) - now, self.done, job)
            else:
                self.say({"id": job, "status": "IN_PROGRESS"})

        def done(self, job):
            number = int(job.rpartition("-")[0])
            self.say(
                {"id": job, "status": "COMPLETED", "output": number, "delayTime": 1, "executionTime": 1}
            )

        def say(self, value):
            body = json.dumps(value).encode()
            head = f"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
            self.transport.write(head.encode() + body)


    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Server, "127.0.0.1", int(sys.argv[1]), backlog=4096)
        await server.serve_forever()


    asyncio.run(main())
"""
#: A program with `JOBS` jobs at once, by either package; says what the jobs took, without the import.
JOBS_PROGRAM = """
    import asyncio
    import json
    import sys
    import time

    from runpod_flash import Endpoint

    way, jobs = sys.argv[1], int(sys.argv[2])


    async def one(endpoint, number):
        if way == "runsync":
            job = await endpoint.runsync({"n": number})
        else:
            job = await endpoint.run({"n": number})
            await job.wait()
        assert job.output == number, job.output


    async def main():
        endpoint = Endpoint(id="bench")
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one(endpoint, number) for number in range(jobs)))
        print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


    asyncio.run(main())
"""
#: The same by aiohttp alone, with the intervals of the official client.
AIOHTTP_PROGRAM = """
    import asyncio
    import json
    import os
    import sys
    import time

    import aiohttp

    way, jobs = sys.argv[1], int(sys.argv[2])
    BASE = os.environ["RUNPOD_ENDPOINT_BASE_URL"] + "/bench"


    async def one(session, number):
        async with session.post(f"{BASE}/{way}", json={"input": {"n": number}}) as answer:
            job = await answer.json()
        pause = 0.25
        while job["status"] != "COMPLETED":
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 5)
            async with session.get(f"{BASE}/status/{job['id']}") as answer:
                job = await answer.json()
        assert job["output"] == number, job


    async def main():
        headers = {"Authorization": "Bearer " + os.environ["RUNPOD_API_KEY"]}
        connector = aiohttp.TCPConnector(limit=0)
        cpu, wall = time.process_time(), time.perf_counter()
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            await asyncio.gather(*(one(session, number) for number in range(jobs)))
        print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


    asyncio.run(main())
"""

#: Runs a program with a way and a number of jobs: CPU seconds, seconds, connections.
Ask = Callable[[Package, str, str, int], dict[str, float]]


@contextlib.contextmanager
def asking(bench: Bench) -> Iterator[Ask]:
    """Start the server; give what runs a program against it."""
    programs = {"server.py": SERVER, "jobs.py": JOBS_PROGRAM, "plain.py": AIOHTTP_PROGRAM}
    root, port = bench.app(programs), free_port()
    line = [sys.executable, str(root / "server.py"), str(port)]
    with stopping(subprocess.Popen(line, cwd=root, stderr=subprocess.DEVNULL, start_new_session=True)) as server:
        wait_for_port(port, server)
        counter = Client(port)

        def ask(package: Package, program: str, way: str, jobs: int) -> dict[str, float]:
            counter.ask("GET", "/v2/bench/connections")
            url = f"http://127.0.0.1:{port}"
            variables = {"RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2", "RUNPOD_API_BASE_URL": url, "RUNPOD_API_KEY": "rpa_B"}
            ended = subprocess.run(
                [str(package.python), str(Path(root, program)), way, str(jobs)],
                cwd=root,
                env=package.environment | variables | {"RUNPOD_URL_MIXED_OK": "1"},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            if ended.returncode != 0:
                raise RuntimeError(f"{package.name} {program} {way}: {ended.returncode}\n{ended.stderr[-2000:]}")
            told: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
            # Less the one of this question.
            return told | {"connections": counter.ask("GET", "/v2/bench/connections")["connections"] - 1}

        yield ask


def medians(runs: int, *actions: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    """Return the medians of what each action tells, taken in turns."""
    told = [[action() for action in actions] for _ in range(runs)]
    return [
        {name: statistics.median(run[index][name] for run in told) for name in told[0][index]}
        for index in range(len(actions))
    ]


def client_jobs(bench: Bench) -> list[Figure]:
    """CPU time, time and connections of many jobs at once."""
    with asking(bench) as ask:
        ours, sync, theirs, plain, plain_sync = medians(
            bench.runs,
            lambda: ask(bench.ours, "jobs.py", "run", JOBS),
            lambda: ask(bench.ours, "jobs.py", "runsync", JOBS),
            lambda: ask(bench.official, "jobs.py", "run", FEW),
            lambda: ask(bench.official, "plain.py", "run", JOBS),
            lambda: ask(bench.official, "plain.py", "runsync", JOBS),
        )
    what = f"each of {JOBS} jobs at once"
    cpu = f"{what}, CPU"
    for told, jobs in ((ours, JOBS), (sync, JOBS), (theirs, FEW), (plain, JOBS), (plain_sync, JOBS)):
        told |= {name: value / jobs for name, value in told.items() if name != "connections"}
    official = f"official, {FEW} jobs"
    return [
        Figure(cpu, ours["cpu"], theirs["cpu"], "≥ 10×", ours["cpu"] * 10 <= theirs["cpu"], beside=official),
        Figure(cpu, ours["cpu"], plain["cpu"], "≥ 3×", ours["cpu"] * 3 <= plain["cpu"], beside=AIOHTTP),
        Figure(f"{cpu}, runsync", sync["cpu"], plain_sync["cpu"], "–", beside=AIOHTTP),
        Figure(what, ours["wall"], theirs["wall"], "–", beside=official),
        Figure(what, ours["wall"], plain["wall"], "–", beside=AIOHTTP),
        Figure(f"{what}, runsync", sync["wall"], plain_sync["wall"], "–", beside=AIOHTTP),
        Figure(f"{JOBS} jobs, connections", ours["connections"], theirs["connections"], "–", unit="", beside=official),
        Figure(f"{JOBS} jobs, connections", ours["connections"], plain["connections"], "–", unit="", beside=AIOHTTP),
    ]


def client_first(bench: Bench) -> list[Figure]:
    """The first call after the import."""
    with asking(bench) as ask:
        ours, theirs = medians(
            bench.runs,
            lambda: ask(bench.ours, "jobs.py", "runsync", 1),
            lambda: ask(bench.official, "jobs.py", "runsync", 1),
        )
    return [
        Figure("first call", ours["wall"], theirs["wall"], "≤ 1", ours["wall"] <= theirs["wall"]),
        Figure("first call, CPU", ours["cpu"], theirs["cpu"], "≤ 1", ours["cpu"] <= theirs["cpu"]),
    ]


CASES: dict[str, Callable[[Bench], list[Figure]]] = {"client-jobs": client_jobs, "client-first": client_first}
