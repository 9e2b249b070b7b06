"""What tests of `flash platform` share: the process, raw HTTP, a worker that a test plays itself, official programs.

The platform is a real process, reached by real HTTP. A *scripted worker* is a worker of the platform whose process
only tells its environment and waits; the test then speaks the worker API with that environment, as
`runpod.serverless.start` would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
from support import FLASH, MARK, Output, end_marked, processes_with_mark

HERE = Path(__file__).resolve().parent
HANDLERS = HERE / "handlers"
#: Final states of a job.
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
#: Writes the worker's environment where the test finds it, then waits to be killed.
TELLS_ENVIRONMENT = 'env -0 > "$0/.$RUNPOD_POD_ID" && mv "$0/.$RUNPOD_POD_ID" "$0/$RUNPOD_POD_ID"; exec sleep 100000'


def until(condition: Callable[[], Any], within: float = 10, why: str = "") -> Any:
    """Return the first truthy value of `condition`, which nothing tells about; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within} s: {why or condition}"
        time.sleep(0.02)


class Platform:
    """One `flash platform` process."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *arguments: str | Path,
        manual_clock: bool = False,
        env: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        """Start it on `port`, or a free one; `manual_clock` has it take `advance`."""
        self.mark = uuid.uuid4().hex
        self.arguments = [str(argument) for argument in arguments]
        self.environment = dict(environment) | dict(env or {})
        if manual_clock:
            self.environment["FLASH_PLATFORM_CLOCK"] = "manual"
        self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="asking")
        self._folders = 0
        self.start("--port", str(port))

    def start(self, *arguments: str) -> None:
        """Start the process, again where it was killed."""
        where = arguments or ("--port", "0")
        self.process = subprocess.Popen(
            [str(FLASH), "platform", *where, "--json", "--follow-stdin", "--max-workers", "64", *self.arguments],
            env=self.environment | {MARK: self.mark},
            stdin=subprocess.PIPE,  # it ends with this process, even where that is killed
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.errors = Output(self.process.stderr)
        line = self.process.stdout.readline()
        assert line, f"flash platform ended with {self.process.wait()}:\n{self.errors.text}"
        self.ready: dict[str, str] = json.loads(line)
        self.url, self.api, self.token = self.ready["url"], self.ready["api"], self.ready["token"]
        self.client = httpx.Client(
            base_url=self.url, timeout=120, trust_env=False, limits=httpx.Limits(max_connections=None)
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def request(
        self, method: str, path: str, json: Any = None, *, token: str | None = "", **options: Any
    ) -> httpx.Response:
        """Send a request with the account's token, with another, or without one (`None`)."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token or self.token}")
        if json is not None:
            options["json"] = json
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET `path`."""
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """POST `json` to `path`."""
        return self.request("POST", path, json, **options)

    def later(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """Call `function` on a thread of its own."""
        return self._pool.submit(function, *arguments, **options)

    def advance(self, seconds: float) -> None:
        """Move its clock ahead."""
        answer = self.post("/_platform/clock", {"advance_ms": int(seconds * 1000)})
        assert answer.status_code == 200, answer.text

    def endpoint(self, id: str) -> Endpoint:
        """Return the endpoint `id`, which exists."""
        return Endpoint(self, id)

    def create(self, command: Sequence[str | Path] = (), *, name: str = "", token: str = "", **fields: Any) -> Endpoint:
        """Make an endpoint whose workers are `command`, by the REST API of version 2."""
        body = {
            "name": name or f"test-{uuid.uuid4().hex[:10]}",
            "type": "QUEUE",
            "workers": {"min": 0, "max": 1},
            "command": [str(part) for part in command],
            "directory": str(HANDLERS),
            **fields,
            # Workers get nothing of the platform's own environment: by this they are found.
            "env": {**fields.get("env", {}), MARK: self.mark},
        }
        answer = self.post("/v2/serverless", body, token=token)
        assert answer.status_code == 201, f"{answer.status_code}: {answer.text}"
        return Endpoint(self, answer.json()["id"], token=token)

    def scripted(
        self, folder: Path, *, workers: int | dict[str, int] = 1, stubborn: bool = False, **fields: Any
    ) -> Scripted:
        """Make an endpoint whose workers a test plays itself; `workers` of them are kept, or as they say.

        `stubborn` processes end by SIGKILL only.
        """
        self._folders += 1
        told = folder / f"told-{self._folders}-{uuid.uuid4().hex[:6]}"
        told.mkdir()
        if isinstance(workers, int):
            workers = {"min": workers, "max": max(workers, 1), "idleTimeout": 3600}
        fields["workers"] = workers
        text = f"trap '' TERM; {TELLS_ENVIRONMENT}" if stubborn else TELLS_ENVIRONMENT
        made = self.create(["/bin/sh", "-c", text, told], **fields)
        return Scripted(self, made.id, told, token=made.token)

    def graphql(self, query: str, variables: Any = None, *, token: str = "") -> Any:
        """Ask the GraphQL API; return its data."""
        body = {"query": query} | ({"variables": variables} if variables is not None else {})
        answer = self.post("/graphql", body, token=token)
        assert answer.status_code == 200, answer.text
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"]

    @property
    def variables(self) -> dict[str, str]:
        """Point official clients here."""
        return {
            "RUNPOD_API_KEY": self.token,
            "RUNPOD_ENDPOINT_BASE_URL": self.api,
            "RUNPOD_API_BASE_URL": self.url,
            "RUNPOD_REST_API_URL": self.ready["rest"],
            "RUNPOD_HAPI_URL": self.url,
            "RUNPOD_CONSOLE_URL": self.url,
            "RUNPOD_URL_MIXED_OK": "1",
        }

    def processes(self) -> dict[int, str]:
        """Return the processes below it."""
        return {pid: line for pid, line in processes_with_mark(self.mark).items() if pid != self.process.pid}

    def stop(self, within: float = 20) -> None:
        """Stop it as Ctrl-C does; nothing may be left."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            # Once more: what runs is not waited for.
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"flash platform did not stop within {within} s:\n{self.errors.text}") from None
        left = end_marked(self.mark, within=3)
        self._close()
        assert not left, f"left behind after the platform stopped: {left}"

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        end_marked(self.mark, within=2)
        self._close()

    def crash(self) -> None:
        """End it by SIGKILL and start it again at once, at the same port; its workers are its own affair."""
        port = self.port
        self.process.kill()
        self.process.wait()
        self._close()
        self.start("--port", str(port))
        assert self.port == port, f"port {port} was taken, by {self.url} it listens at another"

    def _close(self) -> None:
        self.errors.join(3)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.client.close()


