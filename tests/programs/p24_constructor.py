"""A class with constructor arguments: they are sent, or refused where a deployed worker cannot take them."""

from runpod_flash import Endpoint


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
    large = Sized("large", layers=4)
    assert await large.describe() == "large-4"  # mypy: misc  pyright: reportGeneralTypeIssues
    assert await large.predict(1.5, scale=2.0) == 12.0
    assert await Sized().describe() == "small-1"  # mypy: misc  pyright: reportGeneralTypeIssues
