"""GPU pools, and Runpod's description of a GPU type."""

from pydantic import BaseModel

from .. import GpuGroup, GpuType, _core, _official

#: Types of each pool.
POOLS_TO_TYPES: dict[GpuGroup, list[GpuType]] = {}
for _group in GpuGroup:
    for _row in _core.hardware_tables()["gpu_type"]:
        if _row[2] == _group.value:
            POOLS_TO_TYPES.setdefault(_group, []).append(GpuType[_row[0]])


class GpuLowestPrice(BaseModel):
    """Prices in US dollars per hour."""

    minimumBidPrice: float | None = None
    uninterruptablePrice: float | None = None


class GpuTypeModel(BaseModel):
    """A GPU type; its memory is in GB."""

    id: str
    displayName: str
    memoryInGb: int


class GpuTypeDetail(GpuTypeModel):
    """A GPU type with its prices."""

    communityCloud: bool | None = None
    communityPrice: float | None = None
    communitySpotPrice: float | None = None
    cudaCores: int | None = None
    lowestPrice: GpuLowestPrice | None = None
    manufacturer: str | None = None
    maxGpuCount: int | None = None
    oneMonthPrice: float | None = None
    oneWeekPrice: float | None = None
    secureCloud: bool | None = None
    securePrice: float | None = None
    secureSpotPrice: float | None = None
    threeMonthPrice: float | None = None


_official.adopt("legacy.gpu")
