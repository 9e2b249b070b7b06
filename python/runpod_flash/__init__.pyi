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
from ._job import EndpointJob
from .endpoint import Endpoint
from .errors import FlashError, RemoteExecutionError
from .legacy.app import FlashApp
from .legacy.balanced import CpuLoadBalancerSlsResource, LoadBalancerSlsResource
from .legacy.live import CpuLiveLoadBalancer, CpuLiveServerless, LiveLoadBalancer, LiveServerless
from .legacy.manager import ResourceManager
from .legacy.remote import remote
from .legacy.serverless import CpuServerlessEndpoint, ServerlessEndpoint
from .legacy.template import PodTemplate
from .legacy.volume import NetworkVolume

__version__: str

__all__ = [  # noqa: RUF022
    "Endpoint",
    "EndpointJob",
    "remote",
    "CPU_DATACENTERS",
    "CpuInstanceType",
    "CpuLiveLoadBalancer",
    "CpuLiveServerless",
    "CpuLoadBalancerSlsResource",
    "CpuServerlessEndpoint",
    "CudaVersion",
    "DataCenter",
    "GpuGroup",
    "GpuType",
    "LiveLoadBalancer",
    "LiveServerless",
    "LoadBalancerSlsResource",
    "NetworkVolume",
    "PodTemplate",
    "ResourceManager",
    "ServerlessEndpoint",
    "ServerlessScalerType",
    "ServerlessType",
    "FlashApp",
    "DEFAULT_WORKERS_MIN",
    "DEFAULT_WORKERS_MAX",
    "FlashError",
    "RemoteExecutionError",
]

DEFAULT_WORKERS_MIN: int
DEFAULT_WORKERS_MAX: int
