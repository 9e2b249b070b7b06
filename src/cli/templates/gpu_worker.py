"""A queue-based worker: one function, calls wait in a queue, each runs on a GPU.

    curl -X POST localhost:8888/gpu_worker/runsync -d '{"input": {"message": "hello"}}'

Here the function runs in a process of its own on this machine, on the CPU where there is no GPU.
"""

import asyncio
import platform
import shutil
import subprocess
from typing import Any

from runpod_flash import Endpoint, GpuType


@Endpoint(
    name="gpu_worker",
    gpu=GpuType.ANY,
    workers=(0, 1),
    # Packages that only this function needs; they are installed apart from yours:
    # dependencies=["torch"],
)
async def gpu_hello(input_data: dict[str, Any]) -> dict[str, Any]:
    """Greet, count the words, and say which GPU there is."""
    message = str(input_data.get("message", "hello"))
    name = gpu_name()
    return {
        "message": message,
        "words": len(message.split()),
        "gpu": {"available": name is not None, "name": name},
        "python_version": platform.python_version(),
    }


def gpu_name() -> str | None:
    """Return the first GPU's name; helpers are used like in any other module."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    lines = answer.stdout.splitlines()
    return lines[0].strip() if answer.returncode == 0 and lines else None


if __name__ == "__main__":
    print(asyncio.run(gpu_hello({"message": "called from Python"})))
