"""The name comes from the function."""

from runpod_flash import Endpoint, GpuGroup


@Endpoint(gpu=GpuGroup.ANY)
async def p10_named_by_function(x: int) -> int:
    return x


async def main():
    assert await p10_named_by_function(4) == 4
    assert p10_named_by_function.__remote_config__["resource_config"].name.endswith("p10_named_by_function")
