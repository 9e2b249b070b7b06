"""The old API on Runpod, which a `flash platform` is here: live calls, resources deployed and removed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from platform_support import Platform

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[[dict[str, str]], Any]

LIVE = """
    import asyncio, warnings
    warnings.simplefilter("ignore")
    from runpod_flash import CpuLiveServerless, LiveServerless, remote

    STEP = 10

    @remote(CpuLiveServerless(name="legacy-function"))
    async def add(value: int) -> int:
        return value + STEP

    @remote(resource_config=LiveServerless(name="legacy-class", workersMax=2))
    class Counter:
        def __init__(self, start: int) -> None:
            self.value = start

        def up(self, by: int) -> int:
            self.value += by
            return self.value

    async def main() -> None:
        counter = Counter(100)
        print(await add(5), await counter.up(by=1))

    if __name__ == "__main__":
        asyncio.run(main())
    """

RESOURCES = """
    import asyncio, json, warnings
    warnings.simplefilter("ignore")
    from runpod_flash import LiveServerless, NetworkVolume, ResourceManager
    from runpod_flash.core.resources import ServerlessEndpoint

    async def main() -> None:
        volume = NetworkVolume(name="legacy-volume", size=10)
        resource = LiveServerless(name="legacy-resource", workersMax=1, env={"A": "b"})
        assert await resource.deploy() is resource
        again = LiveServerless(name="legacy-resource", workersMax=1, env={"A": "b"})
        await again.deploy()
        manager = ResourceManager()
        found = manager.find_resources_by_name("legacy-resource")
        print(json.dumps({
            "same": again.id == resource.id,
            "url": resource.endpoint_url,
            "is_deployed": await resource.is_deployed(),
            "found": [key for key, _ in found],
            "by_id": [key for key, _ in manager.find_resources_by_provider_id(resource.id)],
            "volume": (await volume.deploy()).id == (await NetworkVolume(name="legacy-volume", size=10).deploy()).id,
            "undeployed": await resource.undeploy(),
            "left": list(manager.list_all_resources()),
            "gone": not await resource.is_deployed(),
        }))

    asyncio.run(main())
    """

APPS = """
    import asyncio, json
    from pathlib import Path
    from runpod_flash import FlashApp
    from runpod_flash.core.resources.app import FlashAppNotFoundError, FlashEnvironmentNotFoundError

    async def refused(work):
        try:
            await work
        except Exception as error:
            return type(error).__name__
        return "nothing"

    async def main() -> None:
        missing = await refused(FlashApp.from_name("legacy-missing"))
        app, environment = await FlashApp.create_environment_and_app("legacy-app", "staging")
        again = await FlashApp.get_or_create("legacy-app")
        Path(".flash").mkdir()
        Path(".flash/flash_manifest.json").write_text(json.dumps({"version": "1.0", "resources": {}}))
        Path("build.tar.gz").write_bytes(b"\\x1f\\x8b" + b"0" * 100)
        sent = []
        FlashApp._upload_progress_callback = sent.append
        build = await app.upload_build("build.tar.gz")
        await app.update_build_manifest(build["id"], {"version": "1.0", "resources": {}, "note": "changed"})
        print(json.dumps({
            "missing": missing,
            "same": again.id == app.id,
            "environments": [one["name"] for one in await app.list_environments()],
            "no_environment": await refused(app.get_environment_by_name("nowhere")),
            "builds": [one["id"] for one in await app.list_builds()] == [build["id"]],
            "note": (await app.get_build_manifest(build["id"]))["note"],
            "listed": "legacy-app" in [one["name"] for one in await FlashApp.list()],
            "deleted": [await app.delete_environment("staging"), await FlashApp.delete(app_name="legacy-app")],
            "after": await refused(FlashApp.from_name("legacy-app")),
        }))

    asyncio.run(main())
    """


def test_functions_and_classes_of_the_old_api_run_live(platform: Platform, project: MakeProject, run: Run) -> None:
    root = project({"app.py": LIVE}).root
    variables = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    answer = run(sys.executable, "app.py", cwd=root, env=variables, timeout=90)
    assert answer.stdout.strip() == "15 101", answer.stderr
    tracked = json.loads((root / ".flash" / "resources.json").read_text())["endpoints"]
    assert {entry["name"] for entry in tracked} == {"live-legacy-function", "live-legacy-class"}
    assert {entry["class"] for entry in tracked} == {"CpuLiveServerless", "LiveServerless"}


def test_resource_is_deployed_found_and_removed(platform: Platform, project: MakeProject, run: Run) -> None:
    root = project({"app.py": RESOURCES}).root
    answer = run(sys.executable, "app.py", cwd=root, env=platform.variables, timeout=90)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found.pop("url").startswith(platform.variables["RUNPOD_ENDPOINT_BASE_URL"])
    assert found.pop("undeployed")["success"] is True
    assert found == {
        "same": True,
        "is_deployed": True,
        "found": ["LiveServerless:legacy-resource"],
        "by_id": ["LiveServerless:legacy-resource"],
        "volume": True,
        "left": [],
        "gone": True,
    }


JOBS = """
    import asyncio, json, os, warnings
    warnings.simplefilter("ignore")
    from runpod_flash.core.resources import ServerlessEndpoint

    async def main() -> None:
        resource = ServerlessEndpoint(name="own", imageName="mine:1")
        resource.id = os.environ["ENDPOINT"]
        done = [await resource.run({"input": {"value": 3}}), await resource.runsync({"input": {"value": 4}})]
        print(json.dumps([[one.status, one.output, bool(one.id), type(one).__name__] for one in done]))

    asyncio.run(main())
    """


def test_jobs_of_a_resource_end_as_models(
    platform: Platform, official_endpoint: Callable[..., Any], project: MakeProject, run: Run
) -> None:
    root = project({"app.py": JOBS}).root
    variables = {**platform.variables, "ENDPOINT": official_endpoint("sync").id}
    answer = run(sys.executable, "app.py", cwd=root, env=variables, timeout=90)
    assert answer.returncode == 0, answer.stderr
    for status, output, has_id, kind in json.loads(answer.stdout):
        assert (status, has_id, kind) == ("COMPLETED", True, "JobOutput")
        assert output is not None


def test_apps_are_managed(platform: Platform, project: MakeProject, run: Run) -> None:
    root = project({"app.py": APPS}).root
    answer = run(sys.executable, "app.py", cwd=root, env=platform.variables, timeout=90)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {
        "missing": "FlashAppNotFoundError",
        "same": True,
        "environments": ["staging"],
        "no_environment": "FlashEnvironmentNotFoundError",
        "builds": True,
        "note": "changed",
        "listed": True,
        "deleted": [True, True],
        "after": "FlashAppNotFoundError",
    }
