"""Data centers by enum, string and list, for GPU and CPU."""

from runpod_flash import DataCenter, Endpoint, GpuType


@Endpoint(name="p14-enum", gpu=GpuType.NVIDIA_L4, datacenter=DataCenter.EU_RO_1)
def by_enum():
    return 1


@Endpoint(name="p14-string", gpu=GpuType.NVIDIA_L4, datacenter="US-CA-2")
def by_string():
    return 2


@Endpoint(name="p14-list", gpu=GpuType.NVIDIA_L4, datacenter=[DataCenter.EU_RO_1, "US-CA-2"])
def by_list():
    return 3


@Endpoint(name="p14-cpu", cpu="cpu3c-1-2", datacenter=DataCenter.EU_RO_1)
def on_cpu():
    return 4


async def main():
    assert await on_cpu() == 4
