"""A client by ID of a load-balanced endpoint; from a script, and from a worker."""

import os

from runpod_flash import Endpoint

ep = Endpoint(id="p17")
RUNPOD = {name: value for name, value in os.environ.items() if name.startswith("RUNPOD_")}


@Endpoint(name="p27-asks", cpu="cpu3c-1-2")
async def asks(text: str, variables: dict | None = None) -> dict:
    """Be a client in a worker, which has a key only where it is given one."""
    os.environ.update(variables or {})
    return await Endpoint(id="p17").post("/generate", {"prompt": text})


async def main():
    assert await ep.get("/health") == {"status": "ok"}
    assert await ep.post("/generate", {"prompt": "hello"}) == {"text": "hello!"}
    assert await ep.post("/transform", {"text": "a"}, timeout=30.0) == {"text": "A"}
    asked = await Endpoint(id="p27-asks").runsync({"text": "again", "variables": RUNPOD})
    assert asked.output == {"text": "again!"}, (asked.error, asked.output)
