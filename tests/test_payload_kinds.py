"""Payloads of every kind: sent without copies, read by stock cloudpickle, and the other way round."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from payload_kinds import ECHO, KINDS, difference, groups, made
from payload_support import echoing_endpoint, live, official_client
from platform_support import Endpoint, Platform
from runpod_flash import _core

HERE = Path(__file__).resolve().parent
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


@pytest.fixture(scope="module", params=["official worker", "Flash image"])
def echoing(request: pytest.FixtureRequest, platform: Platform, official: Path) -> Iterator[Endpoint]:
    """A live endpoint: official `runpod` with stock cloudpickle, or this package's worker."""
    yield from echoing_endpoint(request.param, platform, official, PACKAGES)


async def test_every_kind_goes_to_a_worker_and_comes_back(echoing: Endpoint, account: None) -> None:
    calls = [live(echoing, ECHO, **{kind: KINDS[kind]() for kind in group}) for group in groups(6)]
    pairs = {kind: pair for found in await asyncio.gather(*calls) for kind, pair in found.items()}
    arrived = {kind: pair[0] for kind, pair in pairs.items() if pair[0]}
    returned = {kind: how for kind, pair in pairs.items() if (how := difference(made(kind), pair[1]))}
    assert (len(pairs), arrived, returned) == (len(KINDS), {}, {})


def test_official_client_exchanges_every_kind_with_our_worker(
    platform: Platform, official: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    said = official_client(official, "payload_kinds", PACKAGES, platform, environment, tmp_path)
    assert "different" not in said
    assert f"done {len(KINDS)}" in said


WITHOUT_TORCH = """
import sys, types
from runpod_flash import _core
import numpy as np

array = np.arange(100_000)[::2]
before = _core.dump_text([array, array.T])
assert "torch" not in sys.modules and "runpod_flash._tensors" not in sys.modules
# Half imported, by another thread or by a cycle: names are missing.
sys.modules["torch"] = types.ModuleType("torch")
assert _core.dump_text([array, array.T]) == before
sys.modules["torch"].Tensor = type("Tensor", (), {})
assert _core.dump_text([array, array.T]) == before
print("same")
"""


def test_torch_is_never_imported_and_one_that_is_not_whole_is_left_alone(run: Callable[..., Any]) -> None:
    ended = run(sys.executable, "-c", WITHOUT_TORCH)
    assert (ended.returncode, ended.stdout) == (0, "same\n"), ended.stderr
