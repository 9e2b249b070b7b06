"""``stub_resource``: a callable that runs functions on a resource."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from .. import _official
from ..endpoint import Endpoint
from .balanced import LoadBalancerSlsResource
from .declared import arguments_of
from .live import LiveServerlessMixin
from .remote import ResourceEndpoint, remote
from .serverless import ServerlessResource


def stub_resource(resource: ServerlessResource) -> Callable[..., Any]:
    """Return ``async (function, dependencies, system_dependencies, accelerate_downloads, *args, **kwargs)``."""
    if isinstance(resource, LoadBalancerSlsResource):
        return LoadBalancerSlsStub(resource).__call__

    async def stub(
        func: Any,
        dependencies: list[str] | None,
        system_dependencies: list[str] | None,
        accelerate_downloads: bool,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        any_resource: Any = resource
        decorated = remote(any_resource, dependencies, system_dependencies, accelerate_downloads, _internal=True)(func)
        return await decorated(*args, **kwargs)

    return stub


class LoadBalancerSlsStub:
    """Runs functions on a load-balanced resource (`wire.md` 2.1, 2.2).

    A live one gets the function's source by ``/execute``, and is made where it is missing. A deployed
    one is asked by the function's own route; a function without one goes by ``/execute``, too.
    """

    def __init__(self, server: Any, timeout: float | None = None) -> None:
        """``timeout`` is for the whole call in seconds; by default what Runpod allows, 8 minutes with a cold start."""
        self.server = server
        self.timeout = timeout
        self._endpoints: dict[Any, ResourceEndpoint] = {}

    async def __call__(
        self,
        func: Any,
        dependencies: list[str] | None,
        system_dependencies: list[str] | None,
        accelerate_downloads: bool,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Run ``func`` there and return its result; raises what it raised as `RemoteExecutionError`."""
        from .. import _calls, _live

        _calls.bind(func, args, kwargs)
        route = getattr(func, "__remote_config__", None) or {}
        if not isinstance(self.server, LiveServerlessMixin) and route.get("method") and route.get("path"):
            return await self._ask_route(func, route["method"], route["path"], args, kwargs)
        endpoint = self._endpoint(dependencies, system_dependencies, accelerate_downloads)
        return await _live.call(
            endpoint, func, None, None, args, kwargs, place=self.server.id or None, timeout=self.timeout
        )

    def _endpoint(
        self, dependencies: list[str] | None, system_dependencies: list[str] | None, accelerate_downloads: bool
    ) -> ResourceEndpoint:
        key = (tuple(dependencies or ()), tuple(system_dependencies or ()), accelerate_downloads)
        known = self._endpoints.get(key)
        if known is None:
            arguments = arguments_of(self.server)
            arguments.update(accelerate_downloads=accelerate_downloads)
            for name, given in (("dependencies", dependencies), ("system_dependencies", system_dependencies)):
                if given:
                    arguments[name] = list(given)
            known = self._endpoints[key] = ResourceEndpoint(self.server, **arguments)
        return known

    async def _ask_route(self, func: Any, method: str, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from .. import _client
        from . import cloud

        values = inspect.signature(func).bind(*args, **kwargs).arguments
        for name in re.findall(r"{(\w+)(?::\w+)?}", path):
            if name in values:
                path = re.sub(rf"{{{name}(?::\w+)?}}", _quoted(values.pop(name)), path)
        place = self.server.id or await cloud.provision(self.server)
        sent: dict[str, Any] = {"params": values} if method == "GET" else {}
        data = None if method == "GET" else values
        return await _client.request(Endpoint(id=place), method, path, data, timeout=self.timeout, **sent)


def _quoted(value: Any) -> str:
    from urllib.parse import quote

    return quote(str(value), safe="")


_official.adopt("legacy.stubs")
