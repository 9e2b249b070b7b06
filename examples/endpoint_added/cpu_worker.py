"""The endpoint that was added: another file with another decorated function, and a name of its own.

Call it:

    curl -X POST localhost:8888/endpoint_added/cpu_worker/runsync -d '{"input": {"text": "<b>Hello</b>  again"}}'
"""

import re
from typing import Any

from runpod_flash import Endpoint


@Endpoint(name="clean-text", cpu="cpu3c-1-2")
async def clean_text(text: str) -> dict[str, Any]:
    """Remove markup, case and superfluous spaces."""
    cleaned = " ".join(re.sub(r"<[^>]*>", " ", text).lower().split())
    return {"text": cleaned, "removed": len(text) - len(cleaned)}
