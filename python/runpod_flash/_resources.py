"""``NetworkVolume`` and ``PodTemplate``: pydantic models, as in 1.21."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from . import _enums


class _Resource(BaseModel):
    model_config = ConfigDict(validate_default=True)

    id: str | None = None


class NetworkVolume(_Resource):
    """A network volume: storage that workers of one data center share.

    ``name`` finds or makes a volume, ``id`` names one that exists. ``size`` is in GB, 10 to 4096.
    ``datacenter`` is a member of ``DataCenter`` or its value in any spelling.
    """

    model_config = ConfigDict(validate_default=True, extra="forbid")

    name: str | None = None
    size: int | None = Field(default=100, ge=10, le=4096)
    dataCenterId: Any = "EU-RO-1"

    @model_validator(mode="before")
    @classmethod
    def _take_datacenter(cls, data: Any) -> Any:
        if isinstance(data, dict) and "datacenter" in data:
            data = dict(data)
            center = data.pop("datacenter")
            if center is not None:
                data.setdefault("dataCenterId", center)
        return data

    @field_validator("dataCenterId")
    @classmethod
    def _read_datacenter(cls, value: Any) -> Any:
        data_center = _enums.enum_class("DataCenter")
        return value if isinstance(value, data_center) else data_center.from_string(str(value))

    @model_validator(mode="after")
    def _check_identity(self) -> NetworkVolume:
        if self.name is None and self.id is None:
            raise ValueError("either 'name' or 'id' must be provided")
        if self.name is not None and not self.name.strip():
            raise ValueError("name must not be empty or whitespace-only")
        return self

    @property
    def datacenter(self) -> Any:
        """The data center, as a member of ``DataCenter``."""
        return self.dataCenterId

    @property
    def is_created(self) -> bool:
        """Whether it has an ID."""
        return self.id is not None

    @property
    def resource_id(self) -> str:
        """A name for it that does not change."""
        text = f"{self.name}:{self.dataCenterId.value}" if self.name else f"id:{self.id}"
        return "NetworkVolume_" + hashlib.md5(f"NetworkVolume:{text}".encode(), usedforsecurity=False).hexdigest()

    def __str__(self) -> str:
        return f"NetworkVolume:{self.id}"


class KeyValuePair(BaseModel):
    """An environment variable of a template."""

    key: str
    value: str

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> list[KeyValuePair]:
        """Return one pair per entry."""
        if not isinstance(data, dict):
            raise ValueError("Input must be a dictionary.")
        return [cls(key=key, value=value) for key, value in data.items()]


class PodTemplate(_Resource):
    """Container settings of an endpoint; the disk is in GB."""

    advancedStart: bool | None = False
    config: dict[str, Any] | None = {}
    containerDiskInGb: int | None = 64
    containerRegistryAuthId: str | None = ""
    dockerArgs: str | None = ""
    env: list[KeyValuePair] | None = []
    imageName: str | None = ""
    name: str | None = ""
    ports: str | None = ""
    startScript: str | None = ""


__all__ = ["KeyValuePair", "NetworkVolume", "PodTemplate"]
