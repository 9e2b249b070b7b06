"""Routes with keyword parameters and defaults, one of them called `api_key`."""

from runpod_flash import Endpoint

api = Endpoint(name="p25c", cpu="cpu3c-1-2")


@api.post("/summarize")
async def summarize_text(text: str, max_length: int = 100) -> dict:
    return {"summary": text[:max_length]}


@api.post("/login")
async def login(api_key: str) -> dict:
    return {"length": len(api_key)}


async def main():
    assert await summarize_text("abc", max_length=2) == {"summary": "ab"}
