"""Management of Runpod from this side: both control planes, apps and builds, against the platform of this machine."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import fault_proxy
from platform_support import Platform
from runpod_flash import _core, errors

Manage = Callable[..., Awaitable[Any]]


@pytest.fixture
def account(platform: Platform) -> Iterator[str]:
    """An account of this test alone; what is in it goes with it."""
    made = platform.post("/_platform/accounts").json()
    yield made["token"]
    platform.request("DELETE", f"/_platform/accounts/{made['account']}")


@pytest.fixture
def manage(platform: Platform, account: str, monkeypatch: pytest.MonkeyPatch) -> Manage:
    """Do an operation as a user of the platform does."""
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RUNPOD_API_KEY", account)

    async def do(operation: str, *, progress: Any = None, **arguments: Any) -> Any:
        return json.loads(await _core.manage(operation, json.dumps(arguments), progress))

    return do


def endpoint_input(**fields: Any) -> dict[str, Any]:
    """What 1.21 sends for a queue-based endpoint."""
    env = [{"key": key, "value": value} for key, value in fields.pop("env", {"A": "1"}).items()]
    template = {
        "advancedStart": False,
        "config": {},
        "containerDiskInGb": 10,
        "containerRegistryAuthId": "",
        "dockerArgs": "",
        "env": env,
        "imageName": fields.pop("image", "some/image:1"),
        "name": "template",
        "ports": "",
        "startScript": "",
    }
    return {
        "name": f"live-{uuid.uuid4().hex[:8]}",
        "type": "QB",
        "template": template,
        "instanceIds": ["cpu3c-1-2"],
        "workersMin": 0,
        "workersMax": 2,
        "idleTimeout": 60,
        "executionTimeoutMs": 0,
        "scalerType": "QUEUE_DELAY",
        "scalerValue": 4,
        "locations": "EU-RO-1",
        **fields,
    }


def seen(platform: Platform, account: str, id: str) -> dict[str, Any]:
    """An endpoint as the platform has it, without what differs from one to the next."""
    shown = platform.get(f"/v2/serverless/{id}", token=account).json()
    return {key: value for key, value in shown.items() if key not in ("id", "templateId", "requestUrls", "createdAt")}


CASES = {
    "queue on CPU": ({}, {"workersMax": 3, "idleTimeout": 5}),
    "queue on GPU": (
        {"instanceIds": None, "gpuIds": "AMPERE_24,-NVIDIA L4", "gpuCount": 2, "flashBootType": "FLASHBOOT"},
        {"instanceIds": None, "gpuIds": "ADA_24", "gpuCount": 1},
    ),
    "load-balanced": (
        {"type": "LB", "scalerType": "REQUEST_COUNT"},
        {"type": "LB", "scalerType": "REQUEST_COUNT", "executionTimeoutMs": 9000},
    ),
    "image and variables": ({"env": {"A": "1", "B": "2"}}, {"image": "some/image:2", "env": {"A": "3"}}),
    "volumes": (
        {"volumes": [{"name": "data", "size": 20, "dataCenterId": "EU-RO-1"}]},
        {"volumes": [{"name": name, "size": 20, "dataCenterId": "EU-RO-1"} for name in ("data", "more")]},
    ),
    "volume taken away": ({"volumes": [{"name": "data", "size": 20, "dataCenterId": "EU-RO-1"}]}, {}),
    "key for nested calls": ({"needsKey": True}, {}),
}


@pytest.mark.parametrize("case", CASES)
async def test_both_control_planes_do_the_same(
    case: str, platform: Platform, account: str, manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    name = f"live-{uuid.uuid4().hex[:8]}"
    for word in ("graphql", "rest"):
        monkeypatch.setenv("FLASH_CONTROL_PLANE", word)
        first, second = (
            {key: value for key, value in endpoint_input(name=name, **fields).items() if value is not None}
            for fields in CASES[case]
        )
        made = await manage("createEndpoint", **first)
        # Runpod adds its own variables.
        live = platform.get(f"/v2/serverless/{made['id']}", token=account).json()["env"]
        platform.request("PATCH", f"/v2/serverless/{made['id']}", {"env": live | {"PORT": "80"}}, token=account)
        before = seen(platform, account, made["id"])
        assert made["name"] == name
        assert ("RUNPOD_API_KEY" in before["env"]) is bool(first.get("needsKey"))
        found = await manage("getEndpoint", id=made["id"])
        assert (found["templateId"], found["type"], found["workersMax"]) == (made["templateId"], first["type"], 2)
        assert [one["id"] for one in await manage("listEndpoints")] == [made["id"]]
        changed = await manage("updateEndpoint", id=made["id"], input=second, before=first)
        assert changed["id"] == made["id"]
        after = seen(platform, account, made["id"])
        wanted = {one["key"]: one["value"] for one in second["template"]["env"]}
        assert after["env"] == wanted | {"PORT": "80"}
        assert after["image"] == second["template"]["imageName"]
        assert await manage("deleteEndpoint", id=made["id"]) is True
        assert await manage("deleteEndpoint", id=made["id"]) is False
        assert await manage("endpointExists", id=made["id"]) is False
        outcomes.append((before, after))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("word", ["graphql", "rest"])
async def test_refused_configuration_is_one_clear_error(
    word: str, manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASH_CONTROL_PLANE", word)
    wrong = endpoint_input(name="too-many", workersMin=5)
    with pytest.raises(errors.InvalidRequestError, match=r"cannot create endpoint `too-many`: .*fewest workers"):
        await manage("createEndpoint", **wrong)
    assert await manage("listEndpoints") == []


async def test_choice_is_said_and_volumes_are_reused_with_a_warning(
    manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await manage("controlPlane") == {"name": "GraphQL", "line": "control plane: GraphQL (default)"}
    monkeypatch.setenv("FLASH_CONTROL_PLANE", "rest")
    assert (await manage("controlPlane"))["line"] == "control plane: REST v2 (FLASH_CONTROL_PLANE)"
    monkeypatch.setenv("FLASH_CONTROL_PLANE", "soap")
    with pytest.raises(errors.ConfigurationError, match="`soap` names no control plane"):
        await manage("controlPlane")
    monkeypatch.delenv("FLASH_CONTROL_PLANE")
    volume = {"name": "data", "size": 20, "dataCenterId": "EU-RO-1"}
    id = await manage("ensureNetworkVolume", **volume)
    assert await manage("ensureNetworkVolume", **volume) == id
    elsewhere = await manage("ensureNetworkVolume", **volume | {"dataCenterId": "US-CA-2"})
    assert {one["id"] for one in await manage("listNetworkVolumes")} == {id, elsewhere} != {id}
    made = await manage("createEndpoint", **endpoint_input(volumes=[volume | {"size": 40}]))
    assert made["warnings"] == ["network volume `data` in EU-RO-1 exists with 20 GB, not 40 GB: it is used as it is"]


async def test_unauthorised_call_says_which_key_was_sent(
    manage: Manage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_WRONGWRONG")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.AuthenticationError) as raised:
        await manage("listEndpoints")
    assert "the key from RUNPOD_API_KEY in the environment was sent" in str(raised.value)
    (tmp_path / ".env").write_text("RUNPOD_API_KEY=rpa_WRONGWRONG\n")
    with pytest.raises(errors.AuthenticationError, match=r"the key from RUNPOD_API_KEY in `.*/\.env` was sent"):
        await manage("listEndpoints")
    assert "WRONG" not in str(raised.value) + repr(raised.value)


async def test_app_is_built_uploaded_and_deployed(manage: Manage, tmp_path: Path) -> None:
    assert await manage("getFlashAppByName", flashAppName="shop") is None
    app = await manage("createFlashApp", name="shop")
    assert await manage("getFlashEnvironmentByName", flashAppId=app["id"], name="production") is None
    environment = await manage("createFlashEnvironment", flashAppId=app["id"], name="production")
    artifact = tmp_path / "artifact.tar.gz"
    # More than one piece, and nothing that can be compressed.
    artifact.write_bytes(gzip.compress(uuid.uuid4().bytes * 40_000, 0))
    told: list[int] = []
    manifest = {"version": "1.0", "resources": {}}
    build = await manage(
        "uploadFlashBuild", flashAppId=app["id"], path=str(artifact), manifest=manifest, progress=told.append
    )
    assert build["manifest"] == manifest
    assert sum(told) == artifact.stat().st_size
    assert len(told) > 1
    deployed = await manage("deployBuildToEnvironment", flashEnvironmentId=environment["id"], flashBuildId=build["id"])
    assert deployed["id"] == environment["id"]
    assert "signature" not in json.dumps(deployed)
    found = await manage("getFlashEnvironmentByName", flashAppId=app["id"], name="production")
    assert (found["activeBuildId"], found["endpoints"]) == (build["id"], [])
    more = manifest | {"resources": {"a": {}}}
    await manage("updateFlashBuildManifest", flashBuildId=build["id"], manifest=more)
    assert (await manage("getFlashBuild", flashBuildId=build["id"]))["manifest"] == more
    assert [one["id"] for one in await manage("listFlashBuilds", flashAppId=app["id"])] == [build["id"]]
    assert [one["name"] for one in await manage("listFlashEnvironments", flashAppId=app["id"])] == ["production"]
    assert [one["name"] for one in await manage("getFlashApps")] == ["shop"]
    await manage("deleteFlashEnvironment", flashEnvironmentId=environment["id"])
    await manage("deleteFlashApp", flashAppId=app["id"])
    assert await manage("getFlashApp", flashAppId=app["id"]) is None


async def test_store_that_refuses_an_upload_is_named_without_its_address(
    platform: Platform, account: str, manage: Manage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifact = tmp_path / "artifact.tgz"
    artifact.write_bytes(gzip.compress(uuid.uuid4().bytes * 40_000, 0))
    with fault_proxy(platform) as proxy:
        monkeypatch.setenv("RUNPOD_API_BASE_URL", proxy.url)
        app = await manage("createFlashApp", name=f"store-{uuid.uuid4().hex[:8]}")
        upload = {"flashAppId": app["id"], "path": str(artifact), "manifest": {"resources": {}}}
        proxy.answer("/_platform/artifacts/", 403, "<Error>Request has expired</Error>", "application/xml")
        with pytest.raises(errors.InvalidRequestError, match=r"answered 403") as raised:
            await manage("uploadFlashBuild", **upload)
        assert "the address that Runpod gave may have expired: try again" in str(raised.value)
        assert "signature" not in str(raised.value) + repr(raised.value)
        proxy.heal()
        proxy.answer("/_platform/artifacts/", 503, "<Error>SlowDown</Error>", "application/xml", times=1)
        told: list[int] = []
        build = await manage("uploadFlashBuild", **upload, progress=told.append)
        assert (sum(told), bool(build["id"])) == (artifact.stat().st_size, True)
        assert proxy.count("/_platform/artifacts/") == 3


async def test_what_is_no_artifact_is_refused_before_anything_is_sent(manage: Manage, tmp_path: Path) -> None:
    app = await manage("createFlashApp", name="shop")
    for name, content, reason in [
        ("none.tar.gz", None, "cannot read"),
        ("plain.zip", b"PK", "must end in .tar.gz or .tgz"),
        ("plain.tgz", b"plain", "is not a gzip file"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(errors.InvalidRequestError, match=reason):
            await manage("uploadFlashBuild", flashAppId=app["id"], path=str(tmp_path / name), manifest={})
    assert await manage("listFlashBuilds", flashAppId=app["id"]) == []
    with pytest.raises(errors.InvalidRequestError, match="`getFlashBuild` was given wrong arguments"):
        await manage("getFlashBuild", wrong=1)
