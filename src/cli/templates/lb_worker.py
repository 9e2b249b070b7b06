"""A load-balanced worker: several HTTP routes on one endpoint, answered directly, without a queue.

Call it:

    curl -X POST localhost:8888/lb_worker/process -d '{"text": "one two two"}'
    curl localhost:8888/lb_worker/health
"""

from collections import Counter
from typing import Any

from runpod_flash import Endpoint

api = Endpoint(name="lb_worker", cpu="cpu3c-1-2", workers=(1, 3))


@api.post("/process")
async def process(text: str, top: int = 3) -> dict[str, Any]:
    """Count words and return the most frequent ones."""
    words = text.lower().split()
    return {"words": len(words), "most_common": dict(Counter(words).most_common(top))}


@api.get("/health")
async def health() -> dict[str, str]:
    """Say that the worker is up."""
    return {"status": "healthy"}
