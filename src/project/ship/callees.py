"""Calls other endpoints from shipped code; runs on any worker, with the standard library and cloudpickle."""

import asyncio
import base64
import json
import os
import random
import time
import urllib.error
import urllib.request
import uuid

# Endpoint and request of each function or class, and the text of this module; set when it is made.
table = {}
text = ""

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class RemoteError(RuntimeError):
    """The other endpoint failed; the message has its traceback."""


class Generation:
    """A call of a generator: ``await`` gives the list, ``async for`` its items."""

    def __init__(self, key, args, kwargs):
        self.arguments = key, args, kwargs

    def __await__(self):
        return call(*self.arguments).__await__()

    async def __aiter__(self):
        for item in await call(*self.arguments):
            yield item


class Instance:
    """An object on another endpoint's worker."""

    def __init__(self, key, args, kwargs):
        self.key, self.args, self.kwargs = key, args, kwargs
        self.id = "%s_%s" % (table[key]["request"]["class_name"], uuid.uuid4().hex[:8])

    def method(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        async def method(*args, **kwargs):
            listed = name in table[self.key].get("generators", ())
            request = {
                "method_name": "_flash_list_" + name if listed else name,
                "instance_id": self.id,
                "create_new_instance": False,
                "constructor_args": [encode(value) for value in self.args],
                "constructor_kwargs": {key: encode(value) for key, value in self.kwargs.items()},
            }
            return await send(self.key, request, args, kwargs)

        return method


def generation(key, args, kwargs):
    return Generation(key, args, kwargs)


def instance(key, args, kwargs):
    return Instance(key, args, kwargs)


async def call(key, args, kwargs):
    return await send(key, {}, args, kwargs)


async def send(key, extra, args, kwargs):
    entry = table[key]
    request = dict(entry["request"], **extra)
    request["args"] = [encode(value) for value in args]
    request["kwargs"] = {name: encode(value) for name, value in kwargs.items()}
    field = "class_code" if request["execution_type"] == "class" else "function_code"
    request[field] = prelude() + request[field] if entry["calls"] else request[field]
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, run, entry, request)


def prelude():
    # Made of the same text, so that what is called may call further.
    return START % (repr(json.dumps(table)), repr(text))


def run(entry, request):
    name = request.get("function_name") or request.get("class_name")
    base = os.environ.get("RUNPOD_ENDPOINT_BASE_URL", "https://api.runpod.ai/v2").rstrip("/")
    url = "%s/%s" % (base, entry["endpoint"])
    state = ask(name, url + "/runsync", json.dumps({"input": request}).encode())
    pause = 0.1
    while state.get("status") in ("IN_QUEUE", "IN_PROGRESS"):
        time.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(pause * 1.5, 3.0)
        state = ask(name, "%s/status/%s" % (url, state["id"]), None)
    output = state.get("output")
    if state.get("status") not in (None, "COMPLETED") or not isinstance(output, dict):
        raise RemoteError("remote %s ended %s: %s" % (name, state.get("status"), state.get("error") or output))
    if not output.get("success"):
        raise RemoteError("remote %s failed: %s" % (name, output.get("error") or output.get("result")))
    return decode(output["result"]) if output.get("result") is not None else output.get("json_result")


def ask(name, url, body):
    headers = {"Content-Type": "application/json", "User-Agent": "Runpod Flash callee"}
    key = os.environ.get("RUNPOD_API_KEY")
    if key:
        headers["Authorization"] = "Bearer " + key
    attempt = 0
    while True:
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=330) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            # A job is not sent again, unless it was refused for being one too many.
            if (error.code == 429 or (body is None and error.code >= 500)) and attempt < 8:
                wait = error.headers.get("Retry-After") or ""
                time.sleep(float(wait) if wait.isdigit() else min(0.2 * 2**attempt, 5))
                attempt += 1
                continue
            text = error.read(500).decode("utf-8", "replace")
            hint = " (set RUNPOD_API_KEY in the endpoint's env)" if error.code in (401, 403) else ""
            raise RemoteError("remote %s failed: HTTP %d%s: %s" % (name, error.code, hint, text)) from None


def encode(value):
    import cloudpickle

    return base64.b64encode(cloudpickle.dumps(value)).decode("ascii")


def decode(text):
    import cloudpickle

    return cloudpickle.loads(base64.b64decode(text))


START = """\
def _flash_start(table, text):
    import json, sys, types
    module = sys.modules.get("_flash_callees")
    if module is None or module.text != text:
        module = types.ModuleType("_flash_callees")
        exec(text, module.__dict__)
        module.text = text
        sys.modules["_flash_callees"] = module
    module.table.update(json.loads(table))
_flash_start(%s, %s)
"""
