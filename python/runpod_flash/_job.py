"""``EndpointJob``: a job on Runpod, and the blocking ways for code without an event loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from . import _client, _core

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator

    from .endpoint import Endpoint

T = TypeVar("T")

_FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})

#: Seconds that a question about a job, and another request about it, may take.
_STATUS_TIMEOUT = 30.0
_TIMEOUT = 60.0


class EndpointJob(Generic[T]):
    """A job on Runpod: what its last answer said, and ways to ask, wait and cancel.

    ``await job`` gives the output and raises where the job failed::

        job = await endpoint.run({"prompt": "hello"})
        output = await job

    ``await job.wait()`` gives the job itself and does not raise for a job that failed, as in 1.21.
    ``job.result()`` is ``await job`` for code without an event loop.
    """

    def __init__(self, data: dict[str, Any], endpoint: Endpoint) -> None:
        self._data = data
        self._endpoint = endpoint

    @property
    def id(self) -> str:
        """The job's ID."""
        return str(self._data.get("id") or "")

    @property
    def output(self) -> Any:
        """The output, once there is one."""
        return self._data.get("output")

    @property
    def error(self) -> Any:
        """What went wrong, once something did."""
        return self._data.get("error")

    @property
    def done(self) -> bool:
        """Whether the last answer was the final one."""
        return self._data.get("status") in _FINAL

    @property
    def delay_time(self) -> int | None:
        """Milliseconds that the job waited for a worker, once that is known."""
        return self._data.get("delayTime")

    @property
    def execution_time(self) -> int | None:
        """Milliseconds that the job ran, once that is known."""
        return self._data.get("executionTime")

    @property
    def worker_id(self) -> str | None:
        """The worker that ran it, once that is known."""
        return self._data.get("workerId")

    @property
    def retries(self) -> int | None:
        """How often it was given to another worker, once that is known."""
        return self._data.get("retries")

    async def status(self) -> str:
        """Ask for the job's state and return its word, such as ``IN_QUEUE``."""
        self._data = await self._ask("status", _STATUS_TIMEOUT)
        return str(self._data.get("status", "UNKNOWN"))

    async def cancel(self) -> EndpointJob[T]:
        """Cancel the job; one that has ended stays as it is."""
        self._data.update(await self._ask("cancel", _TIMEOUT))
        return self

    async def retry(self) -> EndpointJob[T]:
        """Queue the job once more, with the same ID and input, after it failed or timed out."""
        self._data = await self._ask("retry", _TIMEOUT)
        return self

    async def wait(self, timeout: float | None = None) -> EndpointJob[T]:
        """Wait for the end of the job and return it, however it ended.

        Args:
            timeout: Seconds to wait; the job goes on when they have passed.

        Raises:
            TimeoutError: The job has not ended in time.

        """
        if self.done:
            return self
        try:
            self._data = await self._ask("wait", timeout)
        except TimeoutError as error:
            from .errors import DeadlineExceededError

            if timeout is None or not isinstance(error, DeadlineExceededError):
                raise
            last = error.last_status or self._data.get("status", "UNKNOWN")
            text = f"job {self.id} did not complete within {timeout}s (last status: {last})"
            raise TimeoutError(text) from error
        return self

    async def stream(self) -> AsyncIterator[Any]:
        """Yield what the job sends while it runs; raise at the end where it failed."""
        items = _core.job_stream(await _client.reference(self._endpoint), self.id, None)
        try:
            while (found := await items.next()) is not None:
                yield found[0]
        finally:
            items.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.stream()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._result(None).__await__()

    async def _result(self, timeout: float | None) -> T:
        await self.wait(timeout)
        if self._data.get("status") == "COMPLETED":
            return cast("T", self.output)
        return cast("T", _core.job_result(_client.shown(self._endpoint), json.dumps(self._data)))

    def result(self, timeout: float | None = None) -> T:
        """Wait for the output without an event loop; raise where the job failed."""
        return run_blocking(lambda: self._result(timeout), "await job")

    @property
    def blocking(self) -> BlockingJob:
        """The same job for code without an event loop."""
        return BlockingJob(self)

    async def _ask(self, operation: str, timeout: float | None) -> dict[str, Any]:
        endpoint = _client.known(self._endpoint) or await _client.reference(self._endpoint)
        answer: dict[str, Any] = await _core.job_ask(operation, endpoint, self.id, timeout)
        answer.setdefault("id", self.id)
        return answer

    def __repr__(self) -> str:
        return f"EndpointJob(id={self.id!r}, status={self._data.get('status', 'UNKNOWN')!r})"


