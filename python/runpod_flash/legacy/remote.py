"""``@remote``: the decorator that ``Endpoint`` replaces, on the same path of calls."""

import difflib
import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

from .. import _decorate, _official
from ..endpoint import Endpoint
from ..errors import ConfigurationError
from . import settle
from .balanced import LoadBalancerSlsResource
from .declared import arguments_of
from .live import LiveServerlessMixin
from .serverless import ServerlessEndpoint, ServerlessResource

if TYPE_CHECKING:
    from typing import Literal, overload

    from .._typing import KeepingDecorator, QueueDecorator

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")

#: The latest endpoint of each resource: routes of one resource, and functions, share a worker.
_latest: dict[str, "ResourceEndpoint"] = {}


class ResourceEndpoint(Endpoint):
    """An ``Endpoint`` that says what a resource says."""

    def __init__(self, resource: ServerlessResource, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.resource = resource

    def __new__(cls, resource: ServerlessResource, **arguments: Any) -> "ResourceEndpoint":  # noqa: D102
        return super().__new__(cls, **arguments)

    @property
    def _group(self) -> Endpoint:
        """The endpoint that stands for all those of this resource."""
        return _latest.get(self.resource.get_resource_key(), self)

    @property
    def _settings(self) -> dict[str, Any]:
        """What must be the same in all endpoints of one name: dependencies add up."""
        added = ("dependencies", "system_dependencies")
        return {name: value for name, value in self._arguments.items() if name not in added}

    def _build_resource_config(self) -> ServerlessResource:
        return self.resource

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.resource, self._arguments, self.__dict__)


if TYPE_CHECKING:

    @overload
    def remote(
        resource_config: LoadBalancerSlsResource,
        dependencies: list[str] | None = None,
        system_dependencies: list[str] | None = None,
        accelerate_downloads: bool = True,
        local: bool = False,
        *,
        method: str,
        path: str,
        _internal: bool = False,
    ) -> KeepingDecorator: ...
    @overload
    def remote(
        resource_config: ServerlessResource,
        dependencies: list[str] | None = None,
        system_dependencies: list[str] | None = None,
        accelerate_downloads: bool = True,
        *,
        local: Literal[True],
        method: None = None,
        path: None = None,
        _internal: bool = False,
    ) -> KeepingDecorator: ...
    @overload
    def remote(
        resource_config: ServerlessEndpoint,
        dependencies: list[str] | None = None,
        system_dependencies: list[str] | None = None,
        accelerate_downloads: bool = True,
        local: Literal[False] = False,
        method: None = None,
        path: None = None,
        _internal: bool = False,
    ) -> QueueDecorator: ...


def remote(
    resource_config: ServerlessResource,
    dependencies: list[str] | None = None,
    system_dependencies: list[str] | None = None,
    accelerate_downloads: bool = True,
    local: bool = False,
    method: str | None = None,
    path: str | None = None,
    _internal: bool = False,
    **extra: Any,
) -> Any:
    """Make a function or class an endpoint of a resource; ``Endpoint(...)`` does the same with less.

    ``method`` and ``path`` make it a route of a load-balanced resource. ``local=True`` leaves it what it is.
    """
    _reject_unknown_kwargs(extra, set(inspect.signature(remote).parameters) - {"extra"})
    if not _internal:
        warnings.warn(
            "runpod_flash.remote is deprecated. Use runpod_flash.Endpoint instead.", DeprecationWarning, stacklevel=2
        )

    given: Any = resource_config

    def decorate(target: Any) -> Any:
        if isinstance(given, Endpoint):
            return given(target)
        if isinstance(resource_config, LoadBalancerSlsResource):
            _check_route(method, path)
        elif not isinstance(given, ServerlessEndpoint):
            raise ConfigurationError(
                f"remote() takes a resource such as LiveServerless(name=...), got {type(resource_config).__name__}"
            )
        elif method or path:
            import logging

            logging.getLogger(__name__).warning(
                "method= and path= are for load-balanced resources; %s %s is ignored", method, path
            )
        endpoint = _endpoint(resource_config, dependencies, system_dependencies, accelerate_downloads)
        if isinstance(resource_config, LoadBalancerSlsResource):
            return _route(endpoint, str(method), str(path), target)
        if local:
            return _local(endpoint, target)
        decorated = _decorate.decorate(endpoint, target)
        is_own_image = not isinstance(resource_config, LiveServerlessMixin)
        if is_own_image and decorated is not target and not isinstance(target, type):
            return _own_image(resource_config, target, decorated)
        return decorated

    return decorate


