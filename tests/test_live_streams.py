"""Generators of live endpoints: items as they come on our workers, all together from official ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platform_support import FINAL, Official, Platform
from test_live_calls import DIRECTED

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[[dict[str, str]], Any]

PROGRAM = """
    import asyncio, os, sys, time
    import numpy
    from runpod_flash import Endpoint

    CPU = {"cpu": "cpu3c-1-2", "workers": (0, 3)}
    STEP = 2
    IS_OURS = sys.argv[1] == "ours"


    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.01)


    @Endpoint(name="streamed-items", **CPU)
    def items(path):
        print("begins")
        yield 1
        wait_for(path)
        yield numpy.arange(40_000.0) * STEP


    @Endpoint(name="streamed-later", **CPU)
    async def later(n, fails=False):
        for i in range(n):
            yield {"n": i}
        if fails:
            raise LookupError("no more")


    @Endpoint(name="streamed-endless", **CPU)
    async def endless(path):
        try:
            while True:
                yield os.getpid()
                await asyncio.sleep(0.01)
        finally:
            open(path, "w").close()


    @Endpoint(name="streamed-class", **CPU)
    class Counter:
        def __init__(self, start):
            self.value = start

        def up(self, by, path):
            for i in range(by):
                if i == 1:
                    wait_for(path)
                self.value += 1
                yield self.value


    async def collected(stream, path=None):
        found = []
        async for item in stream:
            found.append(item)
            if path is not None and IS_OURS:
                open(path, "w").close()  # Only what has come already goes on.
        return found


    def free(name):
        path = os.path.abspath(name)
        if not IS_OURS:
            open(path, "w").close()
        return path


    async def main():
        path = free("first")
        first, array = await collected(items(path), path)
        assert first == 1 and array.shape == (40_000,) and array[-1] == 79_998.0
        assert await items(path) is not None  # The list, as before.
        assert await collected(later(3)) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert await collected(later(0)) == []
        seen = []
        try:
            async for item in later(2, fails=True):
                seen.append(item["n"])
        except RuntimeError as error:
            assert isinstance(error.__cause__, LookupError), error.__cause__
            assert "in later" in error.remote_traceback, error.remote_traceback
        else:
            raise AssertionError("no exception")
        assert seen == ([0, 1] if IS_OURS else []), seen
        path = free("second")
        counter = Counter(10)
        assert await collected(counter.up(3, path), path) == [11, 12, 13]
        if IS_OURS:
            assert await collected(counter.up(2, path)) == [14, 15]
            path = free("ended")
            stream = endless(path).__aiter__()
            assert await stream.__anext__() != os.getpid()
            await stream.aclose()  # The job is cancelled, and the generator closed.
            while not os.path.exists(path):
                await asyncio.sleep(0.01)
        print("all is well")


    if __name__ == "__main__":
        asyncio.run(main())
    """

REMOTE = {
    "items.py": """
        import os, time
        from pydantic import BaseModel
        from runpod_flash import Endpoint

        class Item(BaseModel):
            n: int

        @Endpoint(name="remote-items", cpu="cpu3c-1-2")
        def items(path: str, n: int = 2, fails: bool = False):
            for i in range(n):
                yield Item(n=i)
                while not os.path.exists(path):
                    time.sleep(0.01)
            if fails:
                raise LookupError("no more")

        @Endpoint(name="remote-later", cpu="cpu3c-1-2")
        class Later:
            async def all(self, n: int):
                for i in range(n):
                    yield [i]
    """,
    "local.py": """
        from items import Later, items
        from runpod_flash import Endpoint

        @Endpoint(name="remote-reader", cpu="cpu3c-1-2")
        async def read(go: str):
            found = []
            async for item in items(go):
                found.append(item.n)
                open(go, "w").close()
            async for item in Later().all(2):
                found.append(item)
            return found
    """,
}


def remove(platform: Platform) -> None:
    for endpoint in platform.get("/v2/serverless").json()["endpoints"]:
        if endpoint["name"].startswith("live-streamed-"):
            platform.request("DELETE", f"/v2/serverless/{endpoint['id']}")


def test_items_come_while_the_generator_runs_on_our_workers(platform: Platform, project: MakeProject, run: Run) -> None:
    root = project({"app.py": PROGRAM}).root
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, "app.py", "ours", cwd=root, timeout=120, env=live)
    remove(platform)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")
    assert "begins\n" in done.stdout


def test_items_come_at_the_end_from_an_official_worker(
    platform: Platform, official_python: Official, project: MakeProject, run: Run
) -> None:
    # The official environment has no numpy.
    text = PROGRAM.replace("    import numpy\n", "").replace("numpy.arange(40_000.0) * STEP", "memoryview(b'x')")
    text = text.replace("array.shape == (40_000,) and array[-1] == 79_998.0", "bytes(array) == b'x'")
    text = text.replace("memoryview(b'x')", "b'x'")
    root = project({"app.py": text}).root
    workers = {"min": 3, "max": 3}
    place = platform.create(official_python.worker("flash_function"), workers=workers, env=platform.variables)
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, "-c", DIRECTED, place.id, "app.py", "official", cwd=root, timeout=120, env=live)
    place.delete()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all is well\n")


def test_remote_run_streams_items_as_they_come(
    platform: Platform, project: MakeProject, serve: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(project(REMOTE), "--remote", "remote-items", "remote-later", env=platform.variables)
    go = tmp_path / "go"

    def run(name: str, **inputs: Any) -> str:
        return str(server.post(f"/v2/{name}/run", {"input": inputs}).json()["id"])

    def drained(name: str, job: str) -> tuple[list[Any], Any]:
        items: list[Any] = []
        while True:
            answer = server.get(f"/v2/{name}/stream/{job}").json()
            items += [chunk["output"] for chunk in answer["stream"]]
            if items:
                go.touch()  # Only what has come already goes on.
            if answer["status"] in FINAL and not answer["stream"]:
                return items, server.get(f"/v2/{name}/status/{job}").json()

    items, state = drained("remote-items", run("remote-items", path=str(go)))
    assert items == state["output"] == [{"n": 0}, {"n": 1}]
    assert state["status"] == "COMPLETED"
    items, state = drained("remote-items", run("remote-items", path=str(go), n=1, fails=True))
    assert (items, state["status"]) == ([{"n": 0}], "FAILED")
    assert "no more" in state["error"]
    items, state = drained("remote-items", run("remote-items", path=str(go), n="x"))
    assert (items, state["status"]) == ([], "FAILED")
    items, state = drained("remote-later", run("remote-later", n=2))
    assert items == state["output"] == [[0], [1]]
    # A worker of this machine reads them by the same way.
    assert server.runsync("/local", go=str(tmp_path / "read")) == [0, 1, [0], [1]]
    server.stop()
