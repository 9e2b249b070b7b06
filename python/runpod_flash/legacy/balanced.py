"""Load-balanced endpoints as resources."""

from typing import Any, ClassVar

from pydantic import model_validator
from typing_extensions import Self

from .. import CpuInstanceType, ServerlessScalerType, ServerlessType, _official
from . import cpu, settle
from .serverless import ServerlessResource


class LoadBalancerSlsResource(ServerlessResource):
    """An endpoint that answers HTTP requests itself; it scales by their number."""

    type: ServerlessType | None = ServerlessType.LB

    def __init__(self, **data: Any) -> None:
        data["type"] = ServerlessType.LB
        data.setdefault("scalerType", ServerlessScalerType.REQUEST_COUNT)
        super().__init__(**data)

    @model_validator(mode="after")
    def _settle_template(self) -> Self:
        settle.template(self)
        if self.template is not None and self._is_cpu_class:
            cpu.size_disk(self.template, self.instanceIds)
            cpu.check_disk(self.template, self.instanceIds)
        return self

    def _check_deployable(self) -> None:
        if self.scalerType == ServerlessScalerType.QUEUE_DELAY:
            raise ValueError(
                "LoadBalancerSlsResource requires REQUEST_COUNT scaler, not QUEUE_DELAY. "
                "Load balancer endpoints have no queue to measure."
            )


class CpuLoadBalancerSlsResource(cpu.CpuEndpointMixin, LoadBalancerSlsResource):
    """As :class:`LoadBalancerSlsResource`, on CPUs."""

    _input_only: ClassVar[set[str]] = ServerlessResource._input_only | settle.GPU_FIELDS

    instanceIds: list[CpuInstanceType] | None = [CpuInstanceType.CPU3G_2_8]

    def _settle_hardware(self) -> None:
        settle.no_gpu(self)


_official.adopt("legacy.balanced")
