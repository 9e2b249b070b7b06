"""Calls between live endpoints: what one's shipped code does with another's functions, classes and generators."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from platform_support import Official, Platform
from runpod_flash import _core, errors
from test_live_calls import DIRECTED

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[[dict[str, str]], Any]
IMAGE = "runpod/flash-cpu:py3.12-latest"
CALLEES = (Path(__file__).parent.parent / "src/project/ship/callees.py").read_text(encoding="utf-8")

PROGRAM = """
    from __future__ import annotations

    import asyncio, sys
    from runpod_flash import Endpoint
    from shared import shared_double

    CPU = {"cpu": "cpu3c-1-2", "workers": (0, 2)}
    STEP = 2


    @Endpoint(name="nested-deep", **CPU)
    class Deep:
        def __init__(self, start, *, label="deep"):
            self.value, self.label = start, label

        async def up(self, by=1):
            self.value += by * STEP
            return self.label, self.value

        def listed(self, n):
            for i in range(n):
                yield self.value + i

        async def later(self, n):
            for i in range(n):
                yield [self.value, i]

        def fail(self):
            raise LookupError("not in here")


    @Endpoint(name="nested-items", **CPU)
    async def items(n):
        deep = Deep(10)
        for i in range(n):
            yield i, (await deep.up(i))[0]


    @Endpoint(name="nested-middle", **CPU)
    async def middle(n):
        deep, other = Deep(1), Deep(100, label="other")
        assert await deep.up() == ("deep", 3)
        return {
            "other": await other.up(by=2),
            "listed": await other.listed(2),
            "later": [item async for item in other.later(n)],
            "iterated": [item async for item in deep.listed(n)],
            "items": [item async for item in items(n)],
            "double": await shared_double(n),
        }


    api = Endpoint(name="nested-api", **CPU)


    @api.get("/step")
    async def step():
        return STEP


    @Endpoint(name="nested-outer", **CPU)
    class Outer:
        def __init__(self, n):
            self.n = n

        async def all(self):
            # A route's handler is the plain function: it runs in place.
            return await asyncio.gather(middle(self.n), items(1), Deep(5).up(), step())

        async def broken(self):
            try:
                await Deep(1).fail()
            except RuntimeError as error:
                return str(error)

        async def missing(self):
            return await Deep(1).nothing()


    async def main():
        outer = Outer(2)
        found, listed, up, two = await outer.all()
        kept = int(sys.argv[1])
        assert found == {
            "other": ("other", 104),
            "listed": [kept, kept + 1],
            "later": [[kept, 0], [kept, 1]],
            "iterated": [3, 4] if kept == 104 else [1, 2],
            "items": [(0, "deep"), (1, "deep")],
            "double": 4,
        }, found
        assert listed == [(0, "deep")] and up == ("deep", 7) and two == 2, (listed, up, two)
        text = await outer.broken()
        assert "remote Deep failed: not in here" in text and "in fail" in text, text
        try:
            await outer.missing()
        except RuntimeError as error:
            assert "nothing" in str(error), error
        else:
            raise AssertionError("there is no such method")
        print("all is well")


    if __name__ == "__main__":
        asyncio.run(main())
    """
SHARED = """
    from runpod_flash import Endpoint

    @Endpoint(name="nested-shared", cpu="cpu3c-1-2")
    def shared_double(value):
        return value * 2
    """


def endpoints(platform: Platform, name: str) -> list[str]:
    found = platform.get("/v2/serverless").json()["endpoints"]
    return sorted(endpoint["name"] for endpoint in found if endpoint["name"].startswith(f"live-{name}"))


def remove(platform: Platform, name: str) -> None:
    for endpoint in platform.get("/v2/serverless").json()["endpoints"]:
        if endpoint["name"].startswith(f"live-{name}"):
            platform.request("DELETE", f"/v2/serverless/{endpoint['id']}")


def test_classes_and_generators_are_called_three_deep_on_our_workers(
    platform: Platform, project: MakeProject, run: Run
) -> None:
    root = project({"app.py": PROGRAM, "shared.py": SHARED}).root
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, "app.py", "104", cwd=root, timeout=120, env=live)
    made = endpoints(platform, "nested")
    remove(platform, "nested")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout
    assert made == [f"live-nested-{name}" for name in ("deep", "items", "middle", "outer", "shared")]


def test_classes_and_generators_are_called_three_deep_on_official_workers(
    platform: Platform, official_python: Official, project: MakeProject, run: Run
) -> None:
    root = project({"app.py": PROGRAM, "shared.py": SHARED}).root
    # Each call of it waits for others.
    workers = {"min": 5, "max": 5}
    place = platform.create(official_python.worker("flash_function"), workers=workers, env=platform.variables)
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    # Every call makes its object anew there.
    done = run(sys.executable, "-c", DIRECTED, place.id, "app.py", "100", cwd=root, timeout=120, env=live)
    place.delete()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout


CALLER = """
async def caller():
    import asyncio, sys
    from helpers_NUMBER import helped
    waiting = sys.__dict__.setdefault("_test_waiting", [])
    waiting.append(None)
    while len(waiting) < 2:
        await asyncio.sleep(0.01)
    return await inner(), await helped()
