"""An official worker that does what the live protocol says with nothing but stock cloudpickle."""

import base64
import contextlib
import io
import os
import sys
import traceback

import cloudpickle

import runpod

# numpy and the like, for the official interpreter, whose own packages come first.
sys.path += os.environ["PACKAGES"].split(os.pathsep)


def _read(text):
    return cloudpickle.loads(base64.b64decode(text))


def handler(job):
    request = job["input"]
    printed = io.StringIO()
    answer = {"success": True, "result": None, "json_result": None, "error": None, "instance_id": None}
    try:
        namespace = {}
        exec(request["function_code"], namespace)
        args = [_read(text) for text in request["args"]]
        kwargs = {name: _read(text) for name, text in request["kwargs"].items()}
        with contextlib.redirect_stdout(printed):
            result = namespace[request["function_name"]](*args, **kwargs)
        answer["result"] = base64.b64encode(cloudpickle.dumps(result)).decode()
    except Exception as error:
        answer.update(success=False, error=f"{error}\n{traceback.format_exc()}")
    return answer | {"stdout": printed.getvalue()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
