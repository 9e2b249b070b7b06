"""Numbers and image names of ``core.resources.constants``."""

import os
from typing import Any

WORKER_PYTHON_VERSION = GPU_BASE_IMAGE_PYTHON_VERSION = DEFAULT_PYTHON_VERSION = "3.12"
GPU_PYTHON_VERSIONS = CPU_PYTHON_VERSIONS = SUPPORTED_PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13")

DEFAULT_WORKERS_MIN = 0
DEFAULT_WORKERS_MAX = 1
DEFAULT_LB_STUB_TIMEOUT = 60.0
DEFAULT_RUNSYNC_TIMEOUT_S = 60
LIVE_PREFIX = "live-"

TARBALL_CONTENT_TYPE = "application/gzip"
MAX_TARBALL_SIZE_MB = 1500
VALID_TARBALL_EXTENSIONS = (".tar.gz", ".tgz")
GZIP_MAGIC_BYTES = (0x1F, 0x8B)
UPLOAD_TIMEOUT_SECONDS = 600
UPLOAD_MAX_RETRIES = 3
UPLOAD_BACKOFF_BASE_SECONDS = 2.0
UPLOAD_BACKOFF_MAX_SECONDS = 30.0

#: Kind of image, then its name and the variable that replaces it.
_IMAGES = {
    "gpu": ("runpod/flash", "FLASH_GPU_IMAGE"),
    "cpu": ("runpod/flash-cpu", "FLASH_CPU_IMAGE"),
    "lb": ("runpod/flash-lb", "FLASH_LB_IMAGE"),
    "lb-cpu": ("runpod/flash-lb-cpu", "FLASH_CPU_LB_IMAGE"),
}


def get_image_name(image_type: str, python_version: str, *, tag: str | None = None) -> str:
    """Return the image that workers of a kind run in."""
    if image_type not in _IMAGES:
        raise ValueError(f"Unknown image type '{image_type}'. Valid types: {', '.join(sorted(_IMAGES))}")
    name, variable = _IMAGES[image_type]
    replaced = os.environ.get(variable)
    if replaced:
        return replaced
    tag = tag or os.environ.get("FLASH_IMAGE_TAG", "latest")
    return f"{name}:py{validate_python_version(python_version)}-{tag}"


def validate_python_version(version: str) -> str:
    """Return a Python version that there are images for."""
    if version not in SUPPORTED_PYTHON_VERSIONS:
        raise ValueError(
            f"Python {version} is not supported. Supported versions: {', '.join(SUPPORTED_PYTHON_VERSIONS)}"
        )
    return version


def __getattr__(name: str) -> Any:
    if name == "FLASH_IMAGE_TAG":
        return os.environ.get("FLASH_IMAGE_TAG", "latest")
    if name == "FLASH_CPU_LB_IMAGE":
        return get_image_name("lb-cpu", DEFAULT_PYTHON_VERSION)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
