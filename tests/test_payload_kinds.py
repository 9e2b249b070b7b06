"""Payloads of every kind: sent without copies, read by stock cloudpickle, and the other way round."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from payload_kinds import ECHO, KINDS, difference, groups, made
from platform_support import Endpoint, Official, Platform
from runpod_flash import _core

HERE = Path(__file__).resolve().parent
IMAGE = "runpod/flash-cpu:py3.12-latest"
#: This folder, and the packages that the values are made with.
PACKAGES = os.pathsep.join([str(HERE), sysconfig.get_path("purelib")])

pytestmark = pytest.mark.xdist_group("payloads")


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_arrives_as_cloudpickle_sends_it(kind: str) -> None:
    value, expected = KINDS[kind](), made(kind)
    text = _core.dump_text(value)
    arrived = cloudpickle.loads(base64.b64decode(text, validate=True))
    assert difference(expected, arrived) is None
    assert difference(expected, _core.load_text(text)) is None
    assert difference(expected, _core.load_text(base64.b64encode(cloudpickle.dumps(value)).decode())) is None


@pytest.fixture
def account(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's calls go to the platform."""
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)


async def live(endpoint: Endpoint, code: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function by its source; return what it gave."""
    head = {"function_name": code.split("def ")[1].split("(")[0], "function_code": code}
    value, _ = await _core.live_call(endpoint.id, "test", json.dumps(head), args, kwargs, None, 60.0)
    return value


@pytest.fixture(scope="module", params=["official worker", "Flash image"])
def echoing(request: pytest.FixtureRequest, platform: Platform, official: Path) -> Iterator[Endpoint]:
    """A live endpoint: official `runpod` with stock cloudpickle, or this package's worker."""
    if request.param == "official worker":
        command = Official(official, {}).worker("live_payloads")
        endpoint = platform.create(command, env={"PACKAGES": PACKAGES})
    else:
        endpoint = platform.create(image=IMAGE, env={"PYTHONPATH": PACKAGES})
    yield endpoint
    endpoint.delete()


async def test_every_kind_goes_to_a_worker_and_comes_back(echoing: Endpoint, account: None) -> None:
    calls = [live(echoing, ECHO, **{kind: KINDS[kind]() for kind in group}) for group in groups(6)]
    pairs = {kind: pair for found in await asyncio.gather(*calls) for kind, pair in found.items()}
    arrived = {kind: pair[0] for kind, pair in pairs.items() if pair[0]}
    returned = {kind: how for kind, pair in pairs.items() if (how := difference(made(kind), pair[1]))}
    assert (len(pairs), arrived, returned) == (len(KINDS), {}, {})


OFFICIAL_CLIENT = """
import sys

sys.path += PACKAGES
import asyncio

from payload_kinds import KINDS, difference, groups, made
from runpod_flash import Endpoint


@Endpoint(name="payloads", cpu="cpu3c-1-2", env={"PYTHONPATH": ":".join(PACKAGES)})
async def echo(**values):
    from payload_kinds import difference, made
    return {kind: (difference(made(kind), value), value) for kind, value in values.items()}


async def main():
    count = 0
    for group in groups(6):
        for kind, (arrived, value) in (await echo(**{kind: KINDS[kind]() for kind in group})).items():
            count += 1
            back = difference(made(kind), value)
            if arrived or back:
                print("different", kind, arrived, back)
    print("done", count)


asyncio.run(main())
"""


def test_official_client_exchanges_every_kind_with_our_worker(
    platform: Platform, official: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"PACKAGES = {PACKAGES.split(os.pathsep)!r}\n{OFFICIAL_CLIENT}")
    ended = subprocess.run(
        [official, program],
        cwd=tmp_path,
        env=environment | platform.variables | {"FLASH_IS_LIVE_PROVISIONING": "true", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "different" not in ended.stdout
    assert f"done {len(KINDS)}" in ended.stdout
