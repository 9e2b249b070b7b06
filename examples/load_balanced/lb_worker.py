"""A load-balanced endpoint: several HTTP routes on CPU workers, answered without a queue.

Call it:

    curl -X POST localhost:8888/load_balanced/lb_worker/generate -d '{"prompt": "the cat sat on the mat"}'
    curl -X POST localhost:8888/load_balanced/lb_worker/translate -d '{"text": "good morning world", "target": "de"}'
    curl localhost:8888/load_balanced/lb_worker/health
"""

from itertools import pairwise
from typing import Any

from runpod_flash import Endpoint

api = Endpoint(name="api-server", cpu="cpu5c-4-8", workers=(1, 5))

DICTIONARIES: dict[str, dict[str, str]] = {
    "de": {"good": "guten", "morning": "Morgen", "hello": "hallo", "world": "Welt"},
    "fr": {"good": "bon", "morning": "matin", "hello": "bonjour", "world": "monde"},
}


@api.post("/generate")
async def generate_text(prompt: str) -> dict[str, Any]:
    """Continue a prompt: each next word is the one that followed the last word before."""
    words = prompt.split()
    followers = dict(pairwise(words))
    text = list(words)
    for _ in range(8):
        if not text or text[-1] not in followers:
            break
        text.append(followers[text[-1]])
    return {"text": " ".join(text), "words": len(text)}


@api.post("/translate")
async def translate_text(text: str, target: str) -> dict[str, Any]:
    """Translate word by word; words that are not in the table stay as they are."""
    table = DICTIONARIES.get(target, {})
    words = text.split()
    known = sum(word.lower() in table for word in words)
    return {"translated": " ".join(table.get(word.lower(), word) for word in words), "known": known}


@api.get("/health")
async def health_check() -> dict[str, str]:
    """Say that the worker is up."""
    return {"status": "healthy"}
