"""A queue-based function that calls another of its file."""

from runpod_flash import Endpoint


@Endpoint(name="p23-inner", cpu="cpu3c-1-2")
async def inner(x: int, plus: int = 1, *, times: int = 2) -> int:
    return (x + plus) * times


@Endpoint(name="p23-outer", cpu="cpu3c-1-2")
async def outer(x: int) -> int:
    return await inner(x) + await inner(x, times=10)


async def main():
    assert await outer(1) == 24
