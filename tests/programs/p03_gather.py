"""Concurrent calls of one function, and of several endpoints."""

import asyncio

from runpod_flash import Endpoint


@Endpoint(name="p03-double", cpu="cpu3c-1-2", workers=2)
def double(number: int) -> int:
    return 2 * number


@Endpoint(name="p03-negate", cpu="cpu3c-1-2")
async def negate(number: int) -> int:
    return -number


async def main():
    assert await asyncio.gather(double(500), double(1000), double(2000)) == [1000, 2000, 4000]
    assert await asyncio.gather(double(1), negate(2), double(3)) == [2, -2, 6]
