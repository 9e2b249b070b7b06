"""Classes: a sync method, an async one."""

from runpod_flash import Endpoint, GpuType


@Endpoint(name="p24-model", gpu=GpuType.NVIDIA_L4, dependencies=["torch"])
class Model:
    def __init__(self):
        self.scale = 3

    def multiply(self, x):
        return x * self.scale

    async def add(self, x: float, y: float = 1.0) -> float:
        return x + y + self.scale


async def main():
    model = Model()
    assert await model.multiply(2) == 6  # only pyright: reportGeneralTypeIssues
    assert await model.add(0.5) == 4.5
