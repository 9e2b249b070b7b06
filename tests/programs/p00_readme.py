"""The README's first program: no parameters, and a call at module level that nothing guards."""

import asyncio

from runpod_flash import Endpoint, GpuType


@Endpoint(name="hello-gpu", gpu=GpuType.NVIDIA_GEFORCE_RTX_4090, dependencies=["torch"])
async def hello():
    """Say which GPU there is."""
    return {"gpu": "none here"}


ANSWER = asyncio.run(hello())


async def main():
    assert ANSWER == {"gpu": "none here"}
