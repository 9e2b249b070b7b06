"""A client of live endpoints: official Flash's own stubs, with this program's streams as their network.

Run by the official interpreter: ``python platform_live_client.py FILE KIND``. Each line on stdin is a
JSON command, ``{"call": [expression of the function, arguments as an expression]}`` or so; what the stub sends goes out
as ``{"send": …}``, its answer comes as the next line, and ``{"done": …}`` ends the command.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from types import SimpleNamespace
from typing import Any

os.environ["FLASH_IS_LIVE_PROVISIONING"] = "true"
WIRE, sys.stdout = sys.stdout, sys.stderr

from runpod_flash.core.resources import LiveLoadBalancer, LiveServerless  # noqa: E402
from runpod_flash.execute_class import create_remote_class  # noqa: E402
from runpod_flash.stubs.live_serverless import LiveServerlessStub  # noqa: E402
from runpod_flash.stubs.load_balancer_sls import LoadBalancerSlsStub  # noqa: E402
from runpod_flash.stubs.registry import stub_resource  # noqa: E402


def exchange(payload: Any) -> Any:
    print(json.dumps({"send": payload}), file=WIRE, flush=True)
    return json.loads(sys.stdin.readline())


class Queue(LiveServerless):
    async def run(self, payload: Any) -> Any:
        reply = exchange(payload)
        return SimpleNamespace(error=reply.get("error", ""), output=reply.get("output"))


class Balancer(LoadBalancerSlsStub):
    async def _execute_function(self, request: Any) -> Any:
        return exchange(request)


async def command(kind: str, module: Any, asked: dict[str, Any]) -> Any:
    args, kwargs = eval(f"(lambda *a, **k: (a, k))({asked['arguments']})", vars(module))
    dependencies, system = asked.get("dependencies"), asked.get("system_dependencies")
    function = getattr(module, asked["name"])
    if kind == "load_balanced":
        stub = Balancer(LiveLoadBalancer(name="shop"))
        return await stub(function, dependencies, system, True, *args, **kwargs)
    server = Queue(name="shop")
    if "constructor" not in asked:
        stub = LiveServerlessStub(server)
        request = await stub.prepare_request(function, dependencies, system, True, *args, **kwargs)
        return stub.handle_response(await stub.ExecuteFunction(request))
    key = (asked["name"], asked["constructor"])
    if key not in WRAPPERS:
        made = eval(f"(lambda *a, **k: (a, k))({asked['constructor']})", vars(module))
        wrapper = create_remote_class(function, server, dependencies, system, True)(*made[0], **made[1])
        wrapper._stub, wrapper._initialized = stub_resource(server), True
        WRAPPERS[key] = wrapper
    return await getattr(WRAPPERS[key], asked["method"])(*args, **kwargs)


WRAPPERS: dict[Any, Any] = {}


def main() -> None:
    file, kind = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(file))
    spec = importlib.util.spec_from_file_location("shop", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shop"] = module
    spec.loader.exec_module(module)
    print(json.dumps({"ready": True}), file=WIRE, flush=True)
    for line in iter(sys.stdin.readline, ""):
        try:
            done = {"value": repr(asyncio.run(command(kind, module, json.loads(line))))}
        except Exception as error:
            done = {"error": str(error), "type": type(error).__name__}
        print(json.dumps({"done": done}), file=WIRE, flush=True)


if __name__ == "__main__":
    main()
