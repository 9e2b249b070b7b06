from ._enums import (
    CPU_DATACENTERS,
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    GpuGroup,
    GpuType,
    ServerlessScalerType,
    ServerlessType,
)
from ._resources import NetworkVolume, PodTemplate
from .endpoint import Endpoint
from .errors import FlashError, RemoteExecutionError

__version__: str

__all__ = [
    "CPU_DATACENTERS",
    "DEFAULT_WORKERS_MAX",
    "DEFAULT_WORKERS_MIN",
    "CpuInstanceType",
    "CudaVersion",
    "DataCenter",
    "Endpoint",
    "FlashError",
    "GpuGroup",
    "GpuType",
    "NetworkVolume",
    "PodTemplate",
    "RemoteExecutionError",
    "ServerlessScalerType",
    "ServerlessType",
]

DEFAULT_WORKERS_MIN: int
DEFAULT_WORKERS_MAX: int
