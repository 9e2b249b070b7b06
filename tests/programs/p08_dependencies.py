"""Packages with versions, system packages, and downloads that are not accelerated."""

from runpod_flash import Endpoint


@Endpoint(
    name="p08",
    cpu="cpu3c-1-2",
    dependencies=["requests==2.32.3", "Pillow>=10.0.0", "python-dateutil<3.0.0", "httpx"],
    system_dependencies=["ffmpeg", "libgl1"],
    accelerate_downloads=False,
)
async def fetch(url: str) -> str:
    return url.upper()


async def main():
    assert await fetch("a") == "A"
