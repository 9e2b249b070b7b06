"""A client by ID of a load-balanced endpoint."""

from runpod_flash import Endpoint

ep = Endpoint(id="p17")


async def main():
    assert await ep.get("/health") == {"status": "ok"}
    assert await ep.post("/generate", {"prompt": "hello"}) == {"text": "hello!"}
    assert await ep.post("/transform", {"text": "a"}, timeout=30.0) == {"text": "A"}
