"""The older API: `remote` with resources, a route, a function that stays local."""

import os
import warnings

import runpod_flash
from runpod_flash import CpuLiveServerless, GpuGroup, LiveLoadBalancer, LiveServerless, remote


@remote(LiveServerless(name="p30-gpu", gpus=[GpuGroup.ADA_24], workersMax=3), dependencies=["requests"])
def on_gpu(x: int) -> int:
    return x + 1


@remote(resource_config=CpuLiveServerless(name="p30-cpu"))
async def on_cpu(x: int) -> int:
    return x + 2


@remote(LiveLoadBalancer(name="p30-api"), method="POST", path="/x")
async def route(x: int) -> dict:
    return {"x": x}


@remote(LiveServerless(name="p30-local"), local=True)
def here(x: int) -> list:
    return [x, os.getpid()]


async def main():
    assert await on_gpu(1) == 2
    assert await on_cpu(1) == 3
    assert await route(1) == {"x": 1}
    assert here(1) == [1, os.getpid()]
    assert here.__flash_local__ is True  # mypy: attr-defined  pyright: reportFunctionMemberAccess
    assert route.__is_lb_route_handler__ is True  # mypy: attr-defined  pyright: reportFunctionMemberAccess
    assert on_gpu.__remote_config__["resource_config"].gpuIds == "ADA_24"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _ = runpod_flash.LiveServerless
    assert [warning.category for warning in caught] == [DeprecationWarning]
