"""A sync function is awaited; its imports are in its body."""

from runpod_flash import Endpoint, GpuGroup


@Endpoint(name="p02", gpu=GpuGroup.ANY, workers=3, idle_timeout=300, dependencies=["numpy", "torch"])
def gpu_matrix_multiply(size):
    import numpy as np

    square = np.ones((size, size))
    return {"size": size, "sum": float((square @ square).sum())}


async def main():
    assert await gpu_matrix_multiply(10) == {"size": 10, "sum": 1000.0}
