"""The GPU worker that shares a volume with the API in `p16_volume_api.py`."""

from runpod_flash import DataCenter, Endpoint, GpuType, NetworkVolume

volume = NetworkVolume(name="p16-shared", size=100, datacenter=DataCenter.EU_RO_1)


@Endpoint(name="p16-gpu", gpu=GpuType.NVIDIA_L4, volume=volume, datacenter=DataCenter.EU_RO_1)
async def write_model(name: str) -> str:
    return f"/runpod-volume/{name}"


async def main():
    assert await write_model("a") == "/runpod-volume/a"
