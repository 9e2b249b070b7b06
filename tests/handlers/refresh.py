"""An official worker that wants to be replaced after every job: by its configuration, or by what it returns."""

import os
import time

import runpod


def handler(job):
    time.sleep(job["input"].get("seconds", 0))
    result = {"echo": job["input"], "pid": os.getpid()}
    return result | {"refresh_worker": True} if "BY_OUTPUT" in os.environ else result


if __name__ == "__main__":
    configuration = {"handler": handler}
    if "BY_OUTPUT" not in os.environ:
        configuration["refresh_worker"] = True
    runpod.serverless.start(configuration)
