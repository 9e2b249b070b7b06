"""An official worker that runs four jobs at once; `meet` jobs end once that many run together."""

import asyncio
import os

import runpod

running = 0
met = asyncio.Event()


async def handler(job):
    global running
    wanted = job["input"]
    meet = wanted.get("meet", 0) if isinstance(wanted, dict) else 0
    running += 1
    most = running
    try:
        if meet and running >= meet:
            met.set()
        if meet:
            await asyncio.wait_for(met.wait(), 20)
            most = meet
        await asyncio.sleep(wanted.get("seconds", 0) if isinstance(wanted, dict) else 0)
    finally:  # A job that is cancelled ends, too.
        running -= 1
    return {"echo": wanted, "pid": os.getpid(), "most": most}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 4})
