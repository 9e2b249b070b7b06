"""Large results of live calls on real workers: bit for bit, and held once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from platform_support import Platform

PROGRAM = """
import asyncio, gc, hashlib, time
from pathlib import Path

import numpy as np
from runpod_flash import CpuInstanceType, Endpoint, errors


@Endpoint(name="client-large-result", cpu=CpuInstanceType.CPU3C_1_2, workers=(0, 1))
def large(megabytes):
    import hashlib

    import numpy as np

    array = np.random.default_rng(7).integers(0, 256, megabytes << 20, np.uint8).view(np.float64)
    return array, hashlib.sha256(array).hexdigest()


@Endpoint(name="client-too-slow", cpu=CpuInstanceType.CPU3C_1_2, workers=(0, 1), execution_timeout_ms=5000)
def slow(path):
    import pathlib, time

    for _ in range(1200):
        pathlib.Path(path).write_text(str(time.time()))
        time.sleep(0.05)


def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) >> 10


async def main():
    await large(1)  # What is loaded at the first call counts for none.
    gc.collect()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    array, digest = await large(MEGABYTES)
    beside = memory("VmHWM") - before - MEGABYTES
    assert array.nbytes == MEGABYTES << 20, array.nbytes
    assert hashlib.sha256(array).hexdigest() == digest
    assert beside <= 32, f"{beside} MB beside the array"
    try:
        await slow("SLOW")
    except errors.JobTimedOutError as error:
        print("timed out", isinstance(error, TimeoutError), error.job_id is not None, error.endpoint)


asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_large_result_of_a_live_call_is_held_once_and_the_endpoint_s_time_limit_counts(
    platform: Platform, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(PROGRAM.replace("MEGABYTES", "128").replace("SLOW", str(tmp_path / "slow")))
    env = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true", "FLASH_PAYLOAD_LIMIT_MB": "0"}
    done = run(sys.executable, "app.py", cwd=tmp_path, timeout=110, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "timed out True True" in done.stdout, done.stdout + done.stderr