class Endpoint:
    """One endpoint, as a client sees it."""

    def __init__(self, platform: Platform, id: str, *, token: str = "") -> None:
        """Speak to the endpoint `id` with `token`, or the platform's own."""
        self.platform = platform
        self.id = id
        self.token = token

    def __repr__(self) -> str:
        return f"Endpoint({self.id})"

    def request(self, method: str, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Send a request to `/v2/{id}/{path}`."""
        options.setdefault("token", self.token)
        return self.platform.request(method, f"/v2/{self.id}/{path}", json, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """POST to `/v2/{id}/{path}`."""
        return self.request("POST", path, json, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET `/v2/{id}/{path}`."""
        return self.request("GET", path, **options)

    def answered(self, method: str, path: str, json: Any = None, **options: Any) -> Any:
        """Send a request that must succeed; return its JSON."""
        answer = self.request(method, path, json, **options)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code}: {answer.text}"
        assert answer.headers["content-type"].partition(";")[0] == "application/json"
        return answer.json()

    def run(self, input: Any, **fields: Any) -> str:
        """Submit a job; return its ID."""
        return cast(str, self.answered("POST", "run", {"input": input, **fields})["id"])

    def runsync(self, input: Any, wait: int | None = None, **fields: Any) -> Any:
        """Submit a job and wait."""
        return self.answered("POST", "runsync" if wait is None else f"runsync?wait={wait}", {"input": input, **fields})

    def status(self, job: str) -> Any:
        """Return a job's status object."""
        return self.answered("GET", f"status/{job}")

    def wait_for(self, job: str, *statuses: str, within: float = 30) -> Any:
        """Return a job's status object once it is one of `statuses`, by default a final one."""
        wanted = statuses or FINAL
        if set(wanted) <= set(FINAL):
            deadline = time.monotonic() + within
            while True:
                left = max(1.0, deadline - time.monotonic())
                seen = self.answered("GET", f"status-sync/{job}?wait={int(left * 1000)}")
                if seen["status"] in FINAL or time.monotonic() > deadline:
                    assert seen["status"] in wanted, seen
                    return seen
        return until(lambda: (seen := self.status(job))["status"] in wanted and seen, within, f"{job} {wanted}")

    def stream(self, job: str) -> Any:
        """Return what `/stream` answers."""
        return self.answered("GET", f"stream/{job}")

    def drained(self, job: str) -> tuple[list[Any], str]:
        """Read a stream to its end; return the items and the final status."""
        items: list[Any] = []
        while True:
            answer = self.stream(job)
            items += [chunk["output"] for chunk in answer["stream"]]
            if answer["status"] in FINAL and not answer["stream"]:
                return items, answer["status"]

    def cancel(self, job: str) -> Any:
        """Cancel a job."""
        return self.answered("POST", f"cancel/{job}")

    def health(self) -> Any:
        """Return the counters."""
        return self.answered("GET", "health")

    @property
    def key(self) -> str:
        """The endpoint's own key (`aiKey`)."""
        data = self.platform.graphql("query { myself { endpoints { id aiKey } } }", token=self.token)
        return next(str(found["aiKey"]) for found in data["myself"]["endpoints"] if found["id"] == self.id)

    def workers(self) -> Any:
        """Return the endpoint's workers, as the management API lists them."""
        answer = self.platform.get(f"/v2/serverless/{self.id}/workers", token=self.token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def change(self, **fields: Any) -> None:
        """Change the endpoint by the management API."""
        answer = self.platform.request("PATCH", f"/v2/serverless/{self.id}", fields, token=self.token)
        assert answer.status_code == 200, answer.text

    def delete(self) -> None:
        """Delete the endpoint."""
        answer = self.platform.request("DELETE", f"/v2/serverless/{self.id}", token=self.token)
        assert answer.status_code == 204, answer.text


class Scripted(Endpoint):
    """An endpoint whose workers a test plays."""

    def __init__(self, platform: Platform, id: str, told: Path, *, token: str = "") -> None:
        """`told` is the folder where its processes say their environment."""
        super().__init__(platform, id, token=token)
        self.told = told
        self._seen: set[str] = set()

    def worker(self, within: float = 10) -> ScriptedWorker:
        """Return the next worker process that started."""

        def fresh() -> str | None:
            return next(
                (name for name in sorted(os.listdir(self.told)) if name[0] != "." and name not in self._seen), None
            )

        name = until(fresh, within, "no worker was started")
        self._seen.add(name)
        pairs = (self.told / name).read_bytes().decode().split("\0")
        variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return ScriptedWorker(self, variables)

    @property
    def started(self) -> int:
        """How many worker processes were started so far."""
        return sum(1 for name in os.listdir(self.told) if name[0] != ".")


class ScriptedWorker:
    """A worker that a test plays: its environment, and the requests that `runpod.serverless.start` would send."""

    def __init__(self, endpoint: Scripted, variables: dict[str, str]) -> None:
        """Play the worker whose process has these `variables`."""
        self.endpoint = endpoint
        self.platform = endpoint.platform
        self.variables = variables
        self.id = variables["RUNPOD_POD_ID"]
        self.key = variables["RUNPOD_AI_API_KEY"]

    def _url(self, variable: str, job: str = "") -> str:
        url = self.variables[variable].replace("$RUNPOD_POD_ID", self.id)
        return url.replace("$ID", job or self.id)

    def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send a request with the worker's raw key."""
        headers = {"Authorization": self.key} | dict(options.pop("headers", {}))
        return self.platform.client.request(method, url, headers=headers, **options)

    def take(self, *, in_progress: int = 0, timeout: float = 120) -> httpx.Response:
        """Poll for one job."""
        url = self._url("RUNPOD_WEBHOOK_GET_JOB") + f"&job_in_progress={in_progress}"
        return self.send("GET", url, timeout=timeout)

    def take_batch(self, size: int, *, in_progress: int = 0, timeout: float = 120) -> httpx.Response:
        """Poll for several jobs."""
        url = self._url("RUNPOD_WEBHOOK_GET_JOB").replace("/job-take/", "/job-take-batch/")
        return self.send("GET", f"{url}&batch_size={size}&job_in_progress={in_progress}", timeout=timeout)

    def job(self) -> Any:
        """Poll for one job, which must come."""
        answer = self.take()
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
        return answer.json()

    def done(self, job: str, body: Any = None, *, raw: bytes | None = None, is_stream: bool = False) -> httpx.Response:
        """Send a result, as JSON under the content type of a form."""
        url = self._url("RUNPOD_WEBHOOK_POST_OUTPUT", job) + f"&isStream={str(is_stream).lower()}"
        return self._deliver(url, job, body, raw)

    def chunk(self, job: str, output: Any) -> httpx.Response:
        """Send a partial result."""
        url = self._url("RUNPOD_WEBHOOK_POST_STREAM", job) + "&isStream=false"
        return self._deliver(url, job, {"output": output}, None)

    def _deliver(self, url: str, job: str, body: Any, raw: bytes | None) -> httpx.Response:
        content = json.dumps(body, ensure_ascii=False).encode() if raw is None else raw
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "charset": "utf-8",
            "X-Request-ID": job,
        }
        return self.send("POST", url, content=content, headers=headers)

    def ping(self, *jobs: str, **parameters: str) -> httpx.Response:
        """Say that it lives and holds `jobs`."""
        url = self._url("RUNPOD_WEBHOOK_PING")
        query = ({"job_id": ",".join(jobs)} if jobs else {}) | {"runpod_version": "1.12.0"} | parameters
        return self.send("GET", str(httpx.URL(url).copy_merge_params(query)))

    def stops(self, *, timeout: float = 120) -> httpx.Response:
        """Poll for jobs that are to stop."""
        return self.send(
            "GET", self._url("RUNPOD_WEBHOOK_GET_JOB").replace("/job-take/", "/job-stop/"), timeout=timeout
        )

    def process(self) -> int:
        """Return the ID of its process."""
        needle = f"RUNPOD_POD_ID={self.id}".encode()
        for pid in self.platform.processes():
            try:
                if needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    return pid
            except OSError:
                continue
        raise AssertionError(f"worker {self.id} has no process")

    def is_alive(self) -> bool:
        """Whether its process lives."""
        try:
            self.process()
        except AssertionError:
            return False
        return True


