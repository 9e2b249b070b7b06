"""An official worker with a plain function: does what the input says."""

import os
import time

import runpod


def handler(job):
    wanted = job["input"]
    do = wanted.get("do") if isinstance(wanted, dict) else None
    if do == "sleep":
        time.sleep(wanted["seconds"])
    elif do == "raise":
        raise ValueError("boom é")
    elif do == "return":
        return wanted["value"]
    elif do == "nan":
        return {"value": float("nan")}
    elif do == "large":
        return "x" * wanted["size"]
    elif do == "exit":
        os._exit(3)
    elif do == "environment":
        return dict(os.environ)
    return {"echo": wanted, "pid": os.getpid()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