async def inner(): return await __import__("_flash_callees").call("app.py:inner", (), {})
"""
HELPERS = """
async def helped(): return await __import__("_flash_callees").call("helpers.py:helped", (), {})
"""


def test_functions_that_run_at_once_on_one_worker_have_their_own_callees(platform: Platform) -> None:
    called = platform.create(image=IMAGE, name="live-apart-called")
    worker = platform.create(
        image="runpod/flash-lb-cpu:py3.12-latest",
        name="live-apart",
        type="LOAD_BALANCER",
        scaling={"type": "REQUEST_COUNT", "requestCount": 10},
        env={"RUNPOD_API_KEY": platform.token},
    )

    def ask(number: int) -> Any:
        # The same names in both, as two programs or two versions of one have them.
        table = {
            key: {
                "endpoint": called.id,
                "request": {
                    "execution_type": "function",
                    "function_name": "f",
                    "function_code": f"def f(): return {key!r}, {number}",
                },
                "calls": False,
            }
            for key in ("app.py:inner", "helpers.py:helped")
        }
        code, modules = _core.with_callees(
            json.dumps(table), CALLER.replace("NUMBER", str(number)), {f"helpers_{number}.py": HELPERS}
        )
        request = {"function_name": "caller", "function_code": code, "modules": modules}
        answer = platform.request("POST", "/execute", request, headers={"Host": f"{worker.id}.api.localhost"}).json()
        assert answer["success"], answer["error"]
        return pickle.loads(base64.b64decode(answer["result"]))

    both = [platform.later(ask, number) for number in (1, 2)]
    for number, found in enumerate(both, 1):
        assert found.result(60) == (("app.py:inner", number), ("helpers.py:helped", number))
    worker.delete()
    called.delete()


class Scripted(ThreadingHTTPServer):
    """An API whose answers a test says beforehand."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.asked: list[tuple[str, str | None]] = []
        self.told = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        """Give the next answer."""
        self.server.asked.append((f"{self.command} {self.path}", self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.answers.pop(0)
        if answer == "nothing":
            self.server.told.set()
            self.connection.recv(1)  # Until the client goes.
            self.close_connection = True
            return
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        status, headers, body = answer
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)
        self.server.told.set()

    do_GET = do_POST

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def scripted_api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[Any]], Scripted]]:
    """Start an API with these answers, and have it asked."""
    servers = []

    def make(answers: list[Any]) -> Scripted:
        server = Scripted(answers)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", f"http://127.0.0.1:{server.server_port}/v2")
        monkeypatch.setenv("RUNPOD_API_KEY", "rpa_TEST")
        return server

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def stubs(scripted_api: Callable[[list[Any]], Scripted]) -> Callable[[list[Any]], tuple[Any, Scripted]]:
    """Make the module that stand-ins use, and the API that it asks."""

    def make(answers: list[Any]) -> tuple[Any, Scripted]:
        server = scripted_api(answers)
        module: Any = types.ModuleType("callees")
        exec(CALLEES, module.__dict__)
        request = {"execution_type": "function", "function_name": "inner", "function_code": "def inner(): return 1"}
        module.add({"inner#1": {"endpoint": "ep", "request": request, "generators": []}})
        return module, server

    return make


