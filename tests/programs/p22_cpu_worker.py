"""First stage of the pipeline in `p22_pipeline.py`."""

from runpod_flash import Endpoint


@Endpoint(name="p22-cpu", cpu="cpu3c-1-2")
async def preprocess_text(text: str) -> dict:
    return {"words": text.split()}
