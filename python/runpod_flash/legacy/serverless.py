"""Queue-based endpoints as resources: ``ServerlessResource``, ``ServerlessEndpoint`` and its CPU twin."""

from typing import Any, ClassVar

from pydantic import PrivateAttr, field_serializer, field_validator, model_validator
from typing_extensions import Self

from .. import (
    CPU_DATACENTERS,
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    GpuGroup,
    GpuType,
    ServerlessScalerType,
    ServerlessType,
    _official,
)
from . import constants, cpu, identity, settle
from .actions import Actions
from .template import PodTemplate
from .volume import NetworkVolume


class ServerlessResource(Actions):
    """A serverless endpoint: its fields are spelled as Runpod's API spells them.

    Values that depend on each other are brought in line when it is made: the ``live-`` prefix of
    the name, locations, volumes, GPU pools and the template.
    """

    #: Fields that say what the user wants; Runpod gets others that are made of them.
    _input_only: ClassVar[set[str]] = {
        "id",
        "cudaVersions",
        "datacenter",
        "env",
        "flashboot",
        "flashEnvironmentId",
        "gpus",
        "imageName",
        "networkVolume",
        "networkVolumes",
        "python_version",
    }
    _is_cpu_class: ClassVar[bool] = False
    _hashed_fields: ClassVar[set[str] | None] = identity.HASHED_FIELDS

    RUNTIME_FIELDS: ClassVar[set[str]] = identity.RUNTIME_FIELDS
    EXCLUDED_HASH_FIELDS: ClassVar[set[str]] = {"id"}

    cudaVersions: list[CudaVersion] | None = []
    env: dict[str, str] | None = None
    flashboot: bool | None = True
    gpus: list[GpuGroup | GpuType] | None = [GpuGroup.ANY]
    imageName: str | None = ""
    networkVolume: NetworkVolume | None = None
    networkVolumes: list[NetworkVolume] | None = None
    datacenter: list[DataCenter] | DataCenter | None = None
    python_version: str | None = None

    executionTimeoutMs: int | None = 0
    gpuCount: int | None = 1
    idleTimeout: int | None = 60
    minCudaVersion: CudaVersion | str | None = CudaVersion.V12_8
    instanceIds: list[CpuInstanceType] | None = None
    locations: str | None = None
    name: str
    networkVolumeId: str | None = None
    flashEnvironmentId: str | None = None
    scalerType: ServerlessScalerType | None = ServerlessScalerType.QUEUE_DELAY
    scalerValue: int | None = 4
    templateId: str | None = None
    type: ServerlessType | None = ServerlessType.QB
    workersMax: int | None = 1
    workersMin: int | None = 0
    workersPFBTarget: int | None = 0

    activeBuildid: str | None = None
    aiKey: str | None = None
    allowedCudaVersions: str | None = ""
    computeType: str | None = None
    createdAt: str | None = None
    gpuIds: str | None = ""
    hubRelease: str | None = None
    repo: str | None = None
    template: PodTemplate | None = None
    userId: str | None = None
    flashBootType: str | None = None

    _resource_id: str | None = PrivateAttr(default=None)
    #: The template that the user gave, before it got the endpoint's values.
    _own_template: PodTemplate | None = PrivateAttr(default=None)

    def __repr_args__(self) -> Any:
        # The key of the endpoint opens it.
        return [(name, value) for name, value in super().__repr_args__() if name != "aiKey"]

    @field_serializer("scalerType", "type")
    def _write_member(self, value: Any) -> Any:
        return None if value is None else getattr(value, "value", value)

    @field_serializer("datacenter")
    def _write_datacenter(self, value: Any) -> list[str] | None:
        return None if value is None else [center.value for center in value]

    @field_validator("datacenter", mode="before")
    @classmethod
    def _read_datacenter(cls, value: Any) -> list[DataCenter] | None:
        return settle.data_centers(value)

    @field_validator("minCudaVersion")
    @classmethod
    def _read_cuda_version(cls, value: Any) -> CudaVersion | None:
        return CudaVersion(value) if isinstance(value, str) else value

    @field_validator("gpus")
    @classmethod
    def _read_gpus(cls, value: Any) -> Any:
        return GpuGroup.all() if value and (GpuGroup.ANY in value or GpuType.ANY in value) else value

    @field_validator("python_version")
    @classmethod
    def _read_python_version(cls, value: str | None) -> str | None:
        return None if value is None else constants.validate_python_version(value)

    @field_validator("idleTimeout")
    @classmethod
    def _read_idle_timeout(cls, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= 3600:
            raise ValueError("idleTimeout must be between 1 and 3600 seconds")
        return value

    @model_validator(mode="after")
    def _settle_fields(self) -> Self:
        settle.volumes(self)
        settle.name(self)
        settle.locations(self)
        if self.networkVolumes and self.networkVolumes[0].id:
            self.networkVolumeId = self.networkVolumes[0].id
        self._settle_hardware()
        if self.instanceIds and isinstance(self.datacenter, list):
            settle.cpu_data_centers(self.datacenter, CPU_DATACENTERS)
        if self.workersMin is not None and self.workersMax is not None and self.workersMin > self.workersMax:
            raise ValueError(f"workersMin ({self.workersMin}) cannot be greater than workersMax ({self.workersMax})")
        return self

    def _settle_hardware(self) -> None:
        settle.gpus(self)

    @property
    def resource_id(self) -> str:
        """Class and digest of the fields that make it what it is; fixed when the template is made."""
        if self._resource_id is None:
            self._resource_id = super().resource_id
        return self._resource_id

    @property
    def config_hash(self) -> str:
        """Digest of the fields whose change makes an update of the endpoint."""
        return identity.config_hash(self)

    def payload(self) -> dict[str, Any]:
        """Return the fields that Runpod gets, as JSON values."""
        exclude = self._input_only - {"flashEnvironmentId"}
        if self.templateId:
            exclude = exclude | {"template"}
        payload = self.model_dump(exclude=exclude, exclude_none=True, mode="json")
        if self.template is not None and "template" in payload:
            payload["template"].pop("id", None)
        volumes = [volume.id for volume in self.networkVolumes or () if volume.id]
        if len(volumes) > 1:
            payload.pop("networkVolumeId", None)
            payload["networkVolumeIds"] = [{"networkVolumeId": volume} for volume in volumes]
        return payload


class ServerlessEndpoint(ServerlessResource):
    """A queue-based endpoint of an image of one's own: ``imageName``, ``template`` or ``templateId``."""

    @model_validator(mode="after")
    def _settle_template(self) -> Self:
        if self.instanceIds:
            # Asked for CPUs: there is no GPU beside them.
            self.gpus, self.gpuIds, self.gpuCount = [], "", 0
        self._fill_template()
        return self

    def _fill_template(self) -> None:
        settle.template(self)
        if self.template is not None and self.instanceIds:
            cpu.size_disk(self.template, self.instanceIds)
            hint = "" if self._is_cpu_class else settle.CPU_CLASS_HINT
            cpu.check_disk(self.template, self.instanceIds, hint)


class CpuServerlessEndpoint(cpu.CpuEndpointMixin, ServerlessEndpoint):
    """As :class:`ServerlessEndpoint`, on CPUs."""

    _input_only: ClassVar[set[str]] = ServerlessResource._input_only | settle.GPU_FIELDS

    gpus: list[Any] | None = None
    instanceIds: list[CpuInstanceType] | None = [CpuInstanceType.CPU3G_2_8]

    def _settle_hardware(self) -> None:
        settle.no_gpu(self)


_official.adopt("legacy.serverless")
