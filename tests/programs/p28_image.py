"""Endpoints of images, declared at module level: nothing is sent for that. With a key they are made, and called."""

import os

from runpod_flash import DataCenter, Endpoint, GpuType, NetworkVolume, PodTemplate

vllm = Endpoint(
    name="p28-vllm",
    image="vllm/vllm-openai:latest",
    gpu=GpuType.NVIDIA_A100_80GB_PCIe,
    env={"MODEL": os.environ.get("P28_MODEL", "small")},
    workers=3,
    idle_timeout=600,
    volume=NetworkVolume(name="p28-models", size=100, datacenter=DataCenter.US_CA_2),
    datacenter=DataCenter.US_CA_2,
    template=PodTemplate(containerDiskInGb=100),
)
on_cpu = Endpoint(name="p28-cpu", image="runpod/flash-cpu:py3.12-latest", cpu="cpu3c-1-2")

# What an image of Flash's own takes as its input.
INPUT = {"function_name": "f", "function_code": "def f(x): return x + 1", "serialization_format": "json", "args": [1]}


async def main():
    assert vllm.is_client
    assert on_cpu.is_client
    assert not vllm.is_load_balanced
    assert vllm.workers_max == 3
    config = vllm._build_resource_config()
    assert config.imageName == "vllm/vllm-openai:latest"
    assert config.workersMax == 3
    if os.environ.get("RUNPOD_API_KEY"):
        job = await on_cpu.run(INPUT)
        await job.wait(timeout=60)
        assert job.output["json_result"] == 2, job.output
        ended = await on_cpu.runsync({**INPUT, "args": [2]})
        assert ended.output["json_result"] == 3
        assert set(await on_cpu.health()) == {"jobs", "workers"}
