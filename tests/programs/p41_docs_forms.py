"""Forms that the docs use and 1.21 does not have."""

from runpod_flash import CudaVersion, DataCenter, Endpoint, GpuType

FORMS = [
    Endpoint(name="p41-a", gpu=GpuType.NVIDIA_L4, datacenter=center)
    for center in (DataCenter.US_GA_2, DataCenter.US_MD_1, DataCenter.US_NC_1, DataCenter.EUR_IS_1)
]


async def main():
    assert [form.datacenter.value for form in FORMS] == ["US-GA-2", "US-MD-1", "US-NC-1", "EUR-IS-1"]
    for version in (CudaVersion.V11_1, CudaVersion.V11_4, CudaVersion.V11_7):
        Endpoint(name="p41-b", gpu=GpuType.NVIDIA_L4, min_cuda_version=version)
