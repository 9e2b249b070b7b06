"""A queue-based function that orchestrates a function of another file."""

from runpod_flash import Endpoint


@Endpoint(name="p25d", cpu="cpu3c-1-2")
async def classify(text: str) -> dict:
    from p22_gpu_worker import gpu_inference

    found = await gpu_inference({"words": text.split()})
    return {"label": "long" if found["count"] > 2 else "short"}


async def main():
    assert await classify("a b c") == {"label": "long"}
