"""GPU count, time-out, flashboot, CUDA versions, concurrency."""

import asyncio
import os

from runpod_flash import CudaVersion, Endpoint, GpuGroup


@Endpoint(
    name="p12-many",
    gpu=GpuGroup.AMPERE_80,
    gpu_count=4,
    execution_timeout_ms=300000,
    flashboot=False,
    min_cuda_version="12.4",
)
async def many(x: int) -> int:
    return x


@Endpoint(name="p12-cuda", gpu=GpuGroup.AMPERE_80, min_cuda_version=CudaVersion.V12_0, max_concurrency=5)
async def together(x: int) -> int:
    PRESENT.append(x)
    if len(PRESENT) == 3:
        ALL_HERE.set()
    await asyncio.wait_for(ALL_HERE.wait(), 60)
    return len(PRESENT)


PRESENT: list = []
ALL_HERE = asyncio.Event()


async def main():
    assert await many(1) == 1
    if os.environ.get("FLASH_IS_LIVE_PROVISIONING") == "true":
        return  # A live worker takes one call at a time, each with globals of its own.
    # Three calls that wait for one another: they are in one worker at once.
    assert await asyncio.gather(together(1), together(2), together(3)) == [3, 3, 3]
