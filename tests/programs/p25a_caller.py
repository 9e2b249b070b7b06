"""A script that imports a decorated function from another file."""

import asyncio

from p25a_gpu_worker import run_inference


async def main():
    assert await run_inference("hello") == {"length": 5}


if __name__ == "__main__":
    print(asyncio.run(run_inference("hello")))
