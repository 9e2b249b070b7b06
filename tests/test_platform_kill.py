"""Jobs while the platform and its workers are killed with SIGKILL: what clients see of it adds up.

`FLASH_KILL_JOBS` sets how many jobs, `FLASH_KILL_SEED` what is killed when.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from platform_support import FINAL, HANDLERS, Endpoint, Platform
from support import Project

JOBS = int(os.environ.get("FLASH_KILL_JOBS", "10000"))
SEED = int(os.environ.get("FLASH_KILL_SEED") or random.SystemRandom().randrange(1_000_000))
KILLS = 50
SUBMITTERS, POLLERS = 4, 3
#: How a job ends that was lost with its worker twice.
LOST_TWICE = re.compile(r"job timed out after 1 retries|while it ran this job, for the second time")

APP = """
import os
import uuid

from runpod_flash import Endpoint

RECORD = os.open({record!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@Endpoint(name="counted", workers=2)
def counted(number: int) -> dict:
    run = uuid.uuid4().hex
    os.write(RECORD, f"{{number}} {{run}} {{os.getpid()}}\\n".encode())
    return {{"number": number, "run": run}}
"""


def quiet_port() -> int:
    """Return a free port that the system gives to no connection of a client: one could get it while nobody listens."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class Link:
    """A client's connection that stays open; after an error the next request makes another."""

    def __init__(self, world: World) -> None:
        """Speak to the platform of `world`."""
        self.world = world
        self.connection = http.client.HTTPConnection("127.0.0.1", world.platform.port, timeout=30)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes] | None:
        """Return status and body of the answer; `None` when there was none, once the platform is there again."""
        headers = {"Authorization": f"Bearer {self.world.platform.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.world.is_up.wait(60)
            return None


class World:
    """What clients of one platform know."""

    def __init__(self, platform: Platform, endpoints: list[Endpoint], records: list[Path], hook: str) -> None:
        """Nothing has happened yet."""
        self.platform = platform
        self.endpoints = endpoints
        self.records = records
        self.hook = hook
        self.is_up = threading.Event()
        self.is_up.set()
        self.changed = threading.Condition()
        #: Number of the job, by ID.
        self.accepted: dict[str, int] = {}
        #: How often a submission of a number was not answered.
        self.unanswered: Counter[int] = Counter()
        #: Status object that was seen at a job's end.
        self.ended: dict[str, bytes] = {}
        #: Delivery IDs and bodies that came to the webhook.
        self.hooked: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
        self.problems: list[str] = []
        self.is_over = False
        self.kills = 0
        self.numbers: Iterator[int] = iter(range(JOBS))
        self.waiting: list[SimpleQueue[str | None]] = [SimpleQueue() for _ in range(POLLERS)]

    def endpoint_of(self, number: int) -> str:
        """Return the endpoint that a number's job goes to."""
        return self.endpoints[number % len(self.endpoints)].id

    def problem(self, text: str) -> None:
        """Note what must not be."""
        with self.changed:
            self.problems.append(text)
            self.changed.notify_all()

    @property
    def released(self) -> int:
        """How many jobs may be submitted: half of them at first, more with every kill, so that none meets idleness."""
        return JOBS * (KILLS + self.kills + 1) // (2 * KILLS)

    def has_come_to(self, moment: int) -> bool:
        """Whether so many jobs were accepted or have ended."""
        return len(self.accepted) + len(self.ended) >= moment

    def wait(self, condition: Callable[[], Any], within: float, why: str) -> None:
        """Wait until something that clients saw makes `condition` true."""
        with self.changed:
            self.changed.wait_for(lambda: self.problems or condition(), within)
            assert not self.problems, self.problems[:20]
            assert condition(), f"not within {within} s: {why}"

    def submit(self) -> None:
        """Submit jobs until there are enough; a job whose submission was not answered is submitted again."""
        link = Link(self)
        while not self.is_over:
            with self.changed:
                number = next(self.numbers, None)
                if number is None:
                    return
                self.changed.wait_for(lambda number=number: self.is_over or number < self.released)
            body = json.dumps({"input": self.input_of(number), "webhook": self.hook}).encode()
            while (answer := link.ask("POST", f"/v2/{self.endpoint_of(number)}/run", body)) is None:
                with self.changed:
                    self.unanswered[number] += 1
                if self.is_over:
                    return
            status, text = answer
            if status != 200:
                self.problem(f"submission of {number}: {status} {text!r}")
                return
            job = json.loads(text)["id"]
            with self.changed:
                if job in self.accepted:
                    self.problems.append(f"{job} was given twice")
                self.accepted[job] = number
                self.changed.notify_all()
            self.waiting[number % POLLERS].put(job)

    @staticmethod
    def input_of(number: int) -> Any:
        """Return the input of a number's job."""
        return {"number": number} if number % 2 else number

    def poll(self, share: int) -> None:
        """Follow this share of the jobs, one after the other, to their ends; look at old ones again now and then."""
        link, ends, rng = Link(self), list[str](), random.Random(SEED + share)
        while (job := self.waiting[share].get()) is not None:
            body = self.final(link, job, wait=5000)
            if body is None:
                return
            with self.changed:
                self.ended[job] = body
                self.changed.notify_all()
            ends.append(job)
            again = rng.choice(ends)
            if rng.random() < 0.3 and self.final(link, again, wait=0) != self.ended[again]:
                self.problem(f"{again} has changed after its end")
                return

    def final(self, link: Link, job: str, wait: int) -> bytes | None:
        """Return a job's status object once it has ended."""
        path = f"/v2/{self.endpoint_of(self.accepted[job])}/" + (
            f"status-sync/{job}?wait={wait}" if wait else f"status/{job}"
        )
        deadline = time.monotonic() + 120
        while not self.is_over:
            answer = link.ask("GET", path)
            if answer is not None:
                if answer[0] != 200:
                    self.problem(f"status of {job}: {answer[0]} {answer[1]!r}")
                    return None
                if json.loads(answer[1])["status"] in FINAL:
                    return answer[1]
                if not wait:
                    self.problem(f"{job} had ended and is {answer[1]!r}")
                    return None
            if time.monotonic() > deadline:
                self.problem(f"{job} does not end: {answer}")
                return None
        return None

    def runs(self) -> list[tuple[int, str, int]]:
        """Return what the workers wrote down: number of the job, name of the run, process."""
        lines = [line.split() for record in self.records if record.exists() for line in record.read_text().splitlines()]
        return [(int(number), run, int(process)) for number, run, process in lines]


@contextmanager
def receiver(hooked: Callable[[str, str, bytes], None]) -> Iterator[str]:
    """Serve a webhook; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Note the delivery."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hooked(self.headers["X-Request-ID"], self.headers["Idempotency-Key"], body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def handle(self) -> None:
            """Serve; a platform that is killed leaves in the middle."""
            try:
                super().handle()
            except ConnectionError:
                pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hook"
        finally:
            server.shutdown()
            thread.join()


def kill_server(world: World) -> None:
    """Kill the platform and start it again."""
    world.is_up.clear()
    try:
        world.platform.crash()
    finally:
        world.is_up.set()


def kill_worker(world: World, rng: random.Random) -> None:
    """Kill a worker that has run a job."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        alive = sorted(set(world.platform.processes()) & {process for _, _, process in world.runs()})
        if alive:
            try:
                os.kill(rng.choice(alive), signal.SIGKILL)
            except ProcessLookupError:
                continue
            return
        time.sleep(0.01)  # nothing tells of another process's start
    raise AssertionError(f"no worker within 30 s: {[endpoint.health() for endpoint in world.endpoints]}")


def explain(world: World, seen: Mapping[str, bytes]) -> str:
    """Check that what clients saw adds up with what the workers did; return figures."""
    executions: dict[int, set[str]] = defaultdict(set)
    runs = world.runs()
    for number, run, _ in runs:
        executions[number].add(run)
    assert len({run for _, run, _ in runs}) == len(runs)
    statuses, results, allowed = Counter[str](), Counter[str](), Counter[int]()
    for job, number in world.accepted.items():
        status = json.loads(seen[job])
        statuses[status["status"]] += 1
        retries = status.get("retries", 0)
        allowed[number] += 1 + retries
        assert status["id"] == job
        assert retries <= 1, status
        if status["status"] == "COMPLETED":
            output = status["output"]
            assert output["number"] == number, status
            assert output.get("job", job) == job, status
            assert output["run"] in executions[number], f"{job} was answered by nobody: {status}"
            results[output["run"]] += 1
        else:
            assert status["status"] == "FAILED", status
            assert LOST_TWICE.search(status["error"]), status
            assert retries == 1, status
    assert max(results.values()) == 1, "two jobs have one run's output"
    for number, ran in executions.items():
        unknown = world.unanswered[number]
        assert len(ran) <= allowed[number] + 2 * unknown, f"{number} ran {len(ran)} times: {allowed[number]}, {unknown}"
    for job, deliveries in world.hooked.items():
        assert len(deliveries) == 1, f"{job} was told in {len(deliveries)} ways: {deliveries}"
        [(_, body)] = deliveries
        if job in world.accepted:
            assert json.loads(body) == json.loads(seen[job])
    extra = len(set(world.hooked) - set(world.accepted))
    assert extra <= sum(world.unanswered.values())
    return (
        f"{len(world.accepted)} accepted ({extra} more by {sum(world.unanswered.values())} submissions without an "
        f"answer), {dict(statuses)}, {len(runs)} runs, {sum(allowed.values()) - len(world.accepted)} retries"
    )


@pytest.mark.timeout(300)  # 50 s on two cores with nothing beside it
def test_no_job_is_lost_or_answered_twice_while_everything_is_killed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    print(f"FLASH_KILL_SEED={SEED} FLASH_KILL_JOBS={JOBS}")
    rng, begun = random.Random(SEED), time.monotonic()
    records = [tmp_path / "commands", tmp_path / "app"]
    root = tmp_path / "project"
    root.mkdir()
    Project(root).write({"app.py": APP.format(record=str(records[1]))})
    arguments = ("--state", tmp_path / "state", "--token", "of-the-test", "--no-rate-limits", "--app", root)
    platform = Platform(environment, *arguments, port=quiet_port())
    worlds: list[World] = []

    def hooked(job: str, delivery: str, body: bytes) -> None:
        with worlds[0].changed:
            worlds[0].hooked[job].add((delivery, body))
            worlds[0].changed.notify_all()

    try:
        with receiver(hooked) as hook:
            command = [sys.executable, "-I", "-S", HANDLERS / "counted.py", records[0]]
            workers = {"min": 0, "max": 3, "idleTimeout": 60}
            scaling = {"type": "REQUEST_COUNT", "requestCount": 1}
            made = platform.create(command, workers=workers, scaling=scaling)
            world = World(platform, [made, platform.endpoint("counted")], records, hook)
            worlds.append(world)
            figures = run_through(world, rng)
    finally:
        platform.stop()
    print(f"{figures}; {KILLS} kills; {time.monotonic() - begun:.0f} s")


def run_through(world: World, rng: random.Random) -> str:
    """Let clients do their work while others kill; return figures."""
    submitters = [threading.Thread(target=world.submit) for _ in range(SUBMITTERS)]
    pollers = [threading.Thread(target=world.poll, args=(share,)) for share in range(POLLERS)]
    threads = submitters + pollers
    for thread in threads:
        thread.start()
    try:
        return kill_all_through(world, rng)
    finally:
        with world.changed:
            world.is_over = True
            world.changed.notify_all()
        for queue in world.waiting:
            queue.put(None)
        for thread in threads:
            thread.join(40)


def kill_all_through(world: World, rng: random.Random) -> str:
    """Kill, and wait for all to end; return figures."""
    # The last one comes once all is over: what was told then is told again.
    kinds = ["server"] * (KILLS // 2 - 1) + ["worker"] * (KILLS - KILLS // 2)
    rng.shuffle(kinds)
    moments = sorted(rng.randrange(1, JOBS * 19 // 10) for _ in kinds)
    for kind, moment in zip(kinds, moments, strict=True):
        moment = min(moment, world.released * 19 // 10)
        world.wait(functools.partial(world.has_come_to, moment), 120, f"progress {moment}")
        if kind == "server":
            kill_server(world)
        else:
            kill_worker(world, rng)
        with world.changed:
            world.kills += 1
            world.changed.notify_all()
    world.wait(lambda: len(world.accepted) == JOBS, 120, "all accepted")
    world.wait(lambda: len(world.ended) == JOBS, 180, "all ended")
    world.wait(lambda: world.accepted.keys() <= world.hooked.keys(), 60, "all webhooks called")
    kill_server(world)
    link = Link(world)
    again = {job: world.final(link, job, wait=0) for job in world.accepted}
    assert not world.problems, world.problems
    assert again == world.ended, "a job has changed after its end"
    # Those whose submission was not answered end, too.
    counts = [endpoint.health()["jobs"] for endpoint in world.endpoints]
    total = sum(jobs["completed"] + jobs["failed"] for jobs in counts)
    world.wait(lambda: len(world.hooked) == total, 60, f"{total} webhooks: {counts}")
    return explain(world, world.ended)
