"""Functions and classes that run as Runpod endpoints, on this machine or in the cloud.

Importing this package reads the nearest ``.env`` and nothing else: a public name is loaded when it
is first touched.
"""

from __future__ import annotations

import os as _os

from . import _core

__version__ = "1.22.0"

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

DEFAULT_WORKERS_MIN = 0
DEFAULT_WORKERS_MAX = 1

_SOURCES = {
    "Endpoint": "endpoint",
    "NetworkVolume": "_resources",
    "PodTemplate": "_resources",
    "FlashError": "errors",
    "RemoteExecutionError": "errors",
}

_ENUMS = frozenset(
    {
        "CPU_DATACENTERS",
        "CpuInstanceType",
        "CudaVersion",
        "DataCenter",
        "GpuGroup",
        "GpuType",
        "ServerlessScalerType",
        "ServerlessType",
    }
)

#: Names of 1.21 that this release does not have yet, with what does their work.
_LATER = {
    "remote": "Endpoint(...) as a decorator",
    "LiveServerless": "Endpoint(gpu=...)",
    "ServerlessEndpoint": "Endpoint(gpu=..., image=...)",
    "CpuLiveServerless": "Endpoint(cpu=...)",
    "CpuServerlessEndpoint": "Endpoint(cpu=..., image=...)",
    "LiveLoadBalancer": "Endpoint(name=..., gpu=...) with .get/.post routes",
    "LoadBalancerSlsResource": "Endpoint(name=..., gpu=...) with .get/.post routes",
    "CpuLiveLoadBalancer": "Endpoint(name=..., cpu=...) with .get/.post routes",
    "CpuLoadBalancerSlsResource": "Endpoint(name=..., cpu=...) with .get/.post routes",
    "EndpointJob": "`await` on the decorated function",
    "ResourceManager": "the `flash` command",
    "FlashApp": "the `flash` command",
}


def __getattr__(name: str) -> object:
    if name in _SOURCES:
        # Not importlib: it would be loaded for this alone.
        value = getattr(__import__(f"{__name__}.{_SOURCES[name]}", fromlist=(name,)), name)
    elif name in _ENUMS:
        from . import _enums

        value = _enums.build(name)
    elif name in _LATER:
        # An AttributeError would lose its text in `from runpod_flash import …`.
        raise ImportError(
            f"runpod_flash.{name} is not part of release {__version__}; use {_LATER[name]}", name=__name__
        )
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _load_dotenv() -> None:
    try:
        folder = _os.getcwd()
    except OSError:  # The folder was removed under the program.
        return
    for key, value in _core.read_dotenv(folder):
        _os.environ.setdefault(key, value)


_load_dotenv()
