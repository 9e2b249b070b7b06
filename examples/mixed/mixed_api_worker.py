"""A public load-balanced API in front of a queue-based GPU worker.

Call it:

    curl -X POST localhost:8888/mixed/mixed_api_worker/process -d '{"data": {"size": 64, "seed": 7}}'
"""

from typing import Any

from runpod_flash import Endpoint, GpuType

# Public-facing API (load-balanced)
api = Endpoint(name="public-api", cpu="cpu5c-4-8", workers=(1, 5))


@api.post("/process")
async def handle_request(data: dict[str, Any]) -> dict[str, Any]:
    """Check the request here, on a CPU; the awaited call goes through the GPU worker's queue."""
    size = min(max(int(data.get("size", 16)), 1), 512)
    result = await run_gpu_inference({"size": size, "seed": int(data.get("seed", 0))})
    return {"size": size, "result": result}


# Internal GPU worker (queue-based)
@Endpoint(name="gpu-backend", gpu=GpuType.NVIDIA_A100_80GB_PCIe, dependencies=["numpy"])
async def run_gpu_inference(input: dict[str, Any]) -> dict[str, Any]:
    """Multiply two random square matrices and describe the product."""
    import numpy as np

    random = np.random.default_rng(input["seed"])
    left, right = random.standard_normal((2, input["size"], input["size"]))
    product = left @ right
    return {"trace": round(float(product.trace()), 3), "norm": round(float(np.linalg.norm(product)), 3)}
