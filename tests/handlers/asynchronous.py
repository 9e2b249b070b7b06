"""An official worker with a coroutine function."""

import asyncio
import os
from pathlib import Path

import runpod


async def handler(job):
    wanted = job["input"]
    do = wanted.get("do") if isinstance(wanted, dict) else None
    if isinstance(wanted, dict):
        if "touch" in wanted:
            Path(wanted["touch"]).touch()
        await asyncio.sleep(wanted.get("seconds", 0))
    if do == "raise":
        raise ValueError("boom é")
    return {"echo": wanted, "pid": os.getpid()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
