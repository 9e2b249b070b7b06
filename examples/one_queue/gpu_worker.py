"""One queue-based endpoint: calls wait in a queue, each runs on a GPU worker.

Call it:

    curl -X POST localhost:8888/one_queue/gpu_worker/runsync -d '{"input": {"text": "to be or not to be"}}'
"""

from collections import Counter
from typing import Any

from runpod_flash import Endpoint, GpuType


@Endpoint(name="gpu-inference", gpu=GpuType.NVIDIA_A100_80GB_PCIe)
async def process_data(input: dict[str, Any]) -> dict[str, Any]:
    """Return statistics of a text: words, distinct words, the most frequent ones."""
    words = str(input.get("text", "")).lower().split()
    return {
        "words": len(words),
        "distinct": len(set(words)),
        "most_common": dict(Counter(words).most_common(3)),
        "mean_length": round(sum(map(len, words)) / len(words), 2) if words else 0.0,
    }
