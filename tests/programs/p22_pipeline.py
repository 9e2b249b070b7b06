"""A route that awaits two other endpoints in turn."""

from runpod_flash import Endpoint

pipeline = Endpoint(name="p22-pipeline", cpu="cpu3c-1-2", workers=(1, 3))


@pipeline.post("/classify")
async def classify(text: str) -> dict:
    from p22_cpu_worker import preprocess_text
    from p22_gpu_worker import gpu_inference

    words = await preprocess_text(text)
    return await gpu_inference(words)


async def main():
    assert await classify("one two three") == {"count": 3}
