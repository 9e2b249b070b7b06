"""Live load-balanced endpoints called from Python: one `POST /execute` per call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from platform_support import Official, Platform
from test_live_calls import DIRECTED

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[[dict[str, str]], Any]
BALANCED = {"type": "LOAD_BALANCER", "scaling": {"type": "REQUEST_COUNT", "requestCount": 10}}

PROGRAM = """
    import asyncio, json, os, sys, warnings
    warnings.simplefilter("ignore")
    import numpy
    from runpod_flash import CpuLiveLoadBalancer, Endpoint, remote
    from runpod_flash.core.resources import CpuLiveLoadBalancer as Same
    from runpod_flash.execute_class import create_remote_class
    from runpod_flash.stubs import stub_resource

    FACTOR = 3
    resource = CpuLiveLoadBalancer(name="NAME-lb", workersMax=2)
    api = Endpoint(name="NAME-routes", cpu="cpu3c-1-2", workers=(0, 1))

    class Odd(ValueError):
        pass

    @remote(resource, method="POST", path="/scale")
    async def scale(value, by=FACTOR):
        return value * by

    @api.post("/where")
    def where():
        return os.getpid()

    def broken(word):
        raise Odd(word)

    def items(n):
        print("counting")
        for i in range(n):
            yield i

    async def later(n):
        for i in range(n):
            yield i

    def none(value=None):
        return value

    def started(path):
        open(path, "w").close()
        import time
        time.sleep(600)

    async def waiting(path):
        open(path, "w").close()
        try:
            await asyncio.Event().wait()
        finally:
            open(path + ".ended", "w").close()

    class Counter:
        def __init__(self, start):
            self.value = start

        def up(self, by=1):
            self.value += by
            return self.value

        def listed(self, n):
            for i in range(n):
                yield self.value + i

    async def main():
        stub = stub_resource(resource)
        run = lambda function, *args, **kwargs: stub(function, None, None, True, *args, **kwargs)
        first = await asyncio.gather(*(run(scale, i) for i in range(100)))
        assert first == [3 * i for i in range(100)], first
        assert await scale(5) == 15  # A route is what it was: called here, it runs here.
        assert where() == os.getpid()
        assert await stub_resource(where.__remote_config__["resource_config"])(where, None, None, True) != os.getpid()
        for array in (
            numpy.arange(300_000.0).reshape(3, -1).T,
            numpy.arange(12, dtype=">i2"),
            numpy.arange(12.0)[::2],
            numpy.zeros((0, 4), dtype="datetime64[ns]"),
            numpy.array([("a", 1.5)], dtype=[("name", "U3"), ("size", "f4")]),
        ):
            found = await run(none, array)
            assert found.dtype == array.dtype and found.shape == array.shape, array.dtype
            assert found.tobytes() == array.tobytes(), (array.dtype, found, array)
        assert await run(none) is None and await run(none, None) is None
        assert await run(items, 3) == [0, 1, 2] and await run(later, 2) == [0, 1]
        try:
            await run(broken, "not even")
        except RuntimeError as error:
            assert isinstance(error.__cause__, Odd) and error.__cause__.args == ("not even",), error.__cause__
            assert "in broken" in error.remote_traceback, error.remote_traceback
        else:
            raise AssertionError("no exception")
        try:
            await run(scale, 1, 2, 3)
        except TypeError as error:
            assert "too many" in str(error)
        os.environ["FLASH_PAYLOAD_LIMIT_MB"] = "1"
        try:
            await run(none, bytes(2_000_000))
        except ValueError as error:
            assert type(error).__name__ == "PayloadTooLargeError" and "load-balanced" in str(error), error
        else:
            raise AssertionError("too large a call was sent")
        del os.environ["FLASH_PAYLOAD_LIMIT_MB"]
        Remote = create_remote_class(Counter, resource, None, None, True)
        counter = Remote(10)
        assert await counter.up(by=2) == 12
        assert [item async for item in counter.listed(2)] == [12, 13]
        path = os.path.abspath("waiting")
        task = asyncio.create_task(run(waiting, path))
        while not os.path.exists(path):
            assert not task.done(), task
            await asyncio.sleep(0.02)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        while not os.path.exists(path + ".ended"):
            await asyncio.sleep(0.02)
        print("all is well")

    asyncio.run(main())
    """


#: What an official `/execute` can do: no classes, no numpy, no traceback.
OFFICIAL = """
    import asyncio, os, sys, warnings
    warnings.simplefilter("ignore")
    from helpers import shout
    from runpod_flash import CpuLiveLoadBalancer
    from runpod_flash.stubs import stub_resource

    FACTOR = 3
    run = stub_resource(CpuLiveLoadBalancer(name="official-lb"))

    async def scale(value, by=FACTOR):
        return shout(str(value * by))

    def items(n):
        yield from range(n)

    def none(value=None):
        return value

    def broken(word):
        raise LookupError(word)

    async def main():
        call = lambda function, *args, **kwargs: run(function, None, None, True, *args, **kwargs)
        assert await asyncio.gather(*(call(scale, i, by=2) for i in range(20))) == [f"{2 * i}!" for i in range(20)]
        assert await call(items, 3) == [0, 1, 2]
        large = bytes(range(256)) * 10_000
        assert await call(none, large) == large and await call(none) is None
        try:
            await call(broken, "too bad")
        except RuntimeError as error:
            assert "too bad" in str(error), error
        else:
            raise AssertionError("no exception")
        print("all is well")

    asyncio.run(main())
    """


def endpoints(platform: Platform, name: str) -> list[Any]:
    found = platform.get("/v2/serverless").json()["endpoints"]
    return [endpoint for endpoint in found if endpoint["name"].startswith(f"live-{name}")]


def test_functions_go_to_a_live_load_balanced_endpoint_by_execute(
    platform: Platform, project: MakeProject, run: Run
) -> None:
    root = project({"app.py": PROGRAM.replace("NAME", "execute")}).root
    variables = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    answer = run(sys.executable, "app.py", cwd=root, env=variables, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.rstrip().endswith("all is well")
    assert "counting" in answer.stdout
    made = endpoints(platform, "execute")
    assert sorted((one["name"], one["type"]) for one in made) == [
        ("live-execute-lb", "LOAD_BALANCER"),
        ("live-execute-routes", "LOAD_BALANCER"),
    ]
    tracked = json.loads((root / ".flash" / "resources.json").read_text())["endpoints"]
    assert {entry["name"] for entry in tracked} == {one["name"] for one in made}
    for one in made:
        platform.request("DELETE", f"/v2/serverless/{one['id']}")


def test_functions_run_on_the_official_execute(
    platform: Platform, official_python: Official, project: MakeProject, run: Run
) -> None:
    root = project({"app.py": OFFICIAL, "helpers.py": "def shout(text): return text + '!'\n"}).root
    place = platform.create(official_python.worker("flash_balanced"), **BALANCED)
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, "-c", DIRECTED, place.id, "app.py", cwd=root, timeout=60, env=live)
    place.delete()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "all is well\n"
