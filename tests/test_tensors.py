"""PyTorch's tensors: sent without copies, read by stock cloudpickle and torch, and the other way round.

`make test-torch` runs them: torch is not among what other tests need, so they are not collected where it is not.
"""

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import sys
import sysconfig
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cloudpickle
import pytest
import tensor_kinds
import torch
from payload_memory import BESIDE
from payload_memory import server as memory_server
from payload_support import (
    Server,
    call,
    echoing_endpoint,
    eventually,
    is_pinned,
    job,
    live,
    official_client,
    returned,
    serving,
)
from platform_support import Endpoint, Platform
from runpod_flash import _core, _tensors
from tensor_kinds import ECHO, KINDS, ONLY_OURS, difference, groups, made

HERE = Path(__file__).resolve().parent
#: This folder, and the packages that the values are made with.
PACKAGES = os.pathsep.join([str(HERE), str(Path(torch.__file__).parent.parent), sysconfig.get_path("purelib")])

pytestmark = [
    pytest.mark.xdist_group("payloads"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Of torch, about kinds that are new or old.
    pytest.mark.timeout(300),  # `import torch` takes seconds in each process.
]


@pytest.mark.parametrize("kind", [*KINDS, *ONLY_OURS])
def test_a_tensor_arrives_as_cloudpickle_sends_it(kind: str) -> None:
    value, expected = (KINDS | ONLY_OURS)[kind](), made(kind)
    text = _core.dump_text(value)
    assert difference(expected, cloudpickle.loads(base64.b64decode(text, validate=True))) is None
    assert difference(expected, _core.load_text(text)) is None
    if kind in KINDS:
        stock = base64.b64encode(cloudpickle.dumps(value)).decode()
        assert difference(expected, _core.load_text(stock)) is None
        assert len(text) < len(stock) + 500, "nothing goes twice"


@pytest.mark.parametrize("kind", [*KINDS, *ONLY_OURS])
def test_a_tensor_goes_to_a_process_of_this_machine_beside_its_pickle(kind: str) -> None:
    buffers: list[pickle.PickleBuffer] = []
    pickled = _tensors.dumps((KINDS | ONLY_OURS)[kind](), pickle, protocol=5, buffer_callback=buffers.append)
    arrived = pickle.loads(pickled, buffers=[bytearray(buffer.raw()) for buffer in buffers])
    assert difference(made(kind), arrived) is None
    assert kind in ("on no device", "no size") or buffers


def test_tensors_that_share_memory_share_it_again_and_a_small_part_goes_alone() -> None:
    whole, rest, bits, part, same = _core.load_text(_core.dump_text(KINDS["shared"]()))
    rest[0] = -5
    assert whole[10] == -5
    assert bits.data_ptr() == whole.data_ptr()
    part[0] = 7
    assert same[0] == 7
    assert part.untyped_storage().nbytes() == 16
    module = _core.load_text(_core.dump_text(KINDS["module"]()))
    assert module.first.weight is module.second.weight


def test_what_arrives_can_be_written_to_and_is_where_it_was_decoded() -> None:
    sent = torch.arange(100_000.0)
    arrived = _core.load_text(_core.dump_text(sent))
    arrived += 1
    assert arrived[5] == 6
    assert sent[5] == 5
    assert arrived.untyped_storage().data_ptr() == arrived.data_ptr()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with serving(monkeypatch) as made_server:
        yield made_server


@pytest.mark.parametrize("end", ["answered", "failed", "cancelled"])
async def test_memory_of_a_tensor_is_held_while_it_is_sent(server: Server, end: str) -> None:
    tensor, mark = torch.arange(200_000.0), bytearray(300_000)
    gone = weakref.ref(tensor.untyped_storage())
    calling = call(tensor, mark)
    await server.seen.get()
    with pytest.raises(RuntimeError, match="not resizable"):
        tensor.resize_(1_000_000)
    del tensor
    assert is_pinned(mark)
    assert gone() is not None
    if end == "cancelled":
        calling.cancel()
    else:
        server.answer(job(returned(1)) if end == "answered" else job(None, status="FAILED", error="bad"))
    await asyncio.wait([calling])
    await eventually(lambda: not is_pinned(mark) and gone() is None)


@pytest.fixture(scope="module", params=["official worker", "Flash image"])
def echoing(request: pytest.FixtureRequest, platform: Platform, official: Path) -> Iterator[Endpoint]:
    """A live endpoint: official `runpod` with stock cloudpickle and torch, or this package's worker."""
    yield from echoing_endpoint(request.param, platform, official, PACKAGES)


ARRIVED = """
def arrived(**values):
    from tensor_kinds import made, difference
    return {kind: difference(made(kind), value) for kind, value in values.items()}
"""


async def test_every_kind_goes_to_a_worker_and_comes_back(echoing: Endpoint, account: None) -> None:
    calls = [live(echoing, ECHO, **{kind: KINDS[kind]() for kind in group}) for group in groups(4)]
    pairs = {kind: pair for found in await asyncio.gather(*calls) for kind, pair in found.items()}
    arrived = {kind: pair[0] for kind, pair in pairs.items() if pair[0]}
    returned_wrong = {kind: how for kind, pair in pairs.items() if (how := difference(made(kind), pair[1]))}
    assert (len(pairs), arrived, returned_wrong) == (len(KINDS), {}, {})
    found = await live(echoing, ARRIVED, **{kind: make() for kind, make in ONLY_OURS.items()})
    assert found == dict.fromkeys(ONLY_OURS)


def test_official_client_exchanges_every_kind_with_our_worker(
    platform: Platform, official: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    said = official_client(official, tensor_kinds.__name__, PACKAGES, platform, environment, tmp_path)
    assert "different" not in said
    assert f"done {len(KINDS)}" in said


SCRIPT = """
import asyncio, torch
from runpod_flash import Endpoint

@Endpoint(name="tensors", cpu="cpu3c-1-2")
async def double(tensor):
    import torch
    assert isinstance(tensor, torch.Tensor)
    return [tensor * 2, tensor[:3]]

async def main():
    doubled, part = await double(torch.arange(1_000_000.0).reshape(1000, 1000)[:, ::2])
    doubled += 1
    print(doubled.shape, float(doubled[1, 1]), part.untyped_storage().nbytes() < 20_000)

asyncio.run(main())
"""


def test_a_script_sends_tensors_to_a_worker_of_this_machine(
    environment: dict[str, str], tmp_path: Path, run: object
) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    ended = run(  # type: ignore[operator]
        sys.executable, "app.py", cwd=tmp_path, env={"PYTHONPATH": PACKAGES}, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "torch.Size([1000, 500]) 2005.0 True"


def test_a_large_tensor_is_sent_without_a_copy_and_received_once(environment: dict[str, str]) -> None:
    with memory_server(environment | {"PYTHONPATH": PACKAGES}) as measured:
        assert measured("send", "tensor")["peak"] <= BESIDE
        assert measured("send", "tensor strided")["peak"] <= BESIDE
        found = measured("receive", "our tensor")
        assert 0.9 * found["size"] <= found["peak"] <= found["size"] + BESIDE
