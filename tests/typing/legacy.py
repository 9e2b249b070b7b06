"""The names of the older API, with the types that they have; comments name the errors of wrong calls."""

from __future__ import annotations

from typing import Any

from runpod_flash import (
    CpuInstanceType,
    CpuLiveServerless,
    DataCenter,
    FlashApp,
    GpuGroup,
    LiveLoadBalancer,
    LiveServerless,
    NetworkVolume,
    PodTemplate,
    ResourceManager,
    ServerlessEndpoint,
    remote,
)
from typing_extensions import assert_type

config = LiveServerless(name="x", gpus=[GpuGroup.ADA_24], workersMax=3, datacenter=DataCenter.EU_RO_1)
cpu_config = CpuLiveServerless(name="y", instanceIds=[CpuInstanceType.CPU3C_1_2])
api = LiveLoadBalancer(name="api")
image = ServerlessEndpoint(
    name="image",
    imageName="mine:1",
    template=PodTemplate(containerDiskInGb=50),
    networkVolume=NetworkVolume(name="v", size=20),
)


@remote(config, dependencies=["numpy"])
def add(first: int, second: int = 2) -> int:
    """Add."""
    return first + second


@remote(resource_config=cpu_config)
async def describe(text: str) -> dict[str, Any]:
    """Describe."""
    return {"text": text}


@remote(config)
class Model:
    """A model."""

    def __init__(self, size: str = "small") -> None:
        self.size = size

    async def generate(self, prompt: str) -> list[str]:
        """Generate."""
        return [prompt]


@remote(api, method="POST", path="/x")
def route(text: str) -> str:
    """Return it."""
    return text


@remote(config, local=True)
def here(text: str) -> str:
    """Return it."""
    return text


wrong = LiveServerless(name="x", worker_max=3)  # mypy: call-arg  pyright: reportCallIssue
nameless = LiveServerless(gpus=[GpuGroup.ADA_24])  # mypy: call-arg  pyright: reportCallIssue
small = NetworkVolume(name="v", size="20")  # mypy: arg-type  pyright: reportArgumentType
misspelt = remote(config, dependancies=["a"])  # mypy: call-overload  pyright: reportCallIssue


async def main() -> None:
    """Call everything."""
    assert_type(await add(1), int)
    assert_type(await describe("a"), dict[str, Any])
    assert_type(await Model("large").generate("a"), list[str])
    assert_type(route("a"), str)
    assert_type(here("a"), str)
    await add("1")  # mypy: arg-type  pyright: reportArgumentType
    Model(size=3)  # mypy: arg-type  pyright: reportArgumentType
    route(1)  # mypy: arg-type  pyright: reportArgumentType
    deployed = await image.deploy()
    print(deployed.id, image.endpoint_url, ResourceManager().list_all_resources())
    print(await FlashApp.from_name("app"))
