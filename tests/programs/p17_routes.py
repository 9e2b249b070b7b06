"""A load-balanced endpoint: async and sync handlers, typed parameters."""

from runpod_flash import Endpoint

api = Endpoint(name="p17", cpu="cpu5c-4-8", workers=(1, 5))


@api.get("/health")
async def health():
    return {"status": "ok"}


@api.post("/process")
async def process(data: dict) -> dict:
    return {"keys": sorted(data)}


@api.post("/generate")
def generate_text(prompt: str):
    return {"text": prompt + "!"}


@api.post("/sum")
async def total(numbers: list[float]) -> dict:
    return {"sum": sum(numbers)}


@api.post("/transform")
async def transform(text: str, operation: str = "upper") -> dict:
    return {"text": getattr(text, operation)()}


async def main():
    assert await health() == {"status": "ok"}
    assert generate_text("a") == {"text": "a!"}
    assert await transform("a") == {"text": "A"}
