"""A secret from `.env`, handed on to the endpoint."""

import os

from runpod_flash import Endpoint


@Endpoint(name="p11", cpu="cpu3c-1-2", env={"HF_TOKEN": os.environ["P11_TOKEN"], "MODE": "test"})
def environment():
    return {name: os.environ.get(name) for name in ("HF_TOKEN", "MODE")}


async def main():
    assert await environment() == {"HF_TOKEN": "from-dotenv", "MODE": "test"}