def done(value: Any) -> tuple[int, dict[str, str], Any]:
    output = {"success": True, "result": base64.b64encode(pickle.dumps(value)).decode()}
    return 200, {}, {"id": "j", "status": "COMPLETED", "output": output}


RUNSYNC = ("POST /v2/ep/runsync", "Bearer rpa_TEST")
STATUS = ("GET /v2/ep/status/j", "Bearer rpa_TEST")
RUNNING = (200, {}, {"id": "j", "status": "IN_PROGRESS"})


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([(429, {"Retry-After": "0.01"}, {"error": "slow down"}), done(7)], [RUNSYNC, RUNSYNC]),
        ([(503, {"Retry-After": "0.01"}, b""), done(7)], [RUNSYNC, RUNSYNC]),
        ([RUNNING, (500, {"Retry-After": "0.01"}, b"<html>"), None, done(7)], [RUNSYNC, STATUS, STATUS, STATUS]),
        ([RUNNING, (200, {}, b"{"), done(7)], [RUNSYNC, STATUS, STATUS]),
    ],
    ids=["limited", "refused", "trouble while it runs", "truncated"],
)
def test_stand_in_asks_again_where_nothing_is_done_twice(stubs: Any, answers: list[Any], asked: list[Any]) -> None:
    module, server = stubs(answers)
    assert asyncio.run(module.call("inner#1", (), {})) == 7
    assert server.asked == asked


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([(500, {}, b"broken")], "remote inner failed: HTTP 500: broken"),
        ([None], "remote inner failed: the connection broke"),
        ([(200, {}, {"id": "j", "status": "FAILED", "error": "out of memory"})], "remote inner failed: out of memory"),
        ([(200, {}, {"id": "j", "status": "TIMED_OUT"})], "remote inner ended TIMED_OUT"),
        (
            [(200, {}, {"status": "COMPLETED", "output": {"success": False, "error": "boom\nTraceback …"}})],
            "remote inner failed: boom\nTraceback",
        ),
    ],
    ids=["error", "reset", "failed", "timed out", "raised"],
)
def test_stand_in_submits_once_and_says_why_it_failed(stubs: Any, answers: list[Any], reason: str) -> None:
    module, server = stubs(answers)
    with pytest.raises(RuntimeError, match=reason.partition("\n")[0]) as raised:
        asyncio.run(module.call("inner#1", (), {}))
    assert reason in str(raised.value)
    assert server.asked == [RUNSYNC]


