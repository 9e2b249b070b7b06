"""Conformance 71-78: load-balanced endpoints through the proxy, and the ways in for official clients."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websocket
from runpod_flash.testing import FlashPlatform

TESTS = Path(__file__).resolve().parent
MAIN = [sys.executable, "-c", "from runpod_flash._cli import main; raise SystemExit(main())"]
#: Seconds that anything here may take.
PATIENCE = 60.0


class Balanced:
    """A load-balanced endpoint whose worker is ``platform_http_worker.py``."""

    def __init__(self, platform: FlashPlatform, endpoint: str) -> None:
        self.platform, self.id = platform, endpoint
        self.port = int(platform.url.rsplit(":", 1)[1])

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        token: str | None = None,
        host: str | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request to the endpoint's host and return the answer, whose body is not read yet."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE)
        connection.request(
            method,
            path,
            body,
            {
                "Host": host or f"{self.id}.api.localhost:{self.port}",
                "Authorization": f"Bearer {self.platform.token if token is None else token}",
                **(headers or {}),
            },
        )
        return connection.getresponse()

    def said(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """Send a request and return what the worker says it got."""
        answer = self.ask(method, path, body, **options)
        text = answer.read()
        assert answer.status == 200, text
        said: dict[str, Any] = json.loads(text)
        assert answer.headers["X-Runpod-Worker-Id"] == said["worker"]
        return said

    def workers(self) -> dict[str, int]:
        """Return the counters of workers."""
        counters: dict[str, int] = self.platform.get(f"/v2/{self.id}/health")["workers"]
        return counters

    def until(self, is_it: Callable[[dict[str, int]], bool]) -> None:
        """Wait until the counters are as they should be: they give no event to await."""
        end = time.monotonic() + PATIENCE
        while not is_it(self.workers()):
            assert time.monotonic() < end, self.workers()
            time.sleep(0.02)


Make = Callable[..., Balanced]


@pytest.fixture
def balanced(flash_platform: FlashPlatform) -> Make:
    """Return what makes a load-balanced endpoint."""

    def make(*, workers: int = 1, idle: int = 60, env: dict[str, str] | None = None) -> Balanced:
        body = {
            "name": "lb",
            "type": "LOAD_BALANCER",
            "workers": {"min": 0, "max": workers, "idleTimeout": idle},
            "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
            "command": [sys.executable, str(TESTS / "platform_http_worker.py")],
            "directory": str(TESTS),
            "env": env or {},
        }
        return Balanced(flash_platform, flash_platform.post("/v2/serverless", body)["id"])

    return make


def test_71_request_reaches_the_worker_as_it_is(balanced: Make) -> None:
    endpoint = balanced()
    body = os.urandom(1000)
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]:
        said = endpoint.said(
            method, "/a%2Fb//c;d?x=%20&y&x=1", body, headers={"X-MiXed": "Ünï".encode().decode("latin-1")}
        )
        assert (said["method"], said["target"]) == (method, "/a%2Fb//c;d?x=%20&y&x=1")
        assert said["digest"] == hashlib.sha256(body).hexdigest()
        assert ["X-MiXed", "Ünï".encode().decode("latin-1")] in said["headers"]
        names = [name.lower() for name, _ in said["headers"]]
        assert "authorization" not in names
        assert "connection" not in names
    chunked = endpoint.said("POST", "/x", iter([b"a" * 10, b"b" * 20]))
    assert chunked["digest"] == hashlib.sha256(b"a" * 10 + b"b" * 20).hexdigest()


def test_71_hosts_and_path_lead_to_one_endpoint(balanced: Make) -> None:
    endpoint = balanced()
    for host in [f"{endpoint.id}.localhost", f"{endpoint.id}.api.runpod.ai", f"{endpoint.id.upper()}.api.localhost:1"]:
        assert endpoint.said("GET", "/v2/x/run?a", host=host)["target"] == "/v2/x/run?a"
    assert endpoint.said("GET", f"/lb/{endpoint.id}/v2/x?a", host="localhost")["target"] == "/v2/x?a"
    assert endpoint.said("GET", f"/lb/{endpoint.id}", host="127.0.0.1")["target"] == "/"
    answer = endpoint.ask("GET", "/x?status=418")
    assert answer.status == 418
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.headers["X-Runpod-Worker-Id"]


def test_71_unknown_endpoint_and_wrong_token_are_refused(balanced: Make) -> None:
    endpoint = balanced()
    answer = endpoint.ask("GET", "/x", host="nosuch.api.localhost")
    assert answer.status == 404
    assert "nosuch" in json.loads(answer.read())["error"]
    for token in ["", "wrong"]:
        for host in [None, "nosuch.api.localhost"]:
            answer = endpoint.ask("GET", "/x", token=token, host=host)
            assert (answer.status, json.loads(answer.read())) == (401, {"error": "unauthorized"})
    assert endpoint.ask("GET", "/x", host=f"{endpoint.id}.api.evil.example").status == 403
    assert endpoint.workers()["initializing"] == 0


def test_72_health_check_decides_where_requests_go(balanced: Make) -> None:
    endpoint = balanced(env={"TEST_WARM_UP": "1"})
    start = time.monotonic()
    endpoint.said("GET", "/x")
    assert time.monotonic() - start >= 1, "204 is not ready"
    endpoint.said("POST", "/_health", b"500")
    endpoint.until(lambda workers: workers["unhealthy"] == 1)
    held: list[float] = []

    def wait() -> None:
        endpoint.said("GET", "/x")
        held.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(1.5)
    assert not held, "it is removed from routing"
    # The path past the platform: the worker says on which port it listens.
    recover(endpoint)
    thread.join(PATIENCE)
    assert held
    assert endpoint.workers()["unhealthy"] == 0


def recover(endpoint: Balanced) -> None:
    """Let the health check of a worker that gets no requests succeed again."""
    pattern = f"RUNPOD_ENDPOINT_ID={endpoint.id}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if pattern in variables:
            port = next(int(text[5:]) for text in variables if text.startswith(b"PORT="))
            request = urllib.request.Request(f"http://127.0.0.1:{port}/_health", b"200")
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE).close()
            return
    raise AssertionError("the worker is not there")


def test_73_cold_request_is_held_and_served(balanced: Make) -> None:
    endpoint = balanced(env={"TEST_LATE": "1.5"})
    start = time.monotonic()
    endpoint.said("GET", "/x")
    assert 1.5 <= time.monotonic() - start < 10


def test_74_every_answer_names_its_worker(balanced: Make) -> None:
    endpoint = balanced()
    worker = endpoint.said("GET", "/x")["worker"]
    assert endpoint.ask("GET", "/x?status=500").headers["X-Runpod-Worker-Id"] == worker
    answer = endpoint.ask("GET", "/die")
    assert answer.status == 502
    assert "error" in json.loads(answer.read())
    assert answer.headers["X-Runpod-Worker-Id"] == worker
    assert endpoint.said("GET", "/x")["worker"] != worker, "another one is started"


def test_75_affinity_is_soft_or_strict(balanced: Make) -> None:
    endpoint = balanced(workers=2, idle=3)
    found: list[str] = []

    def ask_one() -> None:
        found.append(endpoint.said("GET", "/x?sleep=1.5")["worker"])

    def ask_both() -> None:
        threads = [threading.Thread(target=ask_one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    ask_both()
    # The first pair may have gone to the worker that was well first.
    ask_both()
    first, second = found[-2:]
    assert first != second, "one request for each worker"
    for _ in range(3):
        for want in [first, f"strict {second}"]:
            worker = endpoint.said("GET", "/x", headers={"X-Runpod-Worker-Id": want})["worker"]
            assert worker == want.split()[-1]
    endpoint.until(lambda workers: not any(workers.values()))
    gone = endpoint.ask("GET", "/x", headers={"X-Runpod-Worker-Id": f"strict {first}"})
    assert gone.status == 404
    assert json.loads(gone.read())["error"] == "affinity_worker_gone"
    resumed = endpoint.said("GET", "/x", headers={"X-Runpod-Worker-Id": f"strict-resume {first}"})
    assert resumed["worker"] == first
    never = endpoint.ask("GET", "/x", headers={"X-Runpod-Worker-Id": "strict-resume wnever"})
    assert never.status == 404
    assert endpoint.said("GET", "/x", headers={"X-Runpod-Worker-Id": "wnever"})["worker"]


def test_76_events_come_when_they_are_sent(balanced: Make) -> None:
    endpoint = balanced()
    endpoint.said("GET", "/x")
    answer = endpoint.ask("GET", "/sse")
    assert answer.headers["Content-Type"] == "text/event-stream"
    delays = []
    while line := answer.readline():
        if line.startswith(b"data: "):
            delays.append(time.time() - float(line[6:]))
    assert len(delays) == 10
    # A machine that is busy may delay one of them.
    assert sorted(delays)[-2] < 0.05, delays


def test_76_web_socket_goes_both_ways(balanced: Make) -> None:
    endpoint = balanced()
    authorization = f"Authorization: Bearer {endpoint.platform.token}"
    connection = websocket.create_connection(
        f"ws://localhost:{endpoint.port}/ws",
        timeout=PATIENCE,
        host=f"{endpoint.id}.api.localhost",
        header=[authorization],
        http_no_proxy=["localhost"],
    )
    assert connection.headers["x-runpod-worker-id"]
    for text in ["hello", "x" * 5000, "é"]:
        connection.send(text)
        assert connection.recv() == text
    assert endpoint.workers()["running"] == 1, "it counts as a request"
    connection.close()
    endpoint.until(lambda workers: workers["running"] == 0)


def test_76_bodies_are_limited(balanced: Make) -> None:
    endpoint = balanced()
    limit = 30 << 20
    assert endpoint.said("POST", "/x", bytes(limit))["length"] == limit
    assert len(endpoint.ask("GET", f"/big?size={limit}").read()) == limit
    over = endpoint.ask("GET", f"/big?size={limit + 1}")
    assert over.status == 502
    assert "larger" in json.loads(over.read())["error"]
    # Only the head is sent: the answer does not wait for the body.
    with socket.create_connection(("localhost", endpoint.port), timeout=PATIENCE) as connection:
        head = f"POST /x HTTP/1.1\r\nHost: {endpoint.id}.localhost\r\nContent-Length: {limit + 1}\r\n"
        connection.sendall(f"{head}Authorization: {endpoint.platform.token}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_77_health_may_have_its_own_path_and_port(balanced: Make) -> None:
    endpoint = balanced(env={"HEALTH_CHECK_PATH": "/ready", "PORT": "80", "PORT_HEALTH": "81", "TEST_APART": "1"})
    said = endpoint.said("GET", "/ready")
    assert said["target"] == "/ready"
    assert not said["is_health"]


CLIENT = """
import asyncio, json, sys
from runpod_flash import Endpoint

