"""``Endpoint``: declares a queue-based function or class, routes, or a client."""

from __future__ import annotations

from . import _core, _light

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from typing import Any

    from . import (
        CpuInstanceType,
        CudaVersion,
        DataCenter,
        GpuGroup,
        GpuType,
        NetworkVolume,
        PodTemplate,
        ServerlessScalerType,
    )
    from ._job import BlockingEndpoint, EndpointJob
    from ._typing import Verb

#: What a request of a client may say beside its path and data.
_REQUEST_OPTIONS = frozenset({"headers", "params", "timeout"})

#: Endpoints of this process in the order of their declaration, by their object's identity.
declared: list[Endpoint] = []


class Endpoint(_core.EndpointBase):
    """An endpoint: hardware, scaling and environment of the code that it decorates.

    On a function or class it makes a queue-based endpoint::

        @Endpoint(name="sums", gpu=GpuType.NVIDIA_L4, dependencies=["numpy"])
        async def total(values: list[float]) -> float: ...

    As an object with routes it makes a load-balanced one::

        api = Endpoint(name="api", cpu="cpu3c-1-2")

        @api.post("/generate")
        async def generate(prompt: str) -> dict: ...

    With ``id=`` or ``image=`` it is a client. All arguments are checked at once.
    """

    name: str | None

    def __init__(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        gpu: GpuGroup | GpuType | list[GpuGroup | GpuType] | None = None,
        cpu: str | CpuInstanceType | list[str | CpuInstanceType] | None = None,
        workers: int | tuple[int, int] | None = None,
        idle_timeout: int = 60,
        dependencies: list[str] | None = None,
        system_dependencies: list[str] | None = None,
        accelerate_downloads: bool = True,
        volume: NetworkVolume | list[NetworkVolume] | None = None,
        datacenter: DataCenter | list[DataCenter] | str | list[str] | None = None,
        env: dict[str, str] | None = None,
        gpu_count: int = 1,
        execution_timeout_ms: int = 0,
        flashboot: bool = True,
        image: str | None = None,
        scaler_type: ServerlessScalerType | None = None,
        scaler_value: int = 4,
        template: PodTemplate | None = None,
        min_cuda_version: CudaVersion | str | None = "12.8",
        max_concurrency: int = 1,
    ) -> None:
        # The core has read the arguments by now, in __new__.
        self.name = name
        self.id = id
        self.idle_timeout = idle_timeout
        self.dependencies = dependencies
        self.system_dependencies = system_dependencies
        self.accelerate_downloads = accelerate_downloads
        self.volume = [volume] if volume is not None and not isinstance(volume, list) else volume
        self.env = env
        self.gpu_count = gpu_count
        self.execution_timeout_ms = execution_timeout_ms
        self.flashboot = flashboot
        self.image = image
        self.scaler_value = scaler_value
        self.template = template
        self.min_cuda_version = min_cuda_version
        self._explicit_scaler_type = scaler_type
        self._routes: list[dict[str, Any]] = []
        self._qb_target: Any = None
        self._targets: dict[str, tuple[Any, Any]] = {}
        self._cached_resource_config: Any = None
        self._endpoint_url: str | None = None
        self._endpoint_id: str | None = None
        self._balanced_id: str | None = None

    @property
    def is_load_balanced(self) -> bool:
        """Whether it has routes."""
        return bool(self._routes)

    @property
    def scaler_type(self) -> Any:
        """What makes Runpod start more workers: what was given, else what fits the kind."""
        if self._explicit_scaler_type is not None:
            return self._explicit_scaler_type
        from . import ServerlessScalerType

        return ServerlessScalerType["REQUEST_COUNT" if self._routes else "QUEUE_DELAY"]

    @property
    def datacenter(self) -> Any:
        """Where workers may run, as given; every data center with storage for a GPU endpoint that does not say."""
        given = self._arguments.get("datacenter")
        if given or self.is_cpu or self.id is not None:
            return given
        from . import DataCenter

        return DataCenter.all()

    @property
    def _gpu(self) -> Any:
        members = self._gpu_members()
        if members is None or (self.id is not None and self._arguments.get("gpu") is None):
            return None
        from . import _enums

        return [_enums.enum_class(enum)[member] for enum, member in members]

    @property
    def _cpu(self) -> Any:
        values = self._cpu_values()
        if values is None:
            return None
        from . import CpuInstanceType

        return [CpuInstanceType(value) for value in values]

    def _decorate(self, func_or_class: Any) -> Any:
        """Make a function or class a queue-based endpoint."""
        if self.is_client:
            argument = "id" if self.id is not None else "image"
            raise _configuration_error(
                f"cannot use Endpoint({argument}=...) as a decorator. {argument}= endpoints are clients for "
                "external/pre-built services. use Endpoint(name=...) for your own code."
            )
        if self._routes:
            raise _configuration_error(
                "cannot use Endpoint as a direct decorator after registering routes with .get()/.post()/etc. "
                "use one pattern or the other.",
                hint="make another Endpoint(name=...) for the queue-based function",
            )
        from . import _decorate

        return _decorate.decorate(self, func_or_class)

    if not TYPE_CHECKING:
        # Its types are those of `_typing.QueueDecorator`, which the core's class has.
        __call__ = _decorate

    def get(self, path: str, data: Any = None, **kwargs: Any) -> Verb:
        """Register a ``GET`` route; on a client, send a request."""
        return self._verb("GET", path, data, kwargs)

    def post(self, path: str, data: Any = None, **kwargs: Any) -> Verb:
        """Register a ``POST`` route; on a client, send a request."""
        return self._verb("POST", path, data, kwargs)

    def put(self, path: str, data: Any = None, **kwargs: Any) -> Verb:
        """Register a ``PUT`` route; on a client, send a request."""
        return self._verb("PUT", path, data, kwargs)

    def delete(self, path: str, data: Any = None, **kwargs: Any) -> Verb:
        """Register a ``DELETE`` route; on a client, send a request."""
        return self._verb("DELETE", path, data, kwargs)

    def patch(self, path: str, data: Any = None, **kwargs: Any) -> Verb:
        """Register a ``PATCH`` route; on a client, send a request."""
        return self._verb("PATCH", path, data, kwargs)

    async def run(
        self,
        input_data: Any,
        *,
        webhook: str | None = None,
        policy: Mapping[str, Any] | None = None,
        s3_config: Mapping[str, Any] | None = None,
    ) -> EndpointJob[Any]:
        """Submit a job and return it, not waiting for its end.

        Args:
            input_data: The input. A dict that has ``input`` and else only ``webhook``, ``policy`` or
                ``s3Config`` is taken as the whole body of the request.
            webhook: URL that Runpod tells of the end.
            policy: ``executionTimeout``, ``ttl`` (both in milliseconds), ``lowPriority``.
            s3_config: Credentials and bucket for results, given to the worker.

        """
        from ._client import body, job, known, reference

        self._client_only("run")
        pieces, sizes = body(input_data, webhook, policy, s3_config)
        where = known(self) or await reference(self, "run", pieces, sizes)
        return job(await _core.job_run(where, pieces, sizes, 60.0), self)

    async def runsync(
        self,
        input_data: Any,
        timeout: float | None = 60.0,
        *,
        webhook: str | None = None,
        policy: Mapping[str, Any] | None = None,
        s3_config: Mapping[str, Any] | None = None,
    ) -> EndpointJob[Any]:
        """Submit a job and return it when it has ended, however it ended.

        Args:
            input_data: The input, as for :meth:`run`.
            timeout: Seconds to wait; ``None`` waits as long as it takes.
            webhook: URL that Runpod tells of the end.
            policy: As for :meth:`run`.
            s3_config: As for :meth:`run`.

        Raises:
            DeadlineExceededError: It has not ended in time; ``job_id`` says which job goes on.

        """
        from ._client import body, job, known, reference

        self._client_only("runsync")
        pieces, sizes = body(input_data, webhook, policy, s3_config)
        where = known(self) or await reference(self, "runsync", pieces, sizes)
        return job(await _core.job_call(where, pieces, sizes, timeout, False), self)

    async def status(self, job_id: str) -> EndpointJob[Any]:
        """Return a job of the endpoint in its present state."""
        return await self._about_job("status", job_id)

    async def cancel(self, job_id: str) -> EndpointJob[Any]:
        """Cancel a job of the endpoint."""
        return await self._about_job("cancel", job_id)

    async def retry(self, job_id: str) -> EndpointJob[Any]:
        """Queue a job that failed or timed out once more, with the same ID and input."""
        return await self._about_job("retry", job_id)

    async def purge_queue(self) -> Any:
        """Drop what waits in the endpoint's queue; return Runpod's answer."""
        return await self._about_endpoint("purge_queue")

    async def health(self) -> Any:
        """Return the endpoint's counters of jobs and workers."""
        return await self._about_endpoint("health")

    async def requests(self) -> Any:
        """Return the endpoint's latest jobs."""
        return await self._about_endpoint("requests")

    async def stream(self, job_or_input: Any) -> AsyncIterator[Any]:
        """Yield what a job sends while it runs: an ``EndpointJob``, a job's ID, or the input of a new one."""
        from . import _client
        from ._job import EndpointJob

        self._client_only("stream")
        if isinstance(job_or_input, EndpointJob):
            job = job_or_input
        elif isinstance(job_or_input, str):
            job = _client.job({"id": job_or_input}, self)
        else:
            job = await self.run(job_or_input)
        async for item in job.stream():
            yield item

    @property
    def blocking(self) -> BlockingEndpoint:
        """The same client for code without an event loop: ``endpoint.blocking.runsync(...)``."""
        from ._job import BlockingEndpoint

        self._client_only("blocking")
        return BlockingEndpoint(self)

    async def _about_job(self, operation: str, job_id: str) -> EndpointJob[Any]:
        from . import _client

        self._client_only(operation)
        timeout = 30.0 if operation == "status" else 60.0
        answer = await _core.job_ask(operation, await _client.reference(self), job_id, timeout)
        answer.setdefault("id", job_id)
        return _client.job(answer, self)

    async def _about_endpoint(self, operation: str) -> Any:
        from . import _client

        self._client_only(operation)
        return await _core.endpoint_ask(operation, await _client.reference(self), 60.0)

    def _client_only(self, method: str) -> None:
        if not self.is_client:
            raise _configuration_error(
                f"{method}() is for clients (Endpoint with id= or image=), not for your own code",
                hint="await the decorated function, or send the job to `flash run`",
            )

    def _verb(self, method: str, path: str, data: Any, kwargs: dict[str, Any]) -> Verb:
        found: Any  # Each is the half of a Verb that its mode uses.
        if self.is_client:
            argument = "id" if self.id is not None else "image"
            for unknown in kwargs.keys() - _REQUEST_OPTIONS:
                known = ", ".join(sorted(_REQUEST_OPTIONS))
                raise TypeError(f"{method.lower()}() got an unexpected keyword argument {unknown!r}; it takes {known}")
            found = ClientRequest(self._client_request(method, path, data, **kwargs), method, path, argument)
        elif data is not None or kwargs:
            raise TypeError(
                "data and keyword arguments are only valid in client mode (Endpoint with id= or image=). "
                f"in decorator mode, use @api.{method.lower()}('{path}') with no extra arguments."
            )
        else:
            found = self._route(method, path)
        verb: Verb = found
        return verb

    async def _client_request(self, method: str, path: str, data: Any = None, **kwargs: Any) -> Any:
        from . import _client

        return await _client.request(self, method, path, data, **kwargs)

    def _route(self, method: str, path: str) -> Callable[[Any], Any]:
        if self.name is None:
            raise _configuration_error(
                "name is required for load-balanced endpoints. use Endpoint(name=...).",
                hint='write api = Endpoint(name="api", ...)',
            )
        method = self._check_route(method, path)
        if self._qb_target is not None:
            raise _configuration_error(
                "cannot add routes after using Endpoint as a direct decorator. use one pattern or the other.",
                hint="make another Endpoint(name=...) for the routes",
            )
        from . import _decorate

        return lambda function: _decorate.route(self, method, path, function)

    def _build_resource_config(self) -> Any:
        if self._cached_resource_config is None:
            self._cached_resource_config = _light.light(self)
        return self._cached_resource_config

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._arguments, self.__dict__)