def test_stand_in_without_a_key_says_what_to_set(stubs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, server = stubs([(401, {}, {"error": "unauthorized"})])
    monkeypatch.delenv("RUNPOD_API_KEY")
    with pytest.raises(RuntimeError, match="HTTP 401") as raised:
        asyncio.run(module.call("inner#1", (), {}))
    assert "set it in the endpoint's env" in str(raised.value)
    assert server.asked == [("POST /v2/ep/runsync", None)]


def test_stand_in_that_nobody_awaits_any_more_cancels_its_job(stubs: Any) -> None:
    module, server = stubs([RUNNING, *[RUNNING] * 100])

    async def main() -> None:
        call = asyncio.ensure_future(module.call("inner#1", (), {}))
        await asyncio.to_thread(server.told.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())  # Waits for the thread that asks.
    assert server.asked[-1] == ("POST /v2/ep/cancel/j", "Bearer rpa_TEST")


def test_stand_ins_keep_a_bounded_number_of_names(stubs: Any) -> None:
    module, _ = stubs([])
    module.add({f"other#{number}": {"endpoint": "ep", "request": {}} for number in range(module.KEPT)})
    assert len(module.table) == module.KEPT
    with pytest.raises(RuntimeError, match="does not know `inner#1` any more"):
        asyncio.run(module.call("inner#1", (), {}))


def pickled(value: Any) -> tuple[int, dict[str, str], Any]:
    text = base64.b64encode(pickle.dumps(value)).decode()
    return 200, {"X-Runpod-Worker-Id": "w1"}, {"success": True, "result": text, "stdout": "said\n"}


async def execute(timeout: float | None = None) -> Any:
    head = json.dumps({"function_name": "f", "function_code": "def f(): return 1"})
    return await _core.live_call("ep", "f", head, (), {}, None, timeout, is_balanced=True)


EXECUTE = ("POST /execute", "Bearer rpa_TEST")
LARGE = bytes(range(256)) * 20_000


@pytest.mark.parametrize(
    ("answers", "value", "times"),
    [
        ([pickled(LARGE)], LARGE, 1),
        ([(200, {}, {"success": True, "result": None})], None, 1),
        ([(400, {}, {"error": "no workers available"}), pickled(7)], 7, 2),
        ([(429, {"Retry-After": "0"}, {"error": "slow down"}), pickled(7)], 7, 2),
        ([(503, {"Retry-After": "0"}, b""), pickled(7)], 7, 2),
    ],
    ids=["large", "nothing", "no worker yet", "limited", "refused"],
)
def test_execute_is_sent_again_where_no_worker_has_begun(
    scripted_api: Callable[[list[Any]], Scripted], answers: list[Any], value: Any, times: int
) -> None:
    server = scripted_api(answers)
    found, _ = asyncio.run(execute())
    assert found == value
    assert server.asked == [EXECUTE] * times


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ((500, {"X-Runpod-Worker-Id": "w1"}, b"boom"), errors.ServiceUnavailableError, "boom"),
        ((429, {"X-Runpod-Worker-Id": "w1"}, b"mine"), errors.RateLimitError, "mine"),
        ((502, {}, b""), errors.ServiceUnavailableError, "may have begun, so it was not sent again"),
        (None, errors.ConnectionFailedError, "may have begun, so it was not sent again"),
        ((404, {"X-Runpod-Worker-Id": "w1"}, {"detail": "Not Found"}), errors.InvalidRequestError, "run no functions"),
        ((404, {}, {"error": "endpoint not found"}), errors.NotFoundError, "endpoint not found"),
        ((401, {}, {"error": "unauthorized"}), errors.AuthenticationError, "unauthorized"),
        ((200, {}, b"<html>"), errors.MalformedAnswerError, "FunctionResponse"),
        (
            (200, {}, {"success": False, "error": "too bad\nTraceback (most recent call last):\n  x\nKeyError: 'k'"}),
            errors.RemoteExecutionError,
            "too bad",
        ),
    ],
    ids=["worker failed", "worker limits", "gateway", "reset", "no live worker", "gone", "key", "no JSON", "raised"],
)
def test_execute_is_sent_once_where_a_worker_may_have_begun(
    scripted_api: Callable[[list[Any]], Scripted], answer: Any, error: type[Exception], text: str
) -> None:
    server = scripted_api([answer])
    with pytest.raises(error) as raised:
        asyncio.run(execute())
    assert text in str(raised.value)
    assert server.asked == [EXECUTE]


