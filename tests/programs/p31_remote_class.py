"""The older API on a class."""

from runpod_flash import GpuGroup, LiveServerless, remote

config = LiveServerless(name="p31", gpus=[GpuGroup.AMPERE_80])


@remote(resource_config=config, dependencies=["diffusers"])
class SD:
    def __init__(self):
        self.style = "oil"

    def generate(self, prompt):
        return f"{self.style}: {prompt}"


async def main():
    sd = SD()
    assert await sd.generate("cat") == "oil: cat"  # only pyright: reportGeneralTypeIssues