async def main():
    endpoint = Endpoint(id=sys.argv[1])
    print(json.dumps([await endpoint.get("/one?a=1"), await endpoint.post("/two", {"v": 1})]))

asyncio.run(main())
"""


def variables(platform: FlashPlatform, *arguments: str) -> dict[str, str]:
    """Return what ``flash platform env`` prints for an account."""
    line = [*MAIN, "platform", "env", "--url", platform.url, "--token", platform.token, *arguments]
    done = subprocess.run([*line, "--shell", "json"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("base", [None, "https://api.runpod.ai/v2", "https://api.localhost:{port}/v2"])
def test_78_official_client_calls_by_https(balanced: Make, official: Path, base: str | None) -> None:
    endpoint = balanced()
    env = {**os.environ, **variables(endpoint.platform)}
    if base:
        env["RUNPOD_ENDPOINT_BASE_URL"] = base.format(port=endpoint.port)
    done = subprocess.run(
        [official, "-c", CLIENT, endpoint.id],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout)
    assert (one["method"], one["target"], one["length"]) == ("GET", "/one?a=1", 0)
    assert (two["method"], two["digest"]) == ("POST", hashlib.sha256(b'{"v":1}').hexdigest())
    assert endpoint.platform.token not in done.stdout


def test_78_tls_is_served_on_the_same_port(balanced: Make) -> None:
    endpoint = balanced()
    context = ssl.create_default_context(cafile=variables(endpoint.platform)["NODE_EXTRA_CA_CERTS"])
    for name in [f"{endpoint.id}.localhost", f"{endpoint.id}.api.localhost", f"{endpoint.id}.api.runpod.ai"]:
        with (
            socket.create_connection(("localhost", endpoint.port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            head = f"GET /x HTTP/1.1\r\nHost: {name}\r\nAuthorization: {endpoint.platform.token}\r\n\r\n"
            secured.sendall(head.encode())
            assert secured.recv(100).startswith(b"HTTP/1.1 200 ")


class Own:
    """A platform of its own."""

    def __init__(self, cache: Path, *arguments: str) -> None:
        self.env = {**os.environ, "FLASH_CACHE_DIR": str(cache)}
        self.process = subprocess.Popen(
            [*MAIN, "platform", "--port", "0", "--json", "--follow-stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
        )
        assert self.process.stdout is not None
        self.ready: dict[str, str] = json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(PATIENCE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Own]]:
    """Return what starts a platform with a cache folder of the test's own."""
    started: list[Own] = []

    def start_one(*arguments: str) -> Own:
        started.append(Own(tmp_path / "cache", *arguments))
        return started[-1]

    yield start_one
    for own in started:
        own.stop()


