"""``NetworkVolume``: storage that workers of one data center share."""

from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, field_serializer, field_validator, model_validator
from typing_extensions import Self

from .. import DataCenter, _official
from .base import DeployableResource, digest


class NetworkVolume(DeployableResource):
    """A network volume: storage that workers of one data center share.

    ``name`` finds or makes a volume, ``id`` names one that exists. ``size`` is in GB, 10 to 4096.
    ``datacenter`` is a member of ``DataCenter`` or its value in any spelling.
    """

    model_config = ConfigDict(validate_default=True, extra="forbid")

    dataCenterId: DataCenter = DataCenter.EU_RO_1
    name: str | None = None
    size: int | None = Field(default=100, ge=10, le=4096)

    if TYPE_CHECKING:
        # With `datacenter`, which is no field.
        def __init__(
            self,
            *,
            name: str | None = None,
            size: int | None = 100,
            datacenter: DataCenter | str | None = None,
            dataCenterId: DataCenter | str = "EU-RO-1",
            id: str | None = None,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _take_datacenter(cls, data: Any) -> Any:
        if isinstance(data, dict) and "datacenter" in data:
            data = dict(data)
            center = data.pop("datacenter")
            if center is not None:
                data.setdefault("dataCenterId", center)
        return data

    @field_validator("dataCenterId", mode="before")
    @classmethod
    def _read_datacenter(cls, value: Any) -> Any:
        return DataCenter.from_string(value) if type(value) is str else value

    @field_validator("name")
    @classmethod
    def _read_name(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("name must not be empty or whitespace-only")
        return value

    @field_serializer("dataCenterId")
    def _write_datacenter(self, value: DataCenter) -> str:
        return value.value

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if self.name is None and self.id is None:
            raise ValueError("either 'name' or 'id' must be provided")
        return self

    @property
    def datacenter(self) -> DataCenter:
        """The data center, as a member of ``DataCenter``."""
        return self.dataCenterId

    def __getstate__(self) -> dict[Any, Any]:
        # 1.21 has a field of this name.
        return {**super().__getstate__(), "datacenter": None}

    @property
    def is_created(self) -> bool:
        """Whether it has an ID."""
        return self.id is not None

    @property
    def resource_id(self) -> str:
        """A name for it that does not change."""
        text = f"{self.name}:{self.dataCenterId.value}" if self.name else f"id:{self.id}"
        return f"NetworkVolume_{digest('NetworkVolume', text)}"

    def get_resource_key(self) -> str:
        """Return the key that it is tracked by: volumes of one name in two data centers are two."""
        return f"NetworkVolume:{self.name}:{self.dataCenterId.value}" if self.name else self.resource_id

    @property
    def url(self) -> str:
        """The page of volumes in Runpod's console."""
        if self.id is None:
            raise ValueError("Network volume ID is not set")
        from . import urls

        return f"{urls.RUNPOD_CONSOLE_URL}/user/storage"

    async def is_deployed(self) -> bool:
        """Return whether Runpod has a volume of this ID."""
        if self.id is None:
            return False
        from . import cloud

        return any(volume.get("id") == self.id for volume in await cloud.volumes())

    async def deploy(self) -> Self:
        """Find the volume of this name and data center, or make it; its ID is kept."""
        from . import cloud

        self.id = await cloud.ensure_volume(self)
        return self

    async def undeploy(self) -> dict[str, Any]:
        """Refuse: a volume holds data, and is removed by hand."""
        raise NotImplementedError(
            "NetworkVolume undeploy is not yet supported. Network volumes must be manually deleted via "
            "RunPod UI or API."
        )


_official.adopt("legacy.volume")
