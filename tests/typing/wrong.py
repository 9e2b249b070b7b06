"""Calls that type checkers refuse: a comment gives the code of each checker's error on that line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from runpod_flash import CpuInstanceType, Endpoint, EndpointJob, GpuType


@Endpoint(name="sync", gpu=GpuType.NVIDIA_L5)  # mypy: attr-defined  pyright: reportAttributeAccessIssue
def add(first: int, second: int = 2) -> int:
    """Add."""
    return first + second


@Endpoint(name="words", cpu=CpuInstanceType.CPU9C_1_2)  # mypy: attr-defined  pyright: reportAttributeAccessIssue
async def words(text: str) -> AsyncIterator[str]:
    """Split."""
    for word in text.split():
        yield word


@Endpoint(name="count", gpus=GpuType.NVIDIA_L4)  # mypy: call-arg  pyright: reportCallIssue
def count(to: int) -> Iterator[int]:
    """Count."""
    yield from range(to)


@Endpoint(name="describe", gpu="NVIDIA L4")  # mypy: arg-type  pyright: reportArgumentType
async def describe(text: str) -> str:
    """Describe."""
    return text


@Endpoint(name="model", workers="3")  # mypy: arg-type  pyright: reportArgumentType
class Model:
    """A model."""

    def __init__(self, size: str) -> None:
        self.size = size

    async def predict(self, x: float) -> float:
        """Predict."""
        return x


client = Endpoint(id="abc123")


async def ask() -> None:
    """Get a client wrong."""
    job = client.run({"prompt": "a"})
    print(job.id)  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    await client.run({"prompt": "a"}, webhok="a")  # mypy: call-arg  pyright: reportCallIssue
    await client.runsync()  # mypy: call-arg  pyright: reportCallIssue
    await client.cancel(3)  # mypy: arg-type  pyright: reportArgumentType
    done = await job
    text: str = done.status()  # mypy: assignment  pyright: reportAssignmentType
    await done.wait("60")  # mypy: arg-type  pyright: reportArgumentType
    job_of_ints: EndpointJob[int] = EndpointJob({}, client)
    name: str = await job_of_ints  # mypy: assignment  pyright: reportAssignmentType
    for item in client.stream({}):  # mypy: attr-defined  pyright: reportGeneralTypeIssues
        print(item)
    await client.status()  # mypy: call-arg  pyright: reportCallIssue
    await client.retry(job_id=3)  # mypy: arg-type  pyright: reportArgumentType
    client.runsink({})  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    print(text, name)


api = Endpoint(name="api", idle_timeout="60")  # mypy: arg-type  pyright: reportArgumentType


@api.post("/process")
async def process(text: str) -> str:
    """Return it."""
    return text


@api.get("/items/{item_id}")
def item(item_id: int) -> dict[str, int]:
    """Return it."""
    return {"id": item_id}


async def main() -> None:
    """Get everything wrong."""
    found: str = item(1)  # mypy: assignment  pyright: reportAssignmentType
    await item(1)  # mypy: misc  pyright: reportGeneralTypeIssues
    item("1")  # mypy: arg-type  pyright: reportArgumentType
    await process(txt="a")  # mypy: call-arg  pyright: reportCallIssue
    words.local(text=1)  # mypy: arg-type  pyright: reportArgumentType
    await words.local("a")  # mypy: misc  pyright: reportGeneralTypeIssues
    number: int = await count(3)  # mypy: assignment  pyright: reportAssignmentType
    count.local(1, 2)  # mypy: call-arg  pyright: reportCallIssue
    print(found, number)
    await add(1, thrid=3)  # mypy: call-arg  pyright: reportCallIssue
    await add("1")  # mypy: arg-type  pyright: reportArgumentType
    await add()  # mypy: call-arg  pyright: reportCallIssue
    await add(1, 2, 3)  # mypy: call-arg  pyright: reportCallIssue
    print(add(1) + 1)  # mypy: operator  pyright: reportOperatorIssue
    total: int = add(1)  # mypy: assignment  pyright: reportAssignmentType
    text: str = await add(1)  # mypy: assignment  pyright: reportAssignmentType
    add.local("1")  # mypy: arg-type  pyright: reportArgumentType
    await add.local(1)  # mypy: misc  pyright: reportGeneralTypeIssues
    add.spawn(1)  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    describe("a").upper()  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    await words(1)  # mypy: arg-type  pyright: reportArgumentType
    for word in words("a b"):  # mypy: attr-defined  pyright: reportGeneralTypeIssues
        print(word)
    items: list[str] = await count(3)  # mypy: assignment  pyright: reportAssignmentType
    Model()  # mypy: call-arg  pyright: reportCallIssue
    Model("large", layer=3)  # mypy: call-arg  pyright: reportCallIssue
    model = Model(1)  # mypy: arg-type  pyright: reportArgumentType
    await model.predict("x")  # mypy: arg-type  pyright: reportArgumentType
    await model.predikt(1.0)  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    print(model.predict(1.0) + 1)  # mypy: operator  pyright: reportOperatorIssue
    await process(1)  # mypy: arg-type  pyright: reportArgumentType
    api.head("/x")  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    print(total, text, items)
