"""Calls that type checkers accept, each with the type that it has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from typing import Any

from runpod_flash import (
    CpuInstanceType,
    DataCenter,
    Endpoint,
    EndpointJob,
    GpuGroup,
    GpuType,
    NetworkVolume,
    PodTemplate,
)
from typing_extensions import assert_type

volume = NetworkVolume(name="cache", size=50, datacenter=DataCenter.EU_RO_1)
template = PodTemplate(containerDiskInGb=100, env=[{"key": "A", "value": "b"}])


@Endpoint(name="sync", gpu=GpuType.NVIDIA_L4, volume=volume, template=template, datacenter="EU-RO-1")
def add(first: int, second: int = 2) -> int:
    """Add."""
    return first + second


@Endpoint(name="async", gpu=[GpuGroup.ADA_24, GpuType.NVIDIA_L4], datacenter=[DataCenter.US_CA_2, "EU-RO-1"])
async def describe(values: list[float], *, unit: str = "m") -> dict[str, Any]:
    """Describe."""
    return {"values": values, "unit": unit}


@Endpoint(name="generator", cpu="cpu3c-1-2")
def count(to: int) -> Iterator[int]:
    """Count."""
    yield from range(to)


@Endpoint(name="generator-2", cpu=["cpu3c-1-2", CpuInstanceType.CPU3C_2_4])
def count_back(to: int) -> Generator[int, None, None]:
    """Count back."""
    yield from range(to, 0, -1)


@Endpoint(name="async-generator")
async def words(text: str) -> AsyncIterator[str]:
    """Split."""
    for word in text.split():
        yield word


@Endpoint(name="async-generator-2")
async def letters(text: str) -> AsyncGenerator[str, None]:
    """Split more."""
    for letter in text:
        yield letter


@Endpoint()
async def mixed(first: int, *rest: str, factor: float = 1.0, **more: bytes) -> None:
    """Take all kinds of parameters."""


@Endpoint(name="model", cpu=[CpuInstanceType.CPU3C_1_2], workers=(0, 2))
class Model:
    """A model."""

    def __init__(self, size: str, layers: int = 3) -> None:
        self.size = size
        self.layers = layers

    async def predict(self, x: float) -> list[float]:
        """Predict."""
        return [x] * self.layers

    async def tokens(self, prompt: str) -> AsyncIterator[str]:
        """Give tokens."""
        yield prompt


@Endpoint(name="tools", cpu="cpu3c-1-2")
class Tools:
    """A class with all kinds of methods."""

    @staticmethod
    async def version() -> int:
        """Give a number."""
        return 1

    @classmethod
    async def make(cls, name: str) -> dict[str, str]:
        """Give a table."""
        return {name: cls.__name__}

    async def many(self, *values: int, scale: float = 1.0) -> list[float]:
        """Take many."""
        return [value * scale for value in values]


class Base:
    """A base of a decorated class."""

    async def size(self) -> int:
        """Give a number."""
        return 1


@Endpoint(name="sub", cpu="cpu3c-1-2")
class Sub(Base):
    """A decorated class with a base."""


api = Endpoint(name="api", cpu="cpu3c-1-2", workers=3)


@api.post("/process")
async def process(text: str, top: int = 3) -> dict[str, int]:
    """Count."""
    return {text: top}


@api.get("/health")
def health() -> str:
    """Say so."""
    return "ok"


@api.put("/items/{item_id}")
@api.patch("/items/{item_id}")
async def change(item_id: int, price: float | None = None) -> dict[str, float]:
    """Have two routes."""
    return {"price": price or 0.0}


@api.delete("/items/{item_id}")
def remove(item_id: int) -> None:
    """Give nothing."""


@Endpoint(name="stacked")
async def stacked(first: int) -> list[int]:
    """Call others."""
    return [await add(first), *(await count(3)), await Tools().version()]


def use(model: Model) -> Coroutine[Any, Any, list[float]]:
    """Take an instance of a decorated class as a parameter."""
    return model.predict(1.0)


client = Endpoint(id="abc123")


async def ask() -> None:
    """Use a client."""
    job: EndpointJob[str] = await client.run({"prompt": "a"}, webhook="https://example.com")
    assert_type(await job, str)
    assert_type(job.id, str)
    assert_type(job.done, bool)
    assert_type(await job.status(), str)
    assert_type(await job.wait(timeout=60), EndpointJob[str])
    assert_type(await job.cancel(), EndpointJob[str])
    assert_type(await client.runsync({"prompt": "a"}, timeout=10), EndpointJob[Any])
    assert_type(await client.cancel(job.id), EndpointJob[Any])
    async for item in client.stream({"prompt": "a"}):
        print(item)
    async for item in client.stream(job):
        print(item)
    assert_type(await job.retry(), EndpointJob[str])
    assert_type(await client.status(job.id), EndpointJob[Any])
    assert_type(await client.retry(job.id), EndpointJob[Any])
    both: list[EndpointJob[Any]] = [await client.run({}, policy={"ttl": 1000}), await client.runsync({}, None)]
    print(both, await client.put("/x", [1]), await client.patch("/x", "a"), await client.delete("/x", params={"a": 1}))
    print(await client.post("/v1/completions", {"prompt": "a"}, timeout=5.0, headers={"X-A": "b"}))
    print(await client.get("/v1/models"), await client.health())


def block() -> None:
    """Use a client without an event loop."""
    job = client.blocking.runsync({"prompt": "a"})
    assert_type(job, EndpointJob[Any])
    assert_type(client.blocking.run({"prompt": "a"}).blocking.status(), str)


async def main() -> None:
    """Call everything."""
    assert_type(await add(1), int)
    assert_type(await add(first=1, second=3), int)
    assert_type(add.local(1, 2), int)
    assert_type(add.__wrapped__(1), int)
    assert_type(await describe([1.0], unit="km"), dict[str, Any])
    assert_type(await describe.local([1.0]), dict[str, Any])
    assert_type(await count(3), list[int])
    assert_type(await count_back(3), list[int])
    async for number in count(3):
        assert_type(number, int)
    assert_type(list(count.local(3)), list[int])
    async for word in words("a b"):
        assert_type(word, str)
    assert_type(await words("a b"), list[str])
    assert_type([letter async for letter in letters.local("ab")], list[str])
    await mixed(1, "a", "b", factor=2, key=b"")
    model = Model("large", layers=2)
    assert_type(await model.predict(1.5), list[float])
    assert_type([token async for token in model.tokens("a")], list[str])
    assert_type(await use(model), list[float])
    tools = Tools()
    assert_type(await tools.version(), int)
    assert_type(await tools.make("a"), dict[str, str])
    assert_type(await tools.many(1, 2, scale=0.5), list[float])
    assert_type(await Sub().size(), int)
    assert_type(await change(1, price=2.0), dict[str, float])
    remove(3)
    assert_type(await stacked(1), list[int])
    assert_type(await stacked.local(1), list[int])
    assert_type(await process("text", top=1), dict[str, int])
    assert_type(health(), str)
    assert_type(add.__remote_config__, dict[str, Any])
    assert_type(api.is_load_balanced, bool)
