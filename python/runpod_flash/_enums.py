"""The public enums, made from the core's tables when they are first touched."""

from __future__ import annotations

import sys
from enum import Enum, EnumMeta

from . import _core

TYPE_CHECKING = False  # Importing typing would cost more than making the enums.
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PACKAGE = "runpod_flash"


class _FlashEnumMeta(EnumMeta):
    """Answers a wrong member name with the nearest right one."""

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("_"):
            member = cls._member_map_.get(name)
            if member is not None:
                return member
            raise AttributeError(_core.unknown_member(cls.__name__, name))
        raise AttributeError(name)


def _missing(cls: type[Enum], value: object) -> None:
    if isinstance(value, str):
        meant = _core.suggest(cls.__name__, value)
        if meant is not None:
            message = f"{value!r} is not a valid {cls.__name__}; did you mean {cls.__name__}.{meant}?"
            raise ValueError(message)


def enum_class(name: str) -> Any:
    """Return one of the public enums, made if need be."""
    return getattr(sys.modules[_PACKAGE], name)


def _all_groups(cls: type[Enum]) -> list[Any]:
    """Return every group; ``AMPERE_48`` comes first and again in its place, as in 1.21."""
    groups = [group for group in cls if group.name != "ANY"]
    return [group for group in groups if group.name == "AMPERE_48"] + groups


def _to_gpu_ids_str(cls: type[Enum], gpus: list[Any]) -> str:
    """Return the ``gpuIds`` string of groups and types."""
    return _core.gpu_ids([(type(gpu).__name__, gpu.name) for gpu in gpus])


def _normalize_gpu_ids_str(cls: type[Enum], gpu_ids: str) -> str:
    """Return a ``gpuIds`` string in canonical form."""
    return _core.normalize_gpu_ids(gpu_ids)


def _from_gpu_ids_str(cls: type[Enum], gpu_ids: str) -> list[Any]:
    """Return the groups and types of a ``gpuIds`` string."""
    return [enum_class(name)[member] for name, member in _core.parse_gpu_ids(gpu_ids)]


def _all_types(cls: type[Enum]) -> list[Any]:
    """Return every type."""
    return [gpu for gpu in cls if gpu.name != "ANY"]


def _is_gpu_type(cls: type[Enum], value: str) -> bool:
    """Return whether a value is that of a type."""
    return any(gpu.value == value for gpu in cls if gpu.name != "ANY")


def _all_data_centers(cls: type[Enum]) -> list[Any]:
    """Return the data centers that an endpoint may use when it names none: those with storage."""
    return [cls(value) for value in _core.data_center_values()[0]]


def _data_center_from_string(cls: type[Enum], text: str) -> Any:
    """Return a data center by its value in any case, with ``_`` or ``-``."""
    value = _core.find_data_center(text)
    if value is None:
        raise ValueError(_core.unknown_data_center(text))
    return cls(value)


_CLASS_METHODS: dict[str, dict[str, Callable[..., Any]]] = {
    "GpuGroup": {
        "all": _all_groups,
        "to_gpu_ids_str": _to_gpu_ids_str,
        "normalize_gpu_ids_str": _normalize_gpu_ids_str,
        "from_gpu_ids_str": _from_gpu_ids_str,
    },
    "GpuType": {"all": _all_types, "is_gpu_type": _is_gpu_type},
    "DataCenter": {"all": _all_data_centers, "from_string": _data_center_from_string},
}


def build(name: str) -> Any:
    """Make one of the public enums, or the set of data centers with CPUs."""
    if name == "CPU_DATACENTERS":
        center = enum_class("DataCenter")
        return frozenset(center(value) for value in _core.data_center_values()[1])
    is_str, doc, members = _core.enum_table(name)
    bases = (str, Enum) if is_str else (Enum,)
    namespace = _FlashEnumMeta.__prepare__(name, bases)
    namespace["__module__"] = _PACKAGE
    namespace["__qualname__"] = name
    namespace["__doc__"] = doc
    namespace["_missing_"] = classmethod(_missing)
    for method, function in _CLASS_METHODS.get(name, {}).items():
        namespace[method] = classmethod(function)
    for member, value in members:
        namespace[member] = value
    enum = _FlashEnumMeta(name, bases, namespace)
    if name == "CudaVersion":
        _show_default(enum)
    return enum


def _show_default(cuda_version: Any) -> None:
    """Let ``inspect.signature(Endpoint)`` show the member that 1.21 shows, now that it exists."""
    from .endpoint import Endpoint

    defaults = Endpoint.__init__.__kwdefaults__
    if defaults is not None:
        defaults["min_cuda_version"] = cuda_version.V12_8
