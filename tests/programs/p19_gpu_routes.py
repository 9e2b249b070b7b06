"""A load-balanced GPU endpoint whose route imports its package inside."""

from runpod_flash import Endpoint, GpuType

api = Endpoint(name="p19", gpu=GpuType.NVIDIA_GEFORCE_RTX_4090, workers=(1, 3), dependencies=["numpy"])


@api.get("/gpu")
async def gpu_info():
    import numpy

    return {"package": numpy.__name__}


async def main():
    assert await gpu_info() == {"package": "numpy"}
