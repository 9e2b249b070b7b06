"""Endpoints of our own, for `flash platform --app`."""

import asyncio
import os
import time

from runpod_flash import Endpoint


@Endpoint(name="our-plain", workers=1)
def plain(wanted: dict) -> dict:
    time.sleep(wanted.get("seconds", 0))
    return {"echo": wanted, "pid": os.getpid()}


@Endpoint(name="our-coroutine", workers=1)
async def coroutine(wanted: dict) -> dict:
    await asyncio.sleep(wanted.get("seconds", 0))
    return {"echo": wanted, "pid": os.getpid()}


@Endpoint(name="our-items", workers=1)
def items(wanted: dict):
    for number in range(3):
        time.sleep(wanted.get("seconds", 0))
        yield {"number": number, "echo": wanted}


@Endpoint(name="our-failing", workers=1)
def failing(wanted: dict) -> dict:
    time.sleep(wanted.get("seconds", 0))
    raise ValueError("boom é")