def test_execute_ends_with_its_deadline_or_its_task(scripted_api: Callable[[list[Any]], Scripted]) -> None:
    server = scripted_api(["nothing", "nothing"])
    with pytest.raises(TimeoutError, match=r"0\.3 s"):
        asyncio.run(execute(0.3))

    async def main() -> None:
        server.told.clear()
        task = asyncio.ensure_future(execute())
        await asyncio.to_thread(server.told.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert server.asked == [EXECUTE, EXECUTE]


def test_deployed_resource_is_asked_by_the_route_of_the_function(
    scripted_api: Callable[[list[Any]], Scripted],
) -> None:
    from runpod_flash.core.resources import LoadBalancerSlsResource
    from runpod_flash.legacy.remote import remote
    from runpod_flash.stubs.load_balancer_sls import LoadBalancerSlsStub

    resource = LoadBalancerSlsResource(name="deployed-routes", imageName="mine:1")
    resource.id = "ep"

    @remote(resource, method="GET", path="/items/{key}", _internal=True)
    async def item(key: str, q: int = 1) -> None: ...

    @remote(resource, method="POST", path="/items", _internal=True)
    async def add(key: str) -> None: ...

    server = scripted_api([(200, {"Content-Type": "application/json"}, {"n": number}) for number in range(2)])

    async def main() -> list[Any]:
        stub = LoadBalancerSlsStub(resource)
        return [await stub(item, None, None, True, "a/b", q=2), await stub(add, None, None, True, "a")]

    assert asyncio.run(main()) == [{"n": 0}, {"n": 1}]
    key = "Bearer rpa_TEST"
    assert server.asked == [("GET /items/a%2Fb?q=2", key), ("POST /items", key)]


REMOTE = {
    "deep.py": """
        from runpod_flash import Endpoint

        @Endpoint(name="remote-deep", cpu="cpu3c-1-2")
        class Deep:
            def __init__(self, start: int = 1):
                self.value = start

            def up(self, by: int):
                self.value += by
                return self.value

            def listed(self, n: int):
                for i in range(n):
                    yield self.value + i
    """,
    "middle.py": """
        from deep import Deep
        from runpod_flash import Endpoint

        @Endpoint(name="remote-middle", cpu="cpu3c-1-2")
        async def middle(n: int):
            deep = Deep(10)
            return {"up": [await deep.up(n), await deep.up(n)], "listed": [i async for i in deep.listed(n)]}
    """,
    "front.py": """
        from middle import middle
        from runpod_flash import Endpoint

        api = Endpoint(name="remote-front", cpu="cpu3c-1-2")

        @api.post("/ask/{n}")
        async def ask(n: int):
            return {"asked": await middle(n)}
    """,
}


def test_endpoints_of_a_remote_run_call_each_other(
    platform: Platform, project: MakeProject, serve: Callable[..., Any]
) -> None:
    server = serve(project(REMOTE), "--remote", env=platform.variables)
    expected = {"up": [12, 14], "listed": [14, 15]}
    assert server.runsync("/middle", n=2) == expected
    answer = server.post("/front/ask/2")
    assert (answer.status_code, answer.json()) == (200, {"asked": expected})
    server.stop()


def test_live_script_and_run_are_provisioned_by_rest(
    platform: Platform, project: MakeProject, serve: Callable[..., Any], run: Run
) -> None:
    script = """
    import asyncio
    from runpod_flash import Endpoint

    @Endpoint(name="by-rest", cpu="cpu3c-1-2", env={"WORD": "rest"}, workers=(0, WORKERS))
    def f():
        import os
        return os.environ["WORD"]

    print(asyncio.run(f()))
    """
    variables = {**platform.variables, "FLASH_CONTROL_PLANE": "rest"}
    live = {**variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    printed = []
    for workers in ("1", "2"):
        root = project({"app.py": script.replace("WORKERS", workers)}).root
        answer = run(sys.executable, "app.py", cwd=root, env=live, timeout=60)
        assert answer.stdout == "rest\n", answer.stderr
        printed.append(answer.stderr)
    assert "by REST v2" in printed[0]
    assert "making" not in printed[1]
    found = [one for one in platform.get("/v2/serverless").json()["endpoints"] if one["name"] == "live-by-rest"]
    assert [(one["workers"]["min"], one["workers"]["max"]) for one in found] == [(0, 2)]
    platform.request("DELETE", f"/v2/serverless/{found[0]['id']}")

    root = project({"shared.py": SHARED.replace("nested-shared", "by-rest-shared")})
    server = serve(root, "--remote", "by-rest-shared", env=variables)
    server.wait_for_line("control plane: REST v2 (FLASH_CONTROL_PLANE)")
    assert server.runsync("/shared", value=4) == 8
    assert endpoints(platform, "by-rest") == ["live-by-rest-shared"]
    server.stop()
    assert endpoints(platform, "by-rest") == []
