"""From ``Endpoint(...)`` to its resource and back."""

from typing import TYPE_CHECKING, Any

from .. import GpuGroup, ServerlessScalerType, _official
from . import balanced, live, serverless
from .constants import LIVE_PREFIX

if TYPE_CHECKING:
    from .. import Endpoint
    from .serverless import ServerlessResource

_CLASSES: dict[str, Any] = {
    name: vars(module)[name]
    for module in (serverless, balanced, live)
    for name in _official.MODULES["core.resources"][module.__name__.partition(".")[2]].split()
}


def resource(endpoint: "Endpoint", class_name: str, name: str) -> "ServerlessResource":
    """Make the resource of an endpoint."""
    arguments = endpoint._arguments
    scaler = endpoint.scaler_type
    if endpoint._explicit_scaler_type is None and issubclass(_CLASSES[class_name], balanced.LoadBalancerSlsResource):
        scaler = ServerlessScalerType.REQUEST_COUNT
    fields: dict[str, Any] = {
        "name": name,
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "idleTimeout": endpoint.idle_timeout,
        "executionTimeoutMs": endpoint.execution_timeout_ms,
        "flashboot": endpoint.flashboot,
        "datacenter": endpoint.datacenter,
        "scalerType": getattr(scaler, "value", scaler),
        "scalerValue": endpoint.scaler_value,
        "env": endpoint.env,
    }
    if endpoint.volume:
        one = len(endpoint.volume) == 1
        fields["networkVolume" if one else "networkVolumes"] = endpoint.volume[0] if one else endpoint.volume
    if endpoint.template is not None:
        fields["template"] = endpoint.template
    if endpoint.image is not None:
        fields["imageName"] = endpoint.image
    elif class_name not in live.__dict__:
        # A deployed endpoint runs in Flash's image, too; 1.21 leaves it to `flash deploy`.
        kind = "lb" if endpoint.is_load_balanced else "gpu"
        fields["imageName"] = live.default_image(kind, endpoint.is_cpu)
    if endpoint.is_cpu:
        fields["instanceIds"] = endpoint._cpu
    else:
        fields["gpus"] = endpoint._gpu or [GpuGroup.ANY]
        fields["gpuCount"] = endpoint.gpu_count
        if "min_cuda_version" not in arguments or endpoint.min_cuda_version is not None:
            fields["minCudaVersion"] = endpoint.min_cuda_version
        else:
            fields["minCudaVersion"] = None
    made: ServerlessResource = _CLASSES[class_name](**fields)
    return made


def balanced_resource(endpoint: "Endpoint", name: str) -> "ServerlessResource":
    """Make the resource of an image that answers requests: a load-balanced endpoint."""
    made = resource(endpoint, "CpuLiveLoadBalancer" if endpoint.is_cpu else "LiveLoadBalancer", name)
    made._check_deployable()
    return made


def arguments_of(resource: "ServerlessResource") -> dict[str, Any]:
    """Return the arguments of ``Endpoint(...)`` that say what a resource says."""
    name = resource.name
    while name.startswith(LIVE_PREFIX):
        name = name[len(LIVE_PREFIX) :]
    lowest, highest = resource.workersMin or 0, resource.workersMax
    arguments: dict[str, Any] = {
        "name": name,
        "workers": (lowest, max(lowest, 1) if highest is None else highest),
        "volume": resource.networkVolumes,
        "env": resource.env,
        "template": resource._own_template,
        "flashboot": bool(resource.flashboot),
        "scaler_type": resource.scalerType,
    }
    if resource._is_cpu_class or resource.instanceIds:
        arguments["cpu"] = resource.instanceIds
    else:
        arguments["gpu"] = resource.gpus or [GpuGroup.ANY]
        arguments["gpu_count"] = resource.gpuCount
        arguments["min_cuda_version"] = resource.minCudaVersion
    if "datacenter" in resource.model_fields_set and resource.datacenter:
        arguments["datacenter"] = resource.datacenter
    numbers = {
        "idle_timeout": resource.idleTimeout,
        "execution_timeout_ms": resource.executionTimeoutMs,
        "scaler_value": resource.scalerValue,
    }
    arguments.update({name: value for name, value in numbers.items() if value is not None})
    return arguments
