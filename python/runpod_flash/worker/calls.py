"""Runs calls of queue-based endpoints: finds the callable, binds its arguments, sends its result.

Every call gets exactly one answer, whatever user code does short of ending the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from runpod_flash import _context

from . import describe, encoding, loader, output, report
from .functions import is_async
from .report import RefusedError, failure
from .validation import Inputs, choose_method, methods_of, parse_json

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from runpod_flash._core import WorkerLink

    from .http import HttpServer
    from .live import Live, LiveServer
    from .main import Worker


#: Sync route handlers that run at a time: the size of FastAPI's own pool.
HTTP_THREADS = 40


class Call:
    """One call that runs here."""

    __slots__ = ("buffers", "context", "head", "id", "is_cancelled", "is_json", "task")

    def __init__(self, call_id: int, head: dict[str, Any], buffers: list[bytearray]) -> None:
        self.id = call_id
        self.head = head
        self.buffers = buffers
        self.is_json = head["input"]["kind"] == "json"
        self.is_cancelled = False
        self.task: asyncio.Task[None] | None = None
        self.context = contextvars.copy_context()
        self.context.run(_context.current_call.set, (call_id, head["job"], tuple(head["chain"])))


class Calls:
    """The calls of this worker."""

    def __init__(
        self, worker: Worker, link: WorkerLink, program: loader.Program, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.worker = worker
        self.link = link
        self.program = program
        self.loop = loop
        self._running: dict[int, Call] = {}
        self._instances: dict[tuple[Any, str], Any] = {}
        self._inputs: dict[Any, Inputs] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._http: HttpServer | LiveServer | None = None
        self._live: Live | None = None

    def describe(self, load_ms: int) -> dict[str, Any]:
        """Return the ``ReadyHead``; a load-balanced endpoint's app is built here."""
        openapi = None
        described: list[dict[str, Any]] = []
        if self.program.is_live:
            from .live import Live, LiveServer

            self._live = Live(self)
            if self.program.kind == "load_balanced":
                self._http = LiveServer(self, self._live)
        elif self.program.routes:
            from .http import HttpServer

            self._http = server = HttpServer(self, self.program)
            openapi = server.openapi()
        elif self.program.describes_itself:
            described = describe.callables(self.program, self.inputs)
        return {
            "pid": os.getpid(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "callables": described,
            "openapi": openapi,
            "load_ms": load_ms,
        }

    def inputs(self, function: Callable[..., Any], name: str) -> Inputs:
        """Return the inputs of a callable, made once."""
        key = getattr(function, "__func__", function)
        if key not in self._inputs:
            self._inputs[key] = Inputs(function, name)
        return self._inputs[key]

    def is_idle(self) -> bool:
        """Return whether nothing runs."""
        return not self._running and (self._http is None or self._http.is_idle())

    def start(self, call_id: int, head: dict[str, Any], buffers: list[bytearray]) -> None:
        """Start a call; runs in the event loop."""
        call = Call(call_id, head, buffers)
        self._running[call_id] = call
        if head["input"]["kind"] == "http":
            if self._http is None:
                self.fail(
                    call, failure("not_found", "LookupError", f"endpoint `{self.program.endpoint}` has no routes")
                )
            else:
                self._create_task(call, self._http.serve(call))
        elif self._live is not None:
            self._create_task(call, self._answer_live(call, self._live))
        else:
            self.worker.post(partial(self._begin, call))

    def mark_cancelled(self, call_id: int) -> None:
        """Note that a call's caller no longer waits; from any thread."""
        call = self._running.get(call_id)
        if call is not None:
            call.is_cancelled = True

    def cancel(self, call_id: int) -> None:
        """Cancel a call that waits; what runs in plain Python code cannot be interrupted."""
        call = self._running.get(call_id)
        if call is not None:
            call.is_cancelled = True
            if call.task is not None:
                call.task.cancel()

    def close(self) -> None:
        """Let the pool's threads end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    # Steps of a call, in order.

    def _begin(self, call: Call) -> None:
        """Bind the arguments and start the function; on the main thread, the loop paused."""
        if call.is_cancelled:
            self.fail(call, cancelled())
            return
        call.context.run(self._call, call)

    def _call(self, call: Call) -> None:
        try:
            function, positional, named = self._prepare(call)
            if is_async(function) or self.program.max_concurrency == 1:
                self._settle(call, function(*positional, **named))
            else:
                self.executor().submit(
                    call.context.copy().run, self._call_in_thread, call, partial(function, *positional, **named)
                )
        except BaseException as error:
            self.fail_with(call, error)

    async def _answer_live(self, call: Call, live: Live) -> None:
        try:
            if not call.is_json:
                text = f"`{self.program.endpoint}` is a live endpoint: it has no functions of its own to call"
                raise RefusedError(failure("not_found", "LookupError", text))
            value = parse_json(bytes(call.buffers[0]) if call.buffers else b"null")
            call.buffers = []
            self.answer(call, await live.respond(call, value))
        except BaseException as error:
            self.fail_with(call, error)

    def _call_in_thread(self, call: Call, function: Callable[[], Any]) -> None:
        try:
            if call.is_cancelled:
                self.fail(call, cancelled())
                return
            result = function()
            if inspect.isawaitable(result) or inspect.isasyncgen(result):
                self.loop.call_soon_threadsafe(self._settle, call, result)
            else:
                self._settle(call, result)
        except BaseException as error:
            self.fail_with(call, error)

    def _settle(self, call: Call, result: Any) -> None:
        """Go on with what a function returned."""
        if inspect.isawaitable(result) or inspect.isasyncgen(result):
            self._create_task(call, self._finish_async(call, result))
        elif inspect.isgenerator(result):
            self._answer_items(call, result)
        else:
            self.answer(call, result)

    async def _finish_async(self, call: Call, result: Any) -> None:
        try:
            if inspect.isawaitable(result):
                result = await result
            if inspect.isasyncgen(result):
                await self._answer_async_items(call, result)
            elif inspect.isgenerator(result):
                self._answer_items(call, result)
            else:
                self.answer(call, result)
        except BaseException as error:
            self.fail_with(call, error)

    def _answer_items(self, call: Call, items: Iterator[Any]) -> None:
        collected = []
        for item in items:
            if call.is_cancelled:
                items.close()  # type: ignore[attr-defined]
                raise RefusedError(cancelled())
            if call.head["stream"]:
                self._chunk(call, item)
            else:
                collected.append(item)
        self._end_items(call, collected)

    async def _answer_async_items(self, call: Call, items: Any) -> None:
        collected = []
        try:
            async for item in items:
                if call.head["stream"]:
                    self._chunk(call, item)
                else:
                    collected.append(item)
        finally:
            await items.aclose()
        self._end_items(call, collected)

    def _chunk(self, call: Call, item: Any) -> None:
        if call.is_json:
            self.link.chunk(call.id, "json", [encoding.to_json(item)])
        else:
            self.link.chunk(call.id, "python", encoding.to_pickle(item))

    def _end_items(self, call: Call, collected: list[Any]) -> None:
        if call.head["stream"]:
            self.finish(call, lambda: self.link.answer(call.id, "end", []))
        else:
            self.answer(call, collected)

    def answer(self, call: Call, result: Any) -> None:
        """End a call with its result; raises `RefusedError` when it cannot be encoded."""
        if call.is_json:
            kind, buffers = "json", [encoding.to_json(result)]
        else:
            kind, buffers = "python", encoding.to_pickle(result)
        self.finish(call, lambda: self.link.answer(call.id, kind, buffers))

    def fail_with(self, call: Call, error: BaseException) -> None:
        """End a call with an exception."""
        if isinstance(error, asyncio.CancelledError) and call.is_cancelled:
            self.fail(call, cancelled())
        else:
            self.fail(call, report.of(error))

    def fail(self, call: Call, found: dict[str, Any]) -> None:
        """End a call with a report."""

        def send() -> None:
            try:
                self.link.fail(call.id, found)
            except ValueError:
                # Lone surrogates, or numbers that no other language has.
                self.link.fail(call.id, report.clean(found))

        self.finish(call, send)

    def finish(self, call: Call, send: Callable[[], None]) -> None:
        """Send the answer after everything the call printed."""
        if self._running.pop(call.id, None) is None:
            return
        output.finish_call(call.id)
        send()
        if self.worker.is_stopping:
            self.loop.call_soon_threadsafe(self.worker.check_finished)

    def _create_task(self, call: Call, coroutine: Any) -> None:
        call.task = call.context.copy().run(self.loop.create_task, coroutine)

    def executor(self) -> ThreadPoolExecutor:
        """Return the threads that sync functions of routes or of a concurrent endpoint run in."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            threads = self.program.max_concurrency if self._http is None else HTTP_THREADS
            self._pool = ThreadPoolExecutor(threads, "flash-call")
        return self._pool

    # Callables and arguments.

    def _prepare(self, call: Call) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        if call.is_json:
            return self._prepare_json(call)
        head = call.head["input"]
        buffers, call.buffers = call.buffers, []
        function, constructor = head["function"], head["constructor"]
        end = len(buffers) if function is None else function
        start = end if constructor is None else constructor["start"]
        try:
            positional, named = encoding.load_pickle(buffers[:start])
            made_with = encoding.load_pickle(buffers[start:end]) if constructor is not None else ((), {})
        except Exception as error:
            found = report.raised(error)
            found["message"] = f"the arguments cannot be unpickled in the worker: {report.message_of(error)}"
            raise RefusedError(found) from None
        name = call.head["callable"]
        top, _, method = name.partition(".")
        if function is not None:
            target, identity = self.program.value(buffers[function]), buffers[function]
            if isinstance(target, type):
                method = name.rpartition(".")[2]
        else:
            target, identity = self._served(name, top), None
        if not isinstance(target, type):
            return target, list(positional), named
        key = constructor["key"] if constructor is not None else ""
        instance = self._instance(target, identity, key, made_with)
        return self._method(target, instance, method), list(positional), named

    def _prepare_json(self, call: Call) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        value = parse_json(bytes(call.buffers[0]) if call.buffers else b"null")
        call.buffers = []
        name = call.head["callable"]
        if not name:
            if len(self.program.callables) != 1:
                raise RefusedError(self._not_found(name))
            (name,) = self.program.callables
        top, _, method = name.partition(".")
        target = self._served(name, top)
        if isinstance(target, type):
            if not method:
                method, value = choose_method(target, value)
            instance = self._instance(target, None, "", ((), {}))
            target = self._method(target, instance, method)
            name = f"{top}.{method}"
        positional, named = self.inputs(target, name).bind(value)
        return target, positional, named

    def _served(self, name: str, top: str) -> Any:
        target = self.program.callables.get(name) or self.program.callables.get(top)
        if target is None:
            raise RefusedError(self._not_found(name))
        return target

    def _not_found(self, name: str) -> dict[str, Any]:
        served = ", ".join(f"`{each}`" for each in self.program.callables) or "nothing"
        text = f"endpoint `{self.program.endpoint}` has no `{name}`; it serves {served}"
        return failure("not_found", "LookupError", text)

    def _instance(self, cls: type, identity: bytearray | None, key: str, made_with: Any) -> Any:
        owner: Any = cls if identity is None else bytes(identity)
        if (owner, key) not in self._instances:
            positional, named = made_with
            self._instances[owner, key] = cls(*positional, **named)
        return self._instances[owner, key]

    def _method(self, cls: type, instance: Any, name: str) -> Callable[..., Any]:
        method = getattr(instance, name, None) if name and not name.startswith("_") else None
        if not callable(method):
            listed = ", ".join(methods_of(cls))
            text = f"`{cls.__name__}` has no public method `{name}`; it has: {listed}"
            raise RefusedError(failure("not_found", "AttributeError", text))
        bound: Callable[..., Any] = method
        return bound


def cancelled() -> dict[str, Any]:
    """Return the report of a call whose caller no longer waits."""
    return failure("cancelled", "CancelledError", "the call was cancelled")
