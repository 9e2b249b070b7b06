"""An official worker with a coroutine function."""

import asyncio
import os

import runpod


async def handler(job):
    wanted = job["input"]
    do = wanted.get("do") if isinstance(wanted, dict) else None
    if isinstance(wanted, dict):
        await asyncio.sleep(wanted.get("seconds", 0))
    if do == "raise":
        raise ValueError("boom é")
    return {"echo": wanted, "pid": os.getpid()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