def print_env(own: Own, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``flash platform env``."""
    line: Sequence[str] = [*MAIN, "platform", "env", *arguments]
    return subprocess.run(line, env=own.env, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_env_finds_the_platform_that_runs(start: Callable[..., Own], tmp_path: Path) -> None:
    first = start("--state", str(tmp_path / "state"))
    assert list(first.ready) == ["url", "api", "graphql", "rest", "token"]
    done = print_env(first)
    assert f"export RUNPOD_ENDPOINT_BASE_URL='{first.ready['api']}'" in done.stdout.splitlines()
    assert f"export RUNPOD_API_KEY='{first.ready['token']}'" in done.stdout.splitlines()
    authority = tmp_path / "state" / "tls" / "ca.pem"
    assert f"export NODE_EXTRA_CA_CERTS='{authority}'" in done.stdout.splitlines()
    second = start()
    both = print_env(first)
    assert both.returncode == 1
    assert both.stdout == ""
    assert f"--url {first.ready['url']}" in both.stderr
    assert f"--url {second.ready['url']}" in both.stderr
    assert second.ready["token"] not in both.stderr
    assert second.ready["token"] in print_env(first, "--url", second.ready["url"], "--shell", "fish").stdout
    # Killed: its file stays, and is not believed.
    second.process.kill()
    second.process.wait()
    assert print_env(first).stdout == done.stdout
    first.stop()
    none = print_env(first)
    assert none.returncode == 1
    assert "flash platform" in none.stderr
    kept = authority.read_text()
    start("--state", str(tmp_path / "state"))
    assert authority.read_text() == kept, "who trusted it before goes on to"


def test_proxy_passes_other_hosts_on(flash_platform: FlashPlatform) -> None:
    env = variables(flash_platform)
    proxy = urlsplit(env["HTTPS_PROXY"])
    assert proxy.hostname == "127.0.0.1"
    assert proxy.port
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    tunnel = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=PATIENCE)
    tunnel.set_tunnel("127.0.0.1", port)
    tunnel.connect()
    other, _ = listener.accept()
    other.sendall(b"hello")
    assert tunnel.sock.recv(5) == b"hello"
    for open_socket in (other, listener):
        open_socket.close()
    tunnel.close()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": env["HTTPS_PROXY"]}))
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open("http://example.invalid/", timeout=PATIENCE)
    assert refused.value.code == 405
