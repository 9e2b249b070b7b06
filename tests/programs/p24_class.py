"""Classes: without and with constructor arguments, several methods, sync and async."""

from runpod_flash import Endpoint, GpuType


@Endpoint(name="p24-model", gpu=GpuType.NVIDIA_L4, dependencies=["torch"])
class Model:
    def __init__(self):
        self.scale = 3

    def multiply(self, x):
        return x * self.scale


@Endpoint(name="p24-sized", cpu="cpu3c-1-2")
class Sized:
    def __init__(self, size: str = "small", *, layers: int = 1):
        self.size = size
        self.layers = layers

    def describe(self) -> str:
        return f"{self.size}-{self.layers}"

    async def predict(self, x: float, scale: float = 1.0) -> float:
        return x * scale * self.layers


async def main():
    model = Model()
    assert await model.multiply(2) == 6
    large = Sized("large", layers=4)
    assert await large.describe() == "large-4"
    assert await large.predict(1.5, scale=2.0) == 12.0
    assert await Sized().describe() == "small-1"
