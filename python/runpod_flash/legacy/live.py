"""Resources whose workers run Flash's own image and take the code with the call."""

from typing import Any, ClassVar

from pydantic import model_validator

from .. import _official
from .balanced import CpuLoadBalancerSlsResource, LoadBalancerSlsResource
from .constants import DEFAULT_PYTHON_VERSION, get_image_name
from .serverless import CpuServerlessEndpoint, ServerlessEndpoint


def default_image(kind: str, is_cpu: bool) -> str:
    """Return Flash's image for an endpoint, ``kind`` being ``gpu`` or ``lb``."""
    image_type = ("cpu" if kind == "gpu" else "lb-cpu") if is_cpu else kind
    return get_image_name(image_type, DEFAULT_PYTHON_VERSION)


class LiveServerlessMixin:
    """Fills in Flash's image; an image of one's own wins."""

    _image_type: ClassVar[str] = ""

    @property
    def _live_image(self) -> str:
        return get_image_name(self._image_type, getattr(self, "python_version", None) or DEFAULT_PYTHON_VERSION)

    @model_validator(mode="before")
    @classmethod
    def _fill_image(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("imageName"):
            version = data.get("python_version") or DEFAULT_PYTHON_VERSION
            data = {**data, "imageName": get_image_name(cls._image_type, version)}
        return data


class LiveServerless(LiveServerlessMixin, ServerlessEndpoint):
    """A queue-based endpoint that runs shipped functions on GPUs."""

    _image_type: ClassVar[str] = "gpu"


class CpuLiveServerless(LiveServerlessMixin, CpuServerlessEndpoint):
    """A queue-based endpoint that runs shipped functions on CPUs."""

    _image_type: ClassVar[str] = "cpu"


class LiveLoadBalancer(LiveServerlessMixin, LoadBalancerSlsResource):
    """A load-balanced endpoint that runs shipped routes on GPUs."""

    _image_type: ClassVar[str] = "lb"


class CpuLiveLoadBalancer(LiveServerlessMixin, CpuLoadBalancerSlsResource):
    """A load-balanced endpoint that runs shipped routes on CPUs."""

    _image_type: ClassVar[str] = "lb-cpu"


_official.adopt("legacy.live")
