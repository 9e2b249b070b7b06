"""Route functions called as plain functions: their bodies run here."""

import asyncio
import os

from runpod_flash import Endpoint

api = Endpoint(name="p21", cpu="cpu3c-1-2")


@api.get("/cpu-health")
async def cpu_health():
    return {"pid": os.getpid()}


@api.post("/validate")
async def validate_data(text: str) -> dict:
    return {"valid": bool(text.strip())}


async def main():
    assert await cpu_health() == {"pid": os.getpid()}
    assert await validate_data("text") == {"valid": True}


if __name__ == "__main__":
    print(asyncio.run(validate_data("hello")))
