"""Endpoints of images of one's own, from nothing to their answers; what is made of each is what 1.21 makes.

The platform runs no containers: an image has the command that `flash platform run-worker` gives its endpoint, here an
official worker that knows nothing of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from platform_support import HANDLERS, HERE, Official, Platform
from runpod_flash import Endpoint, errors
from support import FLASH, Project

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[[dict[str, str]], Project]


@pytest.fixture
def here(platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point this process at the platform, in a folder of its own."""
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def give_command(platform: Platform, name: str, command: list[str], *options: str) -> None:
    """Do what the platform's reason says."""
    done = subprocess.run(
        [
            FLASH,
            "platform",
            "run-worker",
            "--url",
            platform.url,
            "--token",
            platform.token,
            "--endpoint",
            name,
            *options,
            "--",
            *command,
        ],
        cwd=HANDLERS,
        env=platform.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"changed endpoint `{name}`" in done.stderr


def made(platform: Platform, name: str) -> list[dict[str, Any]]:
    """Return the endpoints of a name."""
    return [one for one in platform.get("/v2/serverless").json()["endpoints"] if one["name"] == name]


async def test_image_is_called_from_its_first_job_to_its_last(
    platform: Platform, official_python: Official, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = Endpoint(name="image-jobs", image="mine/jobs:1", cpu="cpu3c-1-2", workers=2, env={"MINE": "1"})
    # A hundred first calls make one endpoint.
    jobs = await asyncio.gather(*(image.run({"number": number}) for number in range(100)))
    (endpoint,) = made(platform, "image-jobs")
    assert (endpoint["type"], endpoint["image"], endpoint["env"]) == ("QUEUE", "mine/jobs:1", {"MINE": "1"})
    assert capfd.readouterr().err.count("making `image-jobs`") == 1
    # Nothing runs it: who waits learns why, and what to do.
    with pytest.raises(errors.ServiceUnavailableError, match="flash platform run-worker") as refused:
        await asyncio.wait_for(jobs[0].wait(), 60)
    assert "image `mine/jobs:1`" in str(refused.value)
    assert refused.value.job_id == jobs[0].id
    with pytest.raises(errors.ServiceUnavailableError, match="its worker is unhealthy"):
        await asyncio.wait_for(anext(aiter(jobs[0])), 60)
    assert (await image.health())["workers"]["unhealthy"] == 1
    assert (await image.purge_queue())["removed"] == 100
    job = await image.run({"number": 7})
    give_command(platform, "image-jobs", official_python.worker("sync"))
    # What waited is run.
    assert (await job)["echo"] == {"number": 7}
    assert (job.done, job.error, await job.status()) == (True, None, "COMPLETED")
    done = await image.runsync({"do": "environment"})
    assert done.output["MINE"] == "1"
    assert "RUNPOD_API_KEY" not in done.output
    assert (await image.status(job.id)).output["echo"] == {"number": 7}
    assert job.id in json.dumps(await image.requests())
    failed = await image.run({"do": "raise"})
    with pytest.raises(errors.JobFailedError, match="boom é") as caught:
        await failed
    assert isinstance(caught.value.__cause__, ValueError)
    assert not (await image.retry(failed.id)).done
    assert (await failed.wait()).error
    slow = await image.run({"seconds": 100})
    await image.cancel(slow.id)
    assert await slow.status() == "CANCELLED"
    # Another object, or another process, finds it.
    again = Endpoint(name="image-jobs", image="mine/jobs:1", cpu="cpu3c-1-2", workers=2, env={"MINE": "1"})
    assert (await again.runsync({"a": 1})).output["echo"] == {"a": 1}
    assert len(made(platform, "image-jobs")) == 1


async def test_image_streams_what_its_worker_yields(platform: Platform, official_python: Official, here: Path) -> None:
    image = Endpoint(name="image-items", image="mine/items:1", cpu="cpu3c-1-2")
    job = await image.run({"count": 2})
    give_command(platform, "image-items", official_python.worker("generator"))
    assert [item["number"] async for item in job] == [0, 1]
    assert [item["number"] async for item in image.stream({"count": 3})] == [0, 1, 2]
    # Without a loop.
    count = await asyncio.to_thread(lambda: len(list(image.blocking.stream({"count": 4}))))
    assert count == 4


async def test_image_that_answers_requests_is_a_load_balanced_endpoint(platform: Platform, here: Path) -> None:
    image = Endpoint(name="image-http", image="mine/http:1", cpu="cpu3c-1-2", env={"MINE": "1"})
    with pytest.raises(errors.ServiceUnavailableError, match="flash platform run-worker"):
        await asyncio.wait_for(image.post("/first", {"a": 1}), 60)
    (endpoint,) = made(platform, "image-http")
    assert (endpoint["type"], endpoint["scaling"]["type"]) == ("LOAD_BALANCER", "REQUEST_COUNT")
    worker = [sys.executable, str(HERE / "platform_http_worker.py")]
    give_command(platform, "image-http", worker, "--load-balanced")
    for method in ("get", "post", "put", "patch", "delete"):
        data = None if method == "get" else {"é": 1}
        found = await getattr(image, method)("/v1/x", data, params={"n": [1, 2]}, headers={"X-Mine": "yes"})
        sent = {name.lower(): value for name, value in found["headers"]}
        assert (found["method"], found["target"]) == (method.upper(), "/v1/x?n=1&n=2")
        assert sent["x-mine"] == "yes"
        assert "authorization" not in sent
        assert found["length"] == (0 if data is None else len('{"é":1}'.encode()))
    with pytest.raises(errors.NotFoundError):
        await image.get("/x?status=404")
    assert await asyncio.to_thread(lambda: image.blocking.get("/y")["target"]) == "/y"
    # Jobs need a queue: the image gets an endpoint of that kind, too.
    job = await image.run({"a": 1})
    assert {one["type"] for one in made(platform, "image-http")} == {"LOAD_BALANCER", "QUEUE"}
    await job.cancel()


async def test_load_balanced_image_with_the_scaler_of_a_queue_is_refused(platform: Platform, here: Path) -> None:
    from runpod_flash import ServerlessScalerType

    image = Endpoint(name="image-scaler", image="mine:1", cpu="cpu3c-1-2", scaler_type=ServerlessScalerType.QUEUE_DELAY)
    with pytest.raises(ValueError, match="requires REQUEST_COUNT scaler"):
        await image.get("/x")
    assert made(platform, "image-scaler") == []


async def test_short_wait_says_why_the_job_waits(platform: Platform, here: Path) -> None:
    image = Endpoint(name="image-short", image="mine/short:1", cpu="cpu3c-1-2")
    with pytest.raises(errors.DeadlineExceededError, match="image `mine/short:1`"):
        await image.runsync({}, timeout=8)


#: Makes endpoints of images, by both SDKs; `WHO` is in their names.
MAKES = """
    import asyncio, json, os, sys, warnings
    warnings.simplefilter("ignore")
    import runpod_flash
    from runpod_flash import CpuInstanceType, DataCenter, Endpoint, GpuGroup, GpuType, NetworkVolume, PodTemplate
    from runpod_flash.core.resources import (
        CpuLoadBalancerSlsResource, CpuServerlessEndpoint, LoadBalancerSlsResource, ServerlessEndpoint,
    )

    who = sys.argv[1]
    volume = lambda: NetworkVolume(name="image-volume", size=10, **VOLUME)
    images = {
        "plain": dict(gpu=GpuGroup.ADA_24),
        "cpu": dict(cpu="cpu3c-2-4", workers=(1, 3)),
        "full": dict(
            gpu=[GpuType.NVIDIA_GEFORCE_RTX_4090, GpuGroup.AMPERE_80], gpu_count=2, workers=(0, 4), idle_timeout=30,
            env={"A": "1", "B": ""}, volume=volume(), datacenter=DataCenter.EU_RO_1, execution_timeout_ms=90000,
            flashboot=False, scaler_value=7, template=PodTemplate(containerDiskInGb=100, dockerArgs="serve --all"),
            min_cuda_version="12.9",
        ),
    }
    resources = {
        "queue": ServerlessEndpoint(
            name=f"image-{who}-queue", imageName="mine/q:1", gpus=[GpuGroup.ADA_24], workersMax=2, env={"A": "1"},
        ),
        "queue-volume": ServerlessEndpoint(
            name=f"image-{who}-queue-volume", imageName="mine/q:2", gpus=[GpuGroup.ANY], networkVolume=volume(),
            datacenter=DataCenter.EU_RO_1, idleTimeout=9, scalerValue=3, flashboot=False,
        ),
        "queue-cpu": CpuServerlessEndpoint(
            name=f"image-{who}-queue-cpu", imageName="mine/q:3", instanceIds=[CpuInstanceType.CPU5C_1_2], workersMin=1,
        ),
        "balanced": LoadBalancerSlsResource(
            name=f"image-{who}-balanced", imageName="mine/b:1", gpus=[GpuGroup.ADA_24], env={"A": "1"}, workersMax=3,
        ),
        "balanced-cpu": CpuLoadBalancerSlsResource(name=f"image-{who}-balanced-cpu", imageName="mine/b:2"),
    }

    async def main():
        for name, options in images.items():
            job = await Endpoint(name=f"image-{who}-{name}", image=f"mine/{name}:1", **options).run({})
            assert job.id
        deployed = [await resource.deploy() for resource in resources.values()]
        print(json.dumps([resource.id for resource in deployed]))

    asyncio.run(main())
    """
KINDS = ["plain", "cpu", "full", "queue", "queue-volume", "queue-cpu", "balanced", "balanced-cpu"]


@pytest.mark.official
def test_endpoints_of_images_are_made_as_1_21_makes_them(
    platform: Platform, official: Path, project: MakeProject, run: Run
) -> None:
    for who, python in (("ours", sys.executable), ("theirs", official)):
        text = MAKES.replace("VOLUME", '{"datacenter": DataCenter.EU_RO_1}')
        root = project({f"{who}/app.py": text}).root / who
        done = run(python, "app.py", who, cwd=root, env=platform.variables, timeout=110)
        assert done.returncode == 0, done.stderr
    #: Other for each of both, or said on purpose.
    own = {"id", "name", "templateId", "createdAt", "requestUrls", "url", "aiKey"}
    for kind in KINDS:
        found = {}
        for who in ("ours", "theirs"):
            (endpoint,) = made(platform, f"image-{who}-{kind}")
            # 1.21 gives every endpoint the account's key.
            assert ("RUNPOD_API_KEY" in endpoint["env"]) == (who == "theirs"), kind
            endpoint["env"].pop("RUNPOD_API_KEY", None)
            found[who] = {name: value for name, value in endpoint.items() if name not in own}
        assert found["ours"] == found["theirs"], kind


REMOTE = """
    import asyncio, json, os, sys, warnings
    warnings.simplefilter("ignore")
    from runpod_flash import Endpoint, remote
    from runpod_flash.core.resources import CpuServerlessEndpoint, LoadBalancerSlsResource, ServerlessEndpoint

    queue = ServerlessEndpoint(name="image-remote", imageName="mine/remote:1")
    cpu = CpuServerlessEndpoint(name="image-remote-cpu", imageName="mine/remote:2")
    balanced = LoadBalancerSlsResource(name="image-remote-http", imageName="mine/remote:3")

    @remote(queue)
    def ask(number):
        return {"input": {"do": "return", "value": number * 2}}

    @remote(cpu)
    async def ask_cpu(number):
        return {"input": {"do": "return", "value": {"falsy": number}}}

    @remote(queue)
    def fails():
        return {"input": {"do": "raise"}}

    @remote(balanced, method="POST", path="/double")
    def double(x: int):
        return 2 * x

    async def deploy():
        return [(await resource.deploy()).id for resource in (queue, cpu, balanced)]

    async def call():
        await deploy()
        seen = [await ask(4), await ask(0), await ask_cpu(0), double(4)]
        try:
            await fails()
        except Exception as error:
            seen.append([type(error).__name__, "boom" in str(error)])
        job = await cpu.runsync({"input": {"do": "return", "value": [1]}})
        seen.append([job.status, job.output])
        return [*seen, (await Endpoint(id=balanced.id).get("/x"))["target"], balanced.endpoint_url]

    print(json.dumps(asyncio.run({"deploy": deploy, "call": call}[sys.argv[1]]())))
    """


@pytest.mark.official
def test_old_api_calls_an_image(platform: Platform, official_python: Official, project: MakeProject, run: Run) -> None:
    root = project({"app.py": REMOTE}).root
    env = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}

    def ask(what: str) -> Any:
        done = run(sys.executable, "app.py", what, cwd=root, env=env, timeout=90)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ids = ask("deploy")
    worker = official_python.worker("sync")
    http = [sys.executable, str(HERE / "platform_http_worker.py")]
    for id, command in zip(ids, (worker, worker, http), strict=True):
        body = {"command": command, "directory": str(HANDLERS)}
        assert platform.request("PATCH", f"/v2/serverless/{id}", body).status_code == 200
    *seen, url = ask("call")
    assert seen == [8, 0, {"falsy": 0}, 8, ["JobFailedError", True], ["COMPLETED", [1]], "/x"]
    assert ids[2] in url


@pytest.mark.official
def test_function_of_an_image_without_a_worker_ends_with_the_reason(
    platform: Platform, project: MakeProject, run: Run
) -> None:
    root = project({"app.py": REMOTE.replace("image-remote", "image-lost").replace("mine/remote", "mine/lost")}).root
    env = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(
        sys.executable, "-c", "import app, asyncio; asyncio.run(app.ask(1))", "deploy", cwd=root, env=env, timeout=90
    )
    assert done.returncode == 1
    assert "containers are not run on this machine" in done.stderr
    assert os.path.exists(root / ".flash" / "resources.json")
