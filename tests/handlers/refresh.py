"""An official worker that wants to be replaced after every job: by its configuration, or by what it returns."""

import os

import runpod


def handler(job):
    result = {"echo": job["input"], "pid": os.getpid()}
    return result | {"refresh_worker": True} if "BY_OUTPUT" in os.environ else result


if __name__ == "__main__":
    configuration = {"handler": handler}
    if "BY_OUTPUT" not in os.environ:
        configuration["refresh_worker"] = True
    runpod.serverless.start(configuration)
