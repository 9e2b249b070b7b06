"""The file in its own worker: its function is the plain one, others are not, and nothing warns."""

import inspect
import warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from runpod_flash import Endpoint, GpuType

FUTURE = [str(warning.message) for warning in caught if issubclass(warning.category, FutureWarning)]


@Endpoint(name="p35", gpu=GpuType.NVIDIA_L4)
def own(x: int) -> dict:
    """Say what this looks like from inside."""
    return {
        "own is plain": not inspect.iscoroutinefunction(own) and not hasattr(own, "__wrapped__"),
        "other is not": inspect.iscoroutinefunction(other),
        "called": own_too(x),
        "warned": FUTURE,
    }


def own_too(x: int) -> int:
    return x + 1


@Endpoint(name="p35-other", cpu="cpu3c-1-2")
def other(x: int) -> int:
    return x


EXPECTED = {"own is plain": True, "other is not": True, "called": 2, "warned": []}


async def main():
    assert await own(1) == EXPECTED
    assert await other(2) == 2