class ClientRequest:
    """A request of a client: a coroutine that also explains why it decorates nothing."""

    __slots__ = ("_argument", "_coroutine", "_method", "_path")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], method: str, path: str, argument: str) -> None:
        self._coroutine = coroutine
        self._method = method
        self._path = path
        self._argument = argument

    def __call__(self, function: Any) -> Any:
        """Refuse to decorate."""
        self._coroutine.close()
        argument = self._argument
        raise TypeError(
            f"Endpoint({argument}=...) is a client, not a route decorator. "
            f'@ep.{self._method.lower()}("{self._path}") cannot register handlers on a client endpoint. '
            f"to register routes, use Endpoint(name=...) without {argument}=."
        )

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a coroutine does."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise in it, as in a coroutine."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End it, as a coroutine."""
        self._coroutine.close()


def _restore(cls: type[Endpoint], arguments: dict[str, Any], state: dict[str, Any]) -> Endpoint:
    endpoint = cls(**arguments)
    endpoint.__dict__.update(state)
    return endpoint


def _configuration_error(message: str, *, hint: str | None = None) -> Exception:
    from .errors import ConfigurationError

    return ConfigurationError(message, hint=hint)


def __getattr__(name: str) -> Any:
    if name == "EndpointJob":
        from ._job import EndpointJob

        return EndpointJob
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
