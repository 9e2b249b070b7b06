"""An official worker that fails in the ways that a handler can."""

import time

import runpod


def handler(job):
    wanted = job["input"]
    do = wanted.get("do", "raise") if isinstance(wanted, dict) else "raise"
    if isinstance(wanted, dict):
        time.sleep(wanted.get("seconds", 0))
    if do == "error":
        return {"error": "custom", "x": 1}
    if do == "object":
        return {"error": {"code": 7}}
    raise ValueError("boom é")


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
