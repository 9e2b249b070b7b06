"""Official Flash against the platform: live calls and deployed apps run on our own workers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from platform_support import Platform
from support import Project

IMAGE = "runpod/flash-cpu:py3.12-latest"
APP = """
from runpod_flash import Endpoint


@Endpoint(name="adder", cpu="cpu3c-1-2")
async def add(a: int, b: int = 2):
    print("adding")
    return {"sum": a + b}


@Endpoint(name="counter", cpu="cpu3c-1-2")
class Counter:
    def __init__(self, start: int = 10):
        self.n = start

    def up(self, by: int = 1):
        self.n += by
        return self.n

    def down(self):
        self.n -= 1
        return self.n


@Endpoint(name="failing", cpu="cpu3c-1-2")
async def fail(text: str):
    raise ValueError(text)
"""


@pytest.fixture
def flash_client(official: Path, platform: Platform, environment: dict[str, str]) -> Callable[..., str]:
    """Run official Flash in a project: `run(project, "-c", code)` or `run(project, "flash", "deploy")`."""

    def run(project: Project, *arguments: str, **env: str) -> str:
        command = [str(official.parent / "flash"), *arguments[1:]]
        if arguments[0] == "-c":
            command = [str(official), *arguments]
        result = subprocess.run(
            command,
            cwd=project.root,
            env=environment | platform.variables | {"CI": "1", "RUNPOD_FLASH_SILENCE_DEPRECATION": "1"} | env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def in_worker(platform: Platform, code: str, name: str = "probe", **fields: Any) -> Any:
    """Run the body of a function in a live worker of its own endpoint."""
    endpoint = platform.create(image=IMAGE, name=f"live-{name}", **fields)
    body = "\n".join(f"    {line}" for line in code.splitlines())
    request = {"function_name": "f", "function_code": f"def f():\n{body}", "serialization_format": "json"}
    answer = endpoint.runsync(request)
    endpoint.delete()
    assert answer["status"] == "COMPLETED", answer
    return answer["output"]["json_result"]


def test_live_functions_and_classes_answer_official_flash(
    project: Callable[..., Project], flash_client: Callable[..., str]
) -> None:
    app = project({"app.py": APP})
    code = """
import asyncio, app

async def main():
    print("sum", await app.add(5))
    counter = app.Counter(start=20)
    print("counter", await counter.up(by=2), await counter.down())
    try:
        await app.fail("too bad")
    except Exception as error:
        print("error", "too bad" in str(error), 'raise ValueError(text)' in str(error))

asyncio.run(main())
"""
    printed = flash_client(app, "-c", code, FLASH_IS_LIVE_PROVISIONING="true")
    assert "sum {'sum': 7}" in printed
    assert "counter 22 21" in printed
    assert "error True True" in printed
    assert "adding" in printed


def test_deployed_app_answers_official_flash_and_plain_json(
    project: Callable[..., Project], flash_client: Callable[..., str], platform: Platform
) -> None:
    app = project({"app.py": APP})
    flash_client(app, "flash", "deploy", "--env", "production")
    code = "import asyncio, app; print(asyncio.run(app.add(5)), asyncio.run(app.Counter().up(by=2)))"
    assert "{'sum': 7} 12" in flash_client(app, "-c", code)
    query = "query { myself { endpoints { id name } } }"
    ids = {endpoint["name"]: endpoint["id"] for endpoint in platform.graphql(query)["myself"]["endpoints"]}
    failed = platform.endpoint(ids["failing"]).runsync({"text": "too bad"})
    assert failed["status"] == "FAILED"
    assert "too bad" in failed["error"]
    missing = platform.endpoint(ids["adder"]).runsync({"b": 1})
    assert missing["status"] == "FAILED"


def test_worker_of_a_managed_endpoint_sees_its_own_variables_alone(platform: Platform) -> None:
    found = in_worker(platform, "import os\nreturn dict(os.environ)", env={"MINE": "1"})
    assert found["MINE"] == "1"
    assert not any(value == platform.token for value in found.values())
    assert found["HOME"] != os.environ.get("HOME")
    assert found["RUNPOD_ENDPOINT_BASE_URL"] == platform.api
    foreign = set(platform.environment) - {"PATH", "HOME", "TZ", "TMPDIR", "LANG", "LANGUAGE", "LD_LIBRARY_PATH"}
    foreign -= {"PYTHONUNBUFFERED"}
    leaked = {name for name in foreign & set(found) if not name.lower().endswith(("proxy", "bundle"))}
    assert not {name for name in leaked if not name.startswith(("LC_", "SSL_"))}


def test_input_that_is_no_live_call_fails_with_a_reason(platform: Platform) -> None:
    endpoint = platform.create(image=IMAGE, name="live-plain")
    answer = endpoint.runsync({"prompt": "hello"})
    assert answer["status"] == "FAILED"
    assert "live endpoint" in answer["error"]
    endpoint.delete()


def test_other_image_is_unhealthy_with_the_reason(platform: Platform) -> None:
    endpoint = platform.create(image="vllm/vllm-openai:v0.9", name="other-image")
    job = endpoint.run({"prompt": "hello"})
    assert endpoint.health()["workers"]["unhealthy"] == 1
    status = endpoint.status(job)
    assert status["status"] == "IN_QUEUE"
    assert "vllm/vllm-openai:v0.9" in str(status)
    endpoint.delete()


def test_volumes_of_two_endpoints_do_not_meet(platform: Platform) -> None:
    if os.path.lexists("/runpod-volume"):
        pytest.skip("this machine has a /runpod-volume of its own")
    code = "import os\npath = os.environ['FLASH_VOLUME_PATH']\nopen(path + '/f', 'a').write('x')\nreturn open(path + '/f').read()"
    volumes = [
        platform.post("/v2/network-volumes", {"name": name, "size": 10, "dataCenterId": "EU-RO-1"}).json()["id"]
        for name in ("one", "two")
    ]
    assert [in_worker(platform, code, networkVolumes=[{"id": id}]) for id in [*volumes, volumes[0]]] == ["x", "x", "xx"]