class Official:
    """Runs programs of the official packages."""

    def __init__(self, python: Path, environment: Mapping[str, str]) -> None:
        """Use the interpreter `python`, and `environment` without anything of ours."""
        self.python = python
        self.environment = {
            name: value for name, value in environment.items() if not name.startswith(("FLASH_", "RUNPOD_"))
        }

    def worker(self, handler: str, *arguments: str) -> list[str]:
        """Return the command of an official worker with the handler in `handlers/{handler}.py`."""
        return [str(self.python), "-u", str(HANDLERS / f"{handler}.py"), *arguments]

    def script(self, platform: Platform, text: str, *arguments: str, timeout: float = 60, **env: str) -> Any:
        """Run a program that speaks to `platform`; return the JSON that it printed last."""
        return self._run([str(self.python), "-W", "ignore", "-c", text, *arguments], platform, timeout, env)

    def _run(self, command: list[str], platform: Platform, timeout: float, env: Mapping[str, str]) -> Any:
        done = subprocess.run(
            command,
            env=self.environment | platform.variables | dict(env),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.strip().splitlines()[-1])


class Node(Official):
    """Runs JavaScript programs with `runpod-sdk`."""

    def __init__(self, node: str, modules: Path, environment: Mapping[str, str]) -> None:
        """Use the program `node`, and the packages in `modules`."""
        super().__init__(Path(node), environment)
        self.modules = modules

    def script(self, platform: Platform, text: str, *arguments: str, timeout: float = 60, **env: str) -> Any:
        """Run an ES module, in which `runpodSdk`, `base` and `key` are defined; return the JSON that it printed last."""
        head = f"""
            import runpodSdk from {json.dumps(str(self.modules / "node_modules/runpod-sdk/dist/src/index.js"))};
            const base = process.env.RUNPOD_ENDPOINT_BASE_URL, key = process.env.RUNPOD_API_KEY;
            const sdk = runpodSdk(key, {{ baseUrl: base }});
            const argv = process.argv.slice(1);
        """
        command = [str(self.python), "--input-type=module", "-e", head + text, "--", *arguments]
        return self._run(command, platform, timeout, env)


@contextmanager
def platform_process(environment: Mapping[str, str], *arguments: str | Path, **options: Any) -> Iterator[Platform]:
    """Run one `flash platform` for as long as the block lasts."""
    platform = Platform(environment, *arguments, **options)
    try:
        yield platform
    finally:
        platform.stop()


def python_worker(text: str) -> list[str]:
    """Return a command that runs `text` in this interpreter."""
    return [sys.executable, "-u", "-c", text]
