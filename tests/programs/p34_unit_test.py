"""User code tested in place: no key, no network, no worker."""

import os

from runpod_flash import Endpoint, GpuType


@Endpoint(name="p34", gpu=GpuType.NVIDIA_L4)
async def whole(x: int) -> list:
    return [x, os.getpid()]


@Endpoint(name="p34-sync", gpu=GpuType.NVIDIA_L4)
def half(x: int) -> list:
    return [x / 2, os.getpid()]


async def main():
    assert await whole.__wrapped__(4) == [4, os.getpid()]
    assert half.__wrapped__(4) == [2.0, os.getpid()]
    assert await whole.local(4) == [4, os.getpid()]
