"""An official worker (`runpod` 1.12) that runs FunctionRequests the plain way: `exec`, cloudpickle."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import inspect
import io
import os
import sys
import tempfile
import traceback
from typing import Any

import cloudpickle

import runpod


def decode(text: str) -> Any:
    return cloudpickle.loads(base64.b64decode(text))


async def handler(job: dict[str, Any]) -> dict[str, Any]:
    request, printed = job["input"], io.StringIO()
    with tempfile.TemporaryDirectory() as root:
        for path, text in request.get("modules", {}).items():
            file = os.path.join(root, path)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)
        sys.path.insert(0, root)
        try:
            with contextlib.redirect_stdout(printed):
                result = await asyncio.to_thread(execute, request)
            return {
                "success": True,
                "result": base64.b64encode(cloudpickle.dumps(result)).decode(),
                "stdout": printed.getvalue(),
            }
        except Exception as error:
            text = f"{error}\n{traceback.format_exc()}"
            return {"success": False, "result": None, "error": text, "stdout": printed.getvalue()}
        finally:
            sys.path.remove(root)


def execute(request: dict[str, Any]) -> Any:
    space: dict[str, Any] = {}
    if request["execution_type"] == "class":
        exec(request["class_code"], space)
        made = space[request["class_name"]](
            *map(decode, request["constructor_args"]),
            **{name: decode(value) for name, value in request["constructor_kwargs"].items()},
        )
        function = getattr(made, request["method_name"])
    else:
        exec(request["function_code"], space)
        function = space[request["function_name"]]
    args = list(map(decode, request["args"]))
    result = function(*args, **{name: decode(value) for name, value in request["kwargs"].items()})
    return asyncio.run(finish(result)) if inspect.isawaitable(result) else result


async def finish(result: Any) -> Any:
    return await result


runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: 1})
