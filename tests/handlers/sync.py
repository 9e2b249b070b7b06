"""An official worker with a plain function: does what the input says."""

import os
import time

import runpod


def handler(job):
    wanted = job["input"]
    do = wanted.get("do") if isinstance(wanted, dict) else None
    if isinstance(wanted, dict):
        time.sleep(wanted.get("seconds", 0))
    if do == "raise":
        raise ValueError("boom é")
    if do == "return":
        return wanted["value"]
    if do == "nan":
        return {"value": float("nan")}
    if do == "large":
        return "x" * wanted["size"]
    if do == "exit":
        os._exit(3)
    elif do == "environment":
        return dict(os.environ)
    return {"echo": wanted, "pid": os.getpid()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
