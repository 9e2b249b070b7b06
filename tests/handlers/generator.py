"""An official worker with a generator: yields `count` items, and fails after `fail_after` of them."""

import os
import time

import runpod


def handler(job):
    wanted = job["input"]
    for number in range(wanted.get("count", 3)):
        if number == wanted.get("fail_after"):
            raise ValueError("boom é")
        yield {"number": number, "echo": wanted}
        time.sleep(wanted.get("seconds", 0))


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": "AGGREGATE" in os.environ})
