"""Calls other endpoints from shipped code; runs on any worker, with the standard library and cloudpickle."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import random
import threading
import urllib.error
import urllib.request
import uuid

# Endpoint and request of each function or class, and the text of this module; set when it is made.
# A name has a digest of what it stands for: code of another function never changes what it means.
table = {}
text = ""
lock = threading.Lock()

# Names that are kept; the client sends those that it needs with each call.
KEPT = 2000
# How often a request is sent that did not get through.
TRIES = 8


class RemoteError(RuntimeError):
    """The other endpoint failed; the message has its traceback."""


class PayloadTooLargeError(RemoteError, ValueError):
    """The call is larger than Runpod takes; nothing was sent."""


class Generation:
    """A call of a generator: ``await`` gives the list, ``async for`` its items."""

    def __init__(self, key, args, kwargs, extra=None):
        self.arguments = key, extra or {}, args, kwargs

    def __await__(self):
        return send(*self.arguments).__await__()

    async def __aiter__(self):
        for item in await send(*self.arguments):
            yield item


class Instance:
    """An object on another endpoint's worker."""

    def __init__(self, key, args, kwargs):
        self.key, self.args, self.kwargs = key, args, kwargs
        self.id = "%s_%s" % (entry_of(key)["request"]["class_name"], uuid.uuid4().hex[:8])

    def method(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        is_generator = name in entry_of(self.key).get("generators", ())

        def extra():
            return {
                "method_name": "_flash_list_" + name if is_generator else name,
                "instance_id": self.id,
                "create_new_instance": False,
                "constructor_args": [encode(value) for value in self.args],
                "constructor_kwargs": {key: encode(value) for key, value in self.kwargs.items()},
            }

        if is_generator:
            return lambda *args, **kwargs: Generation(self.key, args, kwargs, extra())

        async def method(*args, **kwargs):
            return await send(self.key, extra(), args, kwargs)

        return method


def generation(key, args, kwargs):
    return Generation(key, args, kwargs)


def instance(key, args, kwargs):
    return Instance(key, args, kwargs)


async def call(key, args, kwargs):
    return await send(key, {}, args, kwargs)


def add(entries):
    with lock:
        for key, entry in entries.items():
            # The latest are at the end.
            table.pop(key, None)
            table[key] = entry
        while len(table) > KEPT:
            table.pop(next(iter(table)))


def entry_of(key):
    entry = table.get(key)
    if entry is None:
        raise RemoteError("this worker does not know `%s` any more: call the function again" % key)
    return entry


async def send(key, extra, args, kwargs):
    entry = entry_of(key)
    request = dict(entry["request"], **extra)
    request["args"] = [encode(value) for value in args]
    request["kwargs"] = {name: encode(value) for name, value in kwargs.items()}
    field = "class_code" if request["execution_type"] == "class" else "function_code"
    if "needs" in entry:
        request[field] = begun(request[field], {name: entry_of(name) for name in entry["needs"]})
    abandoned = threading.Event()
    try:
        return await asyncio.get_running_loop().run_in_executor(None, run, entry, request, abandoned)
    except asyncio.CancelledError:
        abandoned.set()
        raise


def begun(code, needs):
    # Made of the same text, so that what is called may call further.
    lines = code.split("\n")
    first = 0
    while first < len(lines) and (lines[first].startswith("from __future__") or not lines[first].strip()):
        first += 1
    start = START % (repr(json.dumps(needs)), repr(text))
    return "\n".join(lines[:first] + [start] + lines[first:])


def run(entry, request, abandoned):
    name = request.get("function_name") or request.get("class_name")
    base = os.environ.get("RUNPOD_ENDPOINT_BASE_URL", "https://api.runpod.ai/v2").rstrip("/")
    url = "%s/%s" % (base, entry["endpoint"])
    body = json.dumps({"input": request}).encode()
    check(name, request, len(body))
    state = ask(name, url + "/runsync", body, abandoned)
    pause = 0.1
    while state.get("status") in ("IN_QUEUE", "IN_PROGRESS"):
        if abandoned.wait(pause * random.uniform(0.8, 1.2)):
            ask(name, "%s/cancel/%s" % (url, state["id"]), b"", threading.Event())
            raise RemoteError("the call of remote %s was cancelled" % name)
        pause = min(pause * 1.5, 3.0)
        state = ask(name, "%s/status/%s" % (url, state["id"]), None, abandoned)
    output = state.get("output")
    status = state.get("status")
    if status not in (None, "COMPLETED") or not isinstance(output, dict):
        how = "failed" if status == "FAILED" else "ended %s" % status
        raise RemoteError("remote %s %s: %s" % (name, how, state.get("error") or output))
    if not output.get("success"):
        raise RemoteError("remote %s failed: %s" % (name, output.get("error") or output.get("result")))
    return decode(output["result"]) if output.get("result") is not None else output.get("json_result")


def check(name, request, size):
    # As the client does: the same setting, the same limit, the same words.
    limit = float(os.environ.get("FLASH_PAYLOAD_LIMIT_MB") or 20)
    if not 0 < limit * 1048576 < size:
        return
    values = [("argument %d" % (place + 1), text) for place, text in enumerate(request["args"])]
    values += request["kwargs"].items()
    values.sort(key=lambda value: -len(value[1]))
    sizes = ["`%s` is %.1f MB, %.1f MB as base64" % (key, len(text) * 0.75 / 1048576, len(text) / 1048576) for key, text in values[:5]]
    raise PayloadTooLargeError(
        "the call of remote %s is %.1f MB, and `/runsync` takes %.1f MB: %s\nhint: put large data into S3 or onto a "
        "network volume and pass its URL or path, or set FLASH_PAYLOAD_LIMIT_MB (0: no limit) in the endpoint's env"
        % (name, size / 1048576, limit, ", ".join(sizes))
    )


def ask(name, url, body, abandoned):
    headers = {"Content-Type": "application/json", "User-Agent": "Runpod Flash callee"}
    key = os.environ.get("RUNPOD_API_KEY")
    if key:
        headers["Authorization"] = "Bearer " + key
    # What only looks at a job, or cancels it, may be sent twice.
    is_safe = not body
    attempt = 0
    while True:
        attempt += 1
        wait = min(0.2 * 2**attempt, 5)
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=330) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            asked = error.headers.get("Retry-After") or ""
            # A job is not sent again, unless it was refused for being one too many.
            is_refused = error.code == 429 or (error.code == 503 and asked)
            reason = "HTTP %d: %s" % (error.code, error.read(500).decode("utf-8", "replace"))
            if error.code in (401, 403):
                reason += "" if key else "\nhint: the worker has no RUNPOD_API_KEY; set it in the endpoint's env"
            can_repeat = is_refused or (is_safe and error.code >= 500)
            with contextlib.suppress(ValueError):
                wait = max(float(asked), 0.0)
        except urllib.error.URLError as error:
            reason = "cannot connect: %s" % error.reason
            can_repeat = is_safe or isinstance(error.reason, ConnectionRefusedError)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = "the connection broke, or the answer is no JSON: %s" % (error or type(error).__name__)
            can_repeat = is_safe
        if not can_repeat or attempt > TRIES or abandoned.wait(wait):
            raise RemoteError("remote %s failed: %s" % (name, reason)) from None


def encode(value):
    import cloudpickle

    return base64.b64encode(cloudpickle.dumps(value)).decode("ascii")


def decode(text):
    import cloudpickle

    return cloudpickle.loads(base64.b64decode(text))


START = """\
def _flash_start(table, text):
    import json, sys, types
    known = sys.modules.get("_flash_callees")
    if known is None or known.text != text:
        module = types.ModuleType("_flash_callees")
        exec(text, module.__dict__)
        module.text = text
        if known is None:
            sys.modules.setdefault("_flash_callees", module)
        else:
            module.table = known.table
            sys.modules["_flash_callees"] = module
    sys.modules["_flash_callees"].add(json.loads(table))
_flash_start(%s, %s)
"""
