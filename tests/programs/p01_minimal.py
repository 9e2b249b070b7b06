"""One queue-based function that takes a dict."""

import asyncio

from runpod_flash import Endpoint, GpuType


@Endpoint(name="p01", gpu=GpuType.NVIDIA_GEFORCE_RTX_4090)
async def process(input_data: dict) -> dict:
    return {"got": input_data}


async def main():
    assert await process({"message": "hello"}) == {"got": {"message": "hello"}}


if __name__ == "__main__":
    asyncio.run(main())