class BlockingJob:
    """A job for code without an event loop: each method returns when it is done. Ctrl-C ends the wait, not the job."""

    def __init__(self, job: EndpointJob[Any]) -> None:
        self._job = job

    def status(self) -> str:
        """Ask for the job's state and return it."""
        return run_blocking(self._job.status, "await job.status()")

    def cancel(self) -> EndpointJob[Any]:
        """Cancel the job."""
        return run_blocking(self._job.cancel, "await job.cancel()")

    def retry(self) -> EndpointJob[Any]:
        """Queue the job once more."""
        return run_blocking(self._job.retry, "await job.retry()")

    def wait(self, timeout: float | None = None) -> EndpointJob[Any]:
        """Wait for the end of the job, however it ends."""
        return run_blocking(lambda: self._job.wait(timeout), "await job.wait()")

    def stream(self) -> Iterator[Any]:
        """Yield what the job sends while it runs."""
        return iterate_blocking(self._job.stream, "async for item in job")


class BlockingEndpoint:
    """A client endpoint for code without an event loop: each method returns when it is done.

    Ctrl-C ends the wait, not the job. Below a running loop they raise: they would stop it.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def run(self, input_data: Any, **options: Any) -> EndpointJob[Any]:
        """Submit a job; see ``Endpoint.run``."""
        return cast("EndpointJob[Any]", self._run("run", input_data, **options))

    def runsync(self, input_data: Any, timeout: float | None = 60.0, **options: Any) -> EndpointJob[Any]:
        """Submit a job and wait for its end; see ``Endpoint.runsync``."""
        return cast("EndpointJob[Any]", self._run("runsync", input_data, timeout, **options))

    def status(self, job_id: str) -> EndpointJob[Any]:
        """Return a job in its present state."""
        return cast("EndpointJob[Any]", self._run("status", job_id))

    def cancel(self, job_id: str) -> EndpointJob[Any]:
        """Cancel a job."""
        return cast("EndpointJob[Any]", self._run("cancel", job_id))

    def retry(self, job_id: str) -> EndpointJob[Any]:
        """Queue a job once more."""
        return cast("EndpointJob[Any]", self._run("retry", job_id))

    def purge_queue(self) -> Any:
        """Drop what waits in the queue."""
        return self._run("purge_queue")

    def health(self) -> Any:
        """Return counters of jobs and workers."""
        return self._run("health")

    def requests(self) -> Any:
        """Return the jobs that came last."""
        return self._run("requests")

    def stream(self, job_or_input: Any) -> Iterator[Any]:
        """Yield what a job sends while it runs; see ``Endpoint.stream``."""
        return iterate_blocking(lambda: self._endpoint.stream(job_or_input), "async for item in endpoint.stream(…)")

    def get(self, path: str, data: Any = None, **options: Any) -> Any:
        """Send a ``GET`` request."""
        return self._run("get", path, data, **options)

    def post(self, path: str, data: Any = None, **options: Any) -> Any:
        """Send a ``POST`` request."""
        return self._run("post", path, data, **options)

    def put(self, path: str, data: Any = None, **options: Any) -> Any:
        """Send a ``PUT`` request."""
        return self._run("put", path, data, **options)

    def delete(self, path: str, data: Any = None, **options: Any) -> Any:
        """Send a ``DELETE`` request."""
        return self._run("delete", path, data, **options)

    def patch(self, path: str, data: Any = None, **options: Any) -> Any:
        """Send a ``PATCH`` request."""
        return self._run("patch", path, data, **options)

    def _run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        # Made inside of the loop, so that a refusal leaves no coroutine that nobody awaits.
        async def call() -> Any:
            return await getattr(self._endpoint, method)(*args, **kwargs)

        return run_blocking(call, f"await endpoint.{method}(…)")


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]], instead: str) -> T:
    """Run a coroutine to its end on a loop of its own."""
    import asyncio

    _refuse_in_loop(instead)
    return asyncio.run(make())


def iterate_blocking(make: Callable[[], AsyncIterator[Any]], instead: str) -> Iterator[Any]:
    """Yield the items of an asynchronous iterator, on a loop of their own."""
    _refuse_in_loop(instead)
    return _iterate(make)


def _iterate(make: Callable[[], AsyncIterator[Any]]) -> Iterator[Any]:
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        items: Any = make()
        try:
            while True:
                try:
                    item = loop.run_until_complete(items.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            loop.run_until_complete(items.aclose())
    finally:
        loop.close()


def _refuse_in_loop(instead: str) -> None:
    import asyncio

    if asyncio._get_running_loop() is not None:
        raise RuntimeError(f"an event loop runs in this thread, which a blocking call would stop: use `{instead}`")
