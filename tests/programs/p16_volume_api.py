"""The API that shares a volume with the GPU worker in `p16_volume_gpu.py`."""

from runpod_flash import DataCenter, Endpoint, NetworkVolume

volume = NetworkVolume(name="p16-shared", size=100, datacenter=DataCenter.EU_RO_1)
api = Endpoint(name="p16-api", cpu="cpu3c-1-2", volume=volume, datacenter=DataCenter.EU_RO_1)


@api.get("/models")
async def models() -> dict:
    return {"root": "/runpod-volume"}


async def main():
    assert await models() == {"root": "/runpod-volume"}
