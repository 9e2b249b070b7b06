"""An official worker that tells its progress: twice before it returns, and once so late that it comes after."""

import os
import time
from pathlib import Path

import runpod


def handler(job):
    wanted = job["input"]
    runpod.serverless.progress_update(job, "p0")
    time.sleep(0.2)
    runpod.serverless.progress_update(job, {"at": 1, "echo": wanted})
    gate = wanted.get("until")
    while gate and not Path(gate).exists():
        time.sleep(0.02)
    if gate is None:
        time.sleep(wanted.get("seconds", 0.2))
    runpod.serverless.progress_update(job, "late")
    return {"echo": wanted, "pid": os.getpid()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
