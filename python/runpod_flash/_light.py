"""An endpoint's resource object, made when more than its name is touched.

``fn.__remote_config__["resource_config"]`` is a pydantic model in 1.21. Here it stands for one,
``isinstance`` and ``==`` included, so that decorating a function does not load pydantic.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .endpoint import Endpoint

_classes: dict[str, type[ResourceConfig]] = {}


class ResourceConfig:
    """Stands for the resource of an endpoint."""

    __slots__ = ("__weakref__", "_endpoint", "_is_live", "_model")

    _endpoint: Endpoint
    _is_live: bool
    _model: Any

    @property
    def __class__(self) -> Any:
        return type(resource_of(self))

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a resource cannot be changed")

    @property
    def name(self) -> str:
        """Name that Runpod gets."""
        if self._model is not None:
            return str(self._model.name)
        name = self._endpoint._normalized_name(self._endpoint.name or "")
        return f"live-{name}" if self._is_live else name

    @property
    def resource_type(self) -> str:
        """Name of the class that it stands for."""
        return type(self).__name__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and not name.startswith("__pydantic") and name != "__dict__":
            # What Python itself looks for on any object does not make the model.
            raise AttributeError(name)
        return getattr(resource_of(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(resource_of(self), name, value)

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if type(other).__mro__[-2] is ResourceConfig:
            other = resource_of(other)
        return bool(resource_of(self) == other)

    # As a pydantic model.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.resource_type} {self.name!r}>"

    def __str__(self) -> str:
        return str(resource_of(self))

    def __reduce__(self) -> tuple[Any, ...]:
        # As the model: a pickle is for other programs, too.
        return _same, (resource_of(self),)


def light(endpoint: Endpoint) -> ResourceConfig:
    """Return what stands for an endpoint's resource; which class it is, is decided now."""
    flag = os.environ.get("FLASH_IS_LIVE_PROVISIONING", "").lower()
    in_worker = bool(os.environ.get("RUNPOD_ENDPOINT_ID") or os.environ.get("RUNPOD_POD_ID"))
    cpu = "Cpu" if endpoint.is_cpu else ""
    if flag == "false" and not in_worker:
        kind = "LoadBalancerSlsResource" if endpoint.is_load_balanced else "ServerlessEndpoint"
    else:
        kind = "LiveLoadBalancer" if endpoint.is_load_balanced else "LiveServerless"
    config = _empty(f"{cpu}{kind}")
    for name, value in (("_endpoint", endpoint), ("_is_live", flag == "true"), ("_model", None)):
        object.__setattr__(config, name, value)
    return config


def resource_of(config: Any) -> Any:
    """Return the model that an object of this module stands for."""
    if config._model is None:
        from .legacy import declared

        object.__setattr__(config, "_model", declared.resource(config._endpoint, type(config).__name__, config.name))
    return config._model


def _same(model: Any) -> Any:
    return model


def _empty(class_name: str) -> ResourceConfig:
    cls = _classes.get(class_name)
    if cls is None:
        # `type(config).__name__` is what tools read of it, too.
        cls = _classes[class_name] = type(class_name, (ResourceConfig,), {"__slots__": ()})
    return cls.__new__(cls)
