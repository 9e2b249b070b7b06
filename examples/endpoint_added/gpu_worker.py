"""The endpoint that was there first: it hands text on to the one that was added beside it.

Call it:

    curl -X POST localhost:8888/endpoint_added/gpu_worker/runsync -d '{"input": {"text": "<b>Hello</b>  again"}}'
"""

from typing import Any

from endpoint_added.cpu_worker import clean_text
from runpod_flash import Endpoint, GpuType


@Endpoint(name="embedding", gpu=GpuType.NVIDIA_L4)
async def embed(text: str) -> dict[str, Any]:
    """Clean the text on a CPU worker, then embed it: letter frequencies as a unit vector."""
    cleaned = await clean_text(text)
    letters = [character for character in cleaned["text"] if "a" <= character <= "z"]
    counts = [letters.count(chr(ord("a") + index)) for index in range(26)]
    length = sum(count * count for count in counts) ** 0.5 or 1.0
    return {"text": cleaned["text"], "vector": [round(count / length, 3) for count in counts]}
