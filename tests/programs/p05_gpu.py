"""GPU hardware: a group, a type, lists, a mixed list that ends with ANY, none at all."""

from runpod_flash import Endpoint, GpuGroup, GpuType


@Endpoint(name="p05-group", gpu=GpuGroup.ADA_24)
def group():
    return "group"


@Endpoint(name="p05-type", gpu=GpuType.NVIDIA_A100_80GB_PCIe)
def one_type():
    return "type"


@Endpoint(name="p05-groups", gpu=[GpuGroup.ADA_24, GpuGroup.AMPERE_80])
def groups():
    return "groups"


@Endpoint(name="p05-types", gpu=[GpuType.NVIDIA_L4, GpuType.NVIDIA_H200])
def types():
    return "types"


@Endpoint(name="p05-mixed", gpu=[GpuType.NVIDIA_L4, GpuGroup.AMPERE_80, GpuGroup.ANY])
def mixed():
    return "mixed"


@Endpoint(name="p05-none")
def nothing():
    return "none"


async def main():
    assert await nothing() == "none"
