"""Container settings."""

from runpod_flash import Endpoint, GpuType, PodTemplate


@Endpoint(
    name="p13",
    gpu=GpuType.NVIDIA_L4,
    template=PodTemplate(containerDiskInGb=100, env=[{"key": "PYTHONPATH", "value": "/workspace"}]),
)
async def disk(x: int) -> int:
    return x


async def main():
    assert await disk(1) == 1
    assert disk.__remote_config__["resource_config"].template.containerDiskInGb == 100
