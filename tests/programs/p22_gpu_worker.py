"""Second stage of the pipeline in `p22_pipeline.py`."""

from runpod_flash import Endpoint, GpuType


@Endpoint(name="p22-gpu", gpu=GpuType.NVIDIA_L4)
async def gpu_inference(data: dict) -> dict:
    return {"count": len(data["words"])}