def create_remote_class(
    cls: type,
    resource_config: ServerlessResource,
    dependencies: list[str] | None,
    system_dependencies: list[str] | None,
    accelerate_downloads: bool,
) -> Any:
    """Return a class whose instances live on workers of a resource."""
    resource: Any = resource_config
    if isinstance(resource, LoadBalancerSlsResource):
        # It has no route: live, its calls go by `/execute`.
        endpoint = _endpoint(resource, dependencies, system_dependencies, accelerate_downloads)
        return _decorate.decorate(endpoint, cls)
    return remote(resource, dependencies, system_dependencies, accelerate_downloads, _internal=True)(cls)


def _endpoint(
    resource: ServerlessResource,
    dependencies: list[str] | None,
    system_dependencies: list[str] | None,
    accelerate_downloads: bool,
) -> ResourceEndpoint:
    key = resource.get_resource_key()
    before = _latest.get(key)
    arguments = arguments_of(resource)
    for name, given in (("dependencies", dependencies), ("system_dependencies", system_dependencies)):
        earlier = (getattr(before, name) or []) if before is not None else []
        if given is not None or earlier:
            arguments[name] = [*earlier, *(item for item in given or () if item not in earlier)]
    arguments["accelerate_downloads"] = accelerate_downloads
    if before is not None and before._arguments == arguments and isinstance(resource, LoadBalancerSlsResource):
        return before  # Routes of one resource are on one endpoint.
    endpoint = ResourceEndpoint(resource, **arguments)
    if before is not None and isinstance(resource, LoadBalancerSlsResource):
        endpoint._routes.extend(before._routes)
    _latest[key] = endpoint
    return endpoint


def _route(endpoint: ResourceEndpoint, method: str, path: str, target: Any) -> Any:
    name = getattr(target, "__name__", None)
    # A function that is decorated again, in a notebook or by a reload, takes its own place.
    endpoint._routes[:] = [
        route
        for route in endpoint._routes
        if (route["method"], route["path"], route["function_name"]) != (method, path, name)
    ]
    return _decorate.route(endpoint, method, path, target)


def _check_route(method: str | None, path: str | None) -> None:
    if not method or not path:
        raise ConfigurationError(
            "LoadBalancerSlsResource requires both 'method' and 'path' parameters. "
            f"Got method={method}, path={path}. Example: @remote(resource_config, method='POST', path='/api/process')"
        )
    if not path.startswith("/"):
        raise ConfigurationError(f"path must start with '/'. Got: {path}")
    if method not in _METHODS:
        raise ConfigurationError(f"method must be one of {', '.join(_METHODS)}. Got: {method}")


def _local(endpoint: ResourceEndpoint, target: Any) -> Any:
    config = {
        "resource_config": endpoint.resource,
        "method": None,
        "path": None,
        "dependencies": endpoint.dependencies,
        "system_dependencies": endpoint.system_dependencies,
    }
    _decorate._mark(target, endpoint, config)
    _decorate._set(target, "__flash_local__", True)
    return target


def _own_image(resource: ServerlessResource, target: Any, decorated: Any) -> Any:
    """Let a function of an image of one's own make the job: live, its result is the body of ``/run``."""

    @functools.wraps(target)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if not settle.is_live():
            return await decorated(*args, **kwargs)
        payload = target(*args, **kwargs)
        if inspect.isawaitable(payload):
            payload = await payload
        if not isinstance(payload, dict) or "input" not in payload:
            raise TypeError(
                f"{target.__name__}() must return the body of a job, {{'input': ...}}, for image "
                f"{resource.imageName!r}; it returned {type(payload).__name__}"
            )
        deployed = await resource.deploy()
        return await (await deployed._submit(payload))

    call.__dict__.update(decorated.__dict__)
    endpoint = decorated.__flash_endpoint__
    for name, (function, wrapper) in endpoint._targets.items():
        if wrapper is decorated:
            endpoint._targets[name] = (function, call)
    return call


def _reject_unknown_kwargs(extra: dict[str, Any], known: set[str]) -> None:
    if not extra:
        return
    names = []
    for name in sorted(extra):
        near = difflib.get_close_matches(name, sorted(known), n=1)
        names.append(f"'{name}'" + (f" (Did you mean '{near[0]}'?)" if near else ""))
    raise TypeError(f"remote() got unknown keyword argument{'s' if len(names) > 1 else ''}: {', '.join(names)}")


def _normalize_resource_name(name: str) -> str:
    return name.removeprefix("live-").removesuffix("-fb")


def _should_execute_locally(resource_config: ServerlessResource) -> bool:
    return _decorate._is_own(resource_config.name)


def _restore(resource: ServerlessResource, arguments: dict[str, Any], state: dict[str, Any]) -> ResourceEndpoint:
    endpoint = ResourceEndpoint(resource, **arguments)
    endpoint.__dict__.update(state)
    return endpoint


_official.adopt("legacy.remote")
