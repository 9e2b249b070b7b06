"""The worker that `p25a_caller.py` calls."""

from runpod_flash import Endpoint, GpuType


@Endpoint(name="p25a", gpu=GpuType.NVIDIA_L4)
async def run_inference(prompt: str) -> dict:
    return {"length": len(prompt)}
