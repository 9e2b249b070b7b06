"""Functions and classes that run as Runpod endpoints, on this machine or in the cloud.

Importing this package reads the nearest ``.env`` and nothing else: a public name is loaded when it
is first touched. Where ``LOG_LEVEL`` is set, it sets logging up as 1.21 does, without a file.
"""

from __future__ import annotations

import os as _os
import sys as _sys

from . import _core

__version__ = "1.22.0"

#: The names of 1.21 in its order, then ours.
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

DEFAULT_WORKERS_MIN = 0
DEFAULT_WORKERS_MAX = 1

#: Names and the modules that have them.
_SOURCES = {
    "Endpoint": "endpoint",
    "EndpointJob": "_job",
    "FlashApp": "legacy.app",
    "FlashError": "errors",
    "NetworkVolume": "legacy.volume",
    "PodTemplate": "legacy.template",
    "RemoteExecutionError": "errors",
    "ResourceManager": "legacy.manager",
}

#: As `_SOURCES`; touching one warns.
_DEPRECATED = {
    "CpuLiveLoadBalancer": "legacy.live",
    "CpuLiveServerless": "legacy.live",
    "CpuLoadBalancerSlsResource": "legacy.balanced",
    "CpuServerlessEndpoint": "legacy.serverless",
    "LiveLoadBalancer": "legacy.live",
    "LiveServerless": "legacy.live",
    "LoadBalancerSlsResource": "legacy.balanced",
    "ServerlessEndpoint": "legacy.serverless",
    "remote": "legacy.remote",
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


def __getattr__(name: str) -> object:
    if name in _SOURCES:
        # Not importlib: it would be loaded for this alone.
        value = getattr(__import__(f"{__name__}.{_SOURCES[name]}", fromlist=(name,)), name)
    elif name in _ENUMS:
        from . import _enums

        value = _enums.build(name)
    elif name in _DEPRECATED:
        import warnings

        warnings.warn(
            f"runpod_flash.{name} is deprecated. Use runpod_flash.Endpoint instead.", DeprecationWarning, stacklevel=2
        )
        # Not kept: each place that touches it is told.
        return getattr(__import__(f"{__name__}.{_DEPRECATED[name]}", fromlist=(name,)), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _OfficialPaths:
    """Finds modules that 1.21 has and this package has not as files; asked after all others."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> object:
        if not name.startswith(f"{__name__}."):
            return None
        from . import _official

        return _official.spec(name)


_sys.meta_path.append(_OfficialPaths)  # type: ignore[arg-type]


def _load_dotenv() -> None:
    try:
        folder = _os.getcwd()
    except OSError:  # The folder was removed under the program.
        return
    for key, value in _core.read_dotenv(folder):
        _os.environ.setdefault(key, value)


_load_dotenv()


def _set_up_logging() -> None:
    # A worker does it when its output has a place to go.
    if _os.environ.get("LOG_LEVEL") and not (_os.environ.get("RUNPOD_ENDPOINT_ID") or _os.environ.get("RUNPOD_POD_ID")):
        from .legacy.logs import setup_logging

        setup_logging()


_set_up_logging()
