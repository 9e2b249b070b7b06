"""Network volumes: one, two in two data centers, by ID."""

from runpod_flash import DataCenter, Endpoint, GpuType, NetworkVolume

cache = NetworkVolume(name="model-cache", size=100, datacenter=DataCenter.US_CA_2)
europe = NetworkVolume(name="model-cache-eu", size=50, datacenter=DataCenter.EU_RO_1)


@Endpoint(name="p15-one", gpu=GpuType.NVIDIA_L4, volume=cache, datacenter=DataCenter.US_CA_2)
def one():
    return 1


@Endpoint(
    name="p15-two",
    gpu=GpuType.NVIDIA_L4,
    volume=[cache, europe],
    datacenter=[DataCenter.US_CA_2, DataCenter.EU_RO_1],
)
def two():
    return 2


async def main():
    assert NetworkVolume(id="vol_abc123").id == "vol_abc123"
    assert NetworkVolume(name="x").size == 100
    assert await one() == 1
