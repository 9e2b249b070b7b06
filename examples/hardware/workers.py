"""Hardware for each function: a list of GPUs that will do, a CPU by its size, worker limits, time limits, a class.

Call it:

    curl -X POST localhost:8888/hardware/workers/factors/runsync -d '{"input": {"number": 360}}'
    curl -X POST localhost:8888/hardware/workers/smooth/runsync -d '{"input": {"values": [1, 9, 1, 9], "width": 2}}'
    curl -X POST localhost:8888/hardware/workers/add/runsync -d '{"input": {"by": 5}}'
"""

from runpod_flash import CpuInstanceType, Endpoint, GpuType


@Endpoint(name="factors", cpu=CpuInstanceType.CPU3C_1_2, workers=(0, 3), execution_timeout_ms=10_000)
def factors(number: int) -> list[int]:
    """Return the prime factors of a number; a plain function does as well as an async one."""
    found = []
    candidate = 2
    while candidate * candidate <= number:
        while number % candidate == 0:
            found.append(candidate)
            number //= candidate
        candidate += 1
    return [*found, number] if number > 1 else found


@Endpoint(
    name="smooth",
    gpu=[GpuType.NVIDIA_GEFORCE_RTX_4090, GpuType.NVIDIA_L4],
    gpu_count=1,
    workers=(0, 2),
    idle_timeout=30,
    dependencies=["numpy"],
)
async def smooth(values: list[float], width: int = 3) -> list[float]:
    """Return the running mean of a series."""
    import numpy as np

    averaged: list[float] = np.convolve(values, np.ones(width) / width, mode="valid").tolist()
    return averaged


@Endpoint(name="counter", cpu="cpu3c-1-2", workers=(0, 1))
class Counter:
    """Keeps its state between calls: there is one instance for each worker."""

    def __init__(self) -> None:
        """Load what is expensive to load here."""
        self.total = 0

    async def add(self, by: int = 1) -> dict[str, int]:
        """Add to the total and return it."""
        self.total += by
        return {"total": self.total}
