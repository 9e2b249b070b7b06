"""An app that the official `flash deploy` deployed, called from Python: by our SDK, by the official one, by its endpoints.

Each call is made twice: to our workers, which serve the build, and to the official `runpod` worker that runs the
handlers of the build, as on Runpod.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from platform_support import Endpoint, Platform, until

#: Official workers take their time to start, and many start at once.
pytestmark = [pytest.mark.official, pytest.mark.xdist_group("deployed"), pytest.mark.timeout(300)]

HERE = Path(__file__).resolve().parent


class Deployed:
    """An app in its folder, and its endpoints on the platform."""

    def __init__(self, root: Path, platform: Platform, environment: dict[str, str], official: Path) -> None:
        self.root = root
        self.platform = platform
        self.environment = environment | platform.variables | {"RUNPOD_FLASH_SILENCE_DEPRECATION": "1", "CI": "1"}
        self.official = official
        self.run(official.parent / "flash", "deploy", "--env", "production")
        manifest = json.loads((root / ".flash" / "flash_manifest.json").read_text())
        self.ids = {name: resource["endpoint_id"] for name, resource in manifest["resources"].items()}

    def run(self, *command: str | Path, **env: str | None) -> str:
        """Run a program in the app's folder; return what it printed."""
        variables = self.environment | {"PYTHONPATH": str(self.root)} | env
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.root,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint as a client sees it."""
        return self.platform.endpoint(self.ids[name])

    def calls(self, *names: str, python: str | Path = sys.executable, **env: str | None) -> dict[str, Any]:
        """Make calls of `deployed_client.py`, by our SDK or another."""
        printed = self.run(python, "-W", "ignore", HERE / "deployed_client.py", *names, **env)
        found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
        return found

    def script(self, text: str, **env: str | None) -> Any:
        """Run a program of our SDK; return the JSON that it printed last."""
        printed = self.run(sys.executable, "-c", textwrap.dedent(text), **env)
        return json.loads(printed.strip().splitlines()[-1])


def deploy(
    name: str, platform: Platform, official: Path, environment: dict[str, str], factory: pytest.TempPathFactory
) -> Deployed:
    """Deploy the app under another name, which is that of its folder."""
    root = factory.mktemp("deployed") / name
    shutil.copytree(HERE / "deployed_app", root, ignore=shutil.ignore_patterns("__pycache__"))
    return Deployed(root, platform, environment, official)


@pytest.fixture(scope="module")
def deployed(
    platform: Platform, official: Path, session_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Deployed:
    """The app on our workers."""
    return deploy("dep-shop", platform, official, session_environment, tmp_path_factory)


@pytest.fixture(scope="module")
def cloud(
    platform: Platform, official: Path, session_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Deployed:
    """The app on official workers, which run the handlers of the build, as on Runpod."""
    app = deploy("dep-cloud", platform, official, session_environment, tmp_path_factory)
    build = app.root.parent / "build"
    with tarfile.open(app.root / ".flash" / "artifact.tar.gz") as archive:
        archive.extractall(build, filter="data")
    for name, id in app.ids.items():
        command = [str(official), "-u", f"handler_{name}.py"]
        if name == "dep-api":
            text = f"import os, uvicorn; uvicorn.run('handler_{name}:app', port=int(os.environ['PORT']))"
            command = [str(official), "-u", "-c", text]
        # They start slowly, and are kept for the next test.
        change = {"command": command, "directory": str(build), "workers": {"idleTimeout": 600}}
        answer = platform.request("PATCH", f"/v2/serverless/{id}", change)
        assert answer.status_code == 200, answer.text
    return app


FLOATS = [0.1, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3, 2**53 + 1, 10**30]
#: What both SDKs give, whichever worker serves the app.
VALUES: dict[str, Any] = {
    "defaults": {"sum": 3, "label": ""},
    "named": {"sum": 4, "label": "é"},
    "none": ["NoneType", None],
    "by keyword": ["NoneType", None],
    "deep": ["dict", {"a": [1, None, "é\u0000\U0001f600", 1.5, True, {}], "": {"b": []}}],
    "floats": ["list", FLOATS],
    "tuple": ["list", [1, [2, 3]]],
    "false": ["bool", False],
    "empty text": ["str", ""],
    "empty list": ["list", []],
    "nothing": 1,
    "own names": ["a", 1, "n", 2, {"other": [3]}],
    "guide": {"result": "processed", "got": {"your": "data"}},
    "guide keyword": {"result": "processed", "got": {"input": {"a": 1}}},
    "result with a null error": {"status": "error", "text": "no such voice"},
    "single": [1, 1],
    "route": {"hello": "route", "n": 1},
}
FAILURES = {"own error": "VoiceError('no such voice')", "builtin error": "KeyError('k')"}
REFUSED = {
    "set": ("ArgumentEncodingError", "argument `value` of echo() cannot be sent as JSON: it is of type `set`"),
    "bytes": ("ArgumentEncodingError", "argument `value` of echo() cannot be sent as JSON: it is of type `bytes`"),
    "constructor": ("TypeError", "Counter(...) was made with arguments, which a deployed worker does not get"),
    "unknown method": ("AttributeError", "'Counter' object has no attribute 'typo'"),
    "missing": ("TypeError", "sums() missing a required argument: 'a'"),
    "surplus": ("TypeError", "sums() too many positional arguments"),
    "unknown keyword": ("TypeError", "sums() got an unexpected keyword argument 'typo'"),
}


@pytest.mark.parametrize("sdk", ["ours", "official"])
@pytest.mark.parametrize("workers", ["deployed", "cloud"])
def test_values_come_back_as_they_were_sent(
    request: pytest.FixtureRequest, official: Path, workers: str, sdk: str
) -> None:
    app: Deployed = request.getfixturevalue(workers)
    names = [*VALUES, "state", "async method"]
    if sdk == "official":
        # Its own parameters have these names.
        names.remove("own names")
    found = app.calls(*names, python=sys.executable if sdk == "ours" else official)
    expected = {name: {"value": value} for name, value in VALUES.items() if name in names}
    assert {name: value for name, value in found.items() if name in VALUES} == expected
    # One object for all calls of the worker, whoever makes them.
    assert found["state"] == found["async method"]
    assert found["state"]["value"] >= 12


@pytest.mark.parametrize("workers", ["deployed", "cloud"])
def test_remote_exception_comes_with_its_class_and_traceback(request: pytest.FixtureRequest, workers: str) -> None:
    app: Deployed = request.getfixturevalue(workers)
    found = app.calls(*FAILURES, "method error", "static method")
    for name, cause in FAILURES.items():
        assert (found[name]["error"], found[name]["cause"]) == ("JobFailedError", cause), found[name]
    assert found["method error"]["cause"] == "VoiceError('in a method')"
    assert "raise VoiceError(text)" in found["own error"]["text"]
    assert ", in fail" in found["builtin error"]["text"]
    # A build serves the methods of the class's own body, and says so.
    assert "unknown method 'double' on Counter" in found["static method"]["text"]


def test_call_that_cannot_arrive_is_refused_and_not_sent(deployed: Deployed) -> None:
    before = deployed.endpoint("dep-echo").health()["jobs"]
    found = deployed.calls(*REFUSED)
    for name, (error, text) in REFUSED.items():
        assert found[name]["error"] == error, found[name]
        assert text in found[name]["text"]
    assert deployed.endpoint("dep-echo").health()["jobs"] == before


@pytest.mark.parametrize("workers", ["deployed", "cloud"])
def test_endpoints_of_an_app_call_each_other(request: pytest.FixtureRequest, workers: str) -> None:
    app: Deployed = request.getfixturevalue(workers)
    found = app.calls("caller", "catcher")
    caller = found["caller"]["value"]
    assert caller.pop("up") > 10
    assert caller == {"sum": 6, "many": [2, 3, 4], "none": ["NoneType", None]}
    assert "deep down" in found["catcher"]["value"]["text"]


def test_generators_of_other_endpoints_give_their_items(deployed: Deployed) -> None:
    found = deployed.calls("taker", "list", "async list", "generator error")
    numbers = [{"number": 0}, {"number": 1}]
    assert found["taker"] == {"value": {"list": numbers, "items": [0, 1]}}
    assert found["list"] == {"value": [*numbers, {"number": 2}]}
    assert found["async list"] == {"value": [0, 1]}
    assert found["generator error"]["cause"] == "VoiceError('after 1')"


def test_items_come_while_the_generator_runs(deployed: Deployed, tmp_path: Path) -> None:
    # The worker goes on only when the first item has arrived here.
    text = """
        import asyncio, json, pathlib, sys
        from shop import VoiceError, items, later

        async def main(gate):
            seen = []
            for name, calls in (("sync", items), ("async", later)):
                path = gate / name
                async for item in calls(3, gate=str(path)):
                    seen.append(item)
                    path.touch()
            try:
                async for item in later(3, fail_after=2):
                    seen.append(item)
            except Exception as error:
                seen.append(repr(error.__cause__))
            return seen

        print(json.dumps(asyncio.run(main(pathlib.Path(GATE)))))
        """.replace("GATE", repr(str(tmp_path)))
    numbers = [{"number": number} for number in range(3)]
    assert deployed.script(text) == [*numbers, 0, 1, 2, 0, 1, "VoiceError('after 2')"]


def test_generator_that_nobody_takes_from_is_cancelled(deployed: Deployed, tmp_path: Path) -> None:
    text = """
        import asyncio, json
        from shop import later

        async def main():
            items = later(1000, gate=GATE).__aiter__()
            first = await items.__anext__()
            await items.aclose()
            return first

        print(json.dumps(asyncio.run(main())))
        """.replace("GATE", repr(str(tmp_path / "never")))
    assert deployed.script(text) == 0
    endpoint = deployed.endpoint("dep-later")
    until(lambda: endpoint.health()["jobs"]["inProgress"] == 0, why="the job goes on")
    assert "CANCELLED" in [job["status"] for job in endpoint.answered("GET", "requests")["requests"]]


def test_client_of_a_deployed_endpoint_takes_jobs_streams_and_blocks(deployed: Deployed) -> None:
    text = """
        import asyncio, json
        from runpod_flash import Endpoint
        from runpod_flash.errors import JobFailedError

        items, sums, failing = (Endpoint(id=IDS[name]) for name in ("dep-items", "dep-sums", "dep-failing"))
        seen = {}

        async def main():
            job = await items.run({"n": 3})
            seen["job"] = [item["number"] async for item in job]
            seen["status"] = [await job.status(), job.done, job.error, job.id != "", (await job.wait()) is job]
            seen["awaited"] = await job
            seen["input"] = [item["number"] async for item in items.stream({"n": 2})]
            done = await sums.runsync({"a": 1, "b": 1})
            seen["done"] = [done.output, done.worker_id != "", done.delay_time >= 0, done.execution_time >= 0]

        asyncio.run(main())
        # Without a loop.
        job = sums.blocking.run({"a": 2})
        seen["result"] = [job.result(timeout=60), job.blocking.status(), job.output]
        seen["blocking"] = [sums.blocking.runsync({"a": 5}).output, sums.blocking.status(job.id).id == job.id]
        seen["blocking stream"] = [item["number"] for item in items.blocking.stream({"n": 2})]
        seen["of a job"] = [item["number"] for item in items.blocking.run({"n": 2}).blocking.stream()]
        try:
            failing.blocking.run({"kind": "builtin"}).result(timeout=60)
        except JobFailedError as error:
            seen["failed"] = [repr(error.__cause__), "raise KeyError(text)" in error.remote_traceback]
        seen["refused"] = sums.blocking.runsync({"a": "x"}).error
        print(json.dumps(seen))
        """.replace("IDS", repr(deployed.ids))
    found = deployed.script(text)
    assert "a: Input should be a valid integer" in found.pop("refused")
    result = {"sum": 4, "label": ""}
    assert found == {
        "job": [0, 1, 2],
        "status": ["COMPLETED", True, None, True, True],
        "awaited": [{"number": 0}, {"number": 1}, {"number": 2}],
        "input": [0, 1],
        "done": [{"sum": 2, "label": ""}, True, True, True],
        "result": [result, "COMPLETED", result],
        "blocking": [{"sum": 7, "label": ""}, True],
        "blocking stream": [0, 1],
        "of a job": [0, 1],
        "failed": ["KeyError('no such voice')", True],
    }


@pytest.mark.parametrize("workers", ["deployed", "cloud"])
def test_routes_of_a_deployed_app_answer_a_client(request: pytest.FixtureRequest, workers: str) -> None:
    app: Deployed = request.getfixturevalue(workers)
    text = """
        import asyncio, json
        from runpod_flash import Endpoint

        async def main():
            api = Endpoint(id=API)
            seen = [
                await api.get("/hello", params={"name": "é", "n": 2}),
                await api.post("/sum", {"a": 2}),
                await api.put("/items/k", {"value": {"b": 1}}),
                await api.patch("/items/k", {"value": [1]}),
                await api.delete("/items/k"),
            ]
            for path, body in (("/sum", {"b": 1}), ("/nowhere", {}), ("/fail", None)):
                try:
                    await api.post(path, body)
                except Exception as error:
                    seen.append([type(error).__name__, error.status_code])
            return seen

        print(json.dumps(asyncio.run(main())))
        """.replace("API", repr(app.ids["dep-api"]))
    assert app.script(text) == [
        {"hello": "é", "n": 2},
        {"sum": 3, "label": ""},
        {"k": {"b": 1}},
        {"k": [1]},
        {"deleted": "k"},
        ["InvalidRequestError", 422],
        ["NotFoundError", 404],
        ["ServiceUnavailableError", 500],
    ]


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"FLASH_ENV": "staging"}, "endpoint 'dep-sums' not found in app 'dep-shop' environment 'staging'"),
        ({"FLASH_APP": "dep-nowhere"}, "endpoint 'dep-sums' not found in app 'dep-nowhere' environment 'production'"),
    ],
)
def test_what_is_not_deployed_says_which_command_helps(deployed: Deployed, env: dict[str, str], text: str) -> None:
    (found,) = deployed.calls("defaults", **env).values()
    assert found["error"] == "NotFoundError"
    for part in (text, "flash deploy", "flash run", "FLASH_TARGET=local"):
        assert part in found["text"]


def test_wrong_key_is_refused_and_not_shown(deployed: Deployed) -> None:
    (found,) = deployed.calls("defaults", RUNPOD_API_KEY="rpa_not_the_right_key").values()
    assert found["error"] == "AuthenticationError"
    assert "flash login" in found["text"]
    assert "rpa_not" not in found["text"]


def test_call_that_takes_too_long_ends_and_takes_its_job_along(deployed: Deployed) -> None:
    text = """
        import asyncio, json
        from shop import slow

        async def main():
            try:
                await slow(100)
            except Exception as error:
                return [type(error).__name__, isinstance(error, TimeoutError), str(error)]

        print(json.dumps(asyncio.run(main())))
        """
    kind, is_timeout, message = deployed.script(text, FLASH_SENTINEL_TIMEOUT="4")
    assert (kind, is_timeout) == ("DeadlineExceededError", True)
    assert "FLASH_SENTINEL_TIMEOUT" in message
    endpoint = deployed.endpoint("dep-slow")
    until(lambda: endpoint.health()["jobs"]["inProgress"] == 0, why="the job goes on")


def test_arrays_are_refused_and_their_lists_arrive_bit_for_bit(deployed: Deployed) -> None:
    text = """
        import asyncio, json, numpy
        from shop import echo

        async def main():
            array = numpy.random.default_rng(7).standard_normal(1000)
            array[:3] = [5e-324, -0.0, 1.7976931348623157e308]
            kind, values = await echo(array.tolist())
            seen = [kind, numpy.array(values).tobytes() == array.tobytes()]
            for value in (array, numpy.float64(1.5), {"deep": [numpy.int8(1)]}):
                try:
                    await echo(value)
                except TypeError as error:
                    seen.append(str(error))
            return seen

        print(json.dumps(asyncio.run(main())))
        """
    kind, is_same, array, *rest = deployed.script(text)
    assert (kind, is_same) == ("list", True)
    assert "argument `value` of echo() cannot be sent as JSON: it is of type `numpy.ndarray`" in array
    assert ".tolist()" in array
    assert "echo()['deep'][0] cannot be sent as JSON: it is of type `numpy.int8`" in rest[-1]


def test_code_of_a_worker_calls_its_app_by_name(deployed: Deployed, tmp_path: Path) -> None:
    # What Runpod sets in a worker of ours; the folder is another one, and has another name.
    text = "import asyncio, json, os, shop; os.chdir(FOLDER); print(json.dumps(asyncio.run(shop.call(2))))"
    worker = {
        "RUNPOD_ENDPOINT_ID": "e-1",
        "FLASH_RESOURCE_NAME": "dep-caller",
        "FLASH_APP": "dep-shop",
        "FLASH_ENV": "production",
    }
    found = deployed.script(text.replace("FOLDER", repr(str(tmp_path))), **worker)
    assert found["sum"] == 4
    assert found["many"] == [2, 3, 4]


def test_bodies_of_the_guide_complete(deployed: Deployed, cloud: Deployed) -> None:
    official_body = {"input": {"your": "data"}}
    for body in ({"your": "data"}, official_body):
        answer = deployed.endpoint("dep-guide").runsync(body)
        assert (answer["status"], answer["output"]["got"]) == ("COMPLETED", {"your": "data"})
    # The handlers that 1.21 builds take the second form alone.
    answer = cloud.endpoint("dep-guide").runsync(official_body)
    assert (answer["status"], answer["output"]["got"]) == ("COMPLETED", {"your": "data"})
    assert cloud.endpoint("dep-guide").runsync({"your": "data"})["status"] == "FAILED"
