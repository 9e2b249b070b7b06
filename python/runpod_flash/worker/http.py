"""Serves a load-balanced endpoint: its routes, run on the requests that the parent forwards."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import loader
from .functions import outcome
from .routes import Exchange, Routes, close_all, current_result, current_streams, scope_of

if TYPE_CHECKING:
    from .calls import Call, Calls


class HttpServer:
    """The app of an endpoint and the requests that run in it."""

    def __init__(self, calls: Calls, program: loader.Program) -> None:
        self._calls = calls
        self._active: set[int] = set()
        routes = Routes(program.endpoint, self._run_sync)
        self._app = routes.app
        for method, path, function in program.routes:
            routes.add(method, path, function)
        self._app.add_api_route("/ping", _ping, methods=["GET"], include_in_schema=False)

    def openapi(self) -> dict[str, Any] | None:
        """Return FastAPI's document of the routes, ``None`` where it cannot make one."""
        try:
            return self._app.openapi()
        except Exception as error:
            print(f"worker: the routes cannot be documented: {error}", file=sys.stderr)
            return None

    def is_idle(self) -> bool:
        """Return whether no request and no background task runs."""
        return not self._active

    async def serve(self, call: Call) -> None:
        """Answer one request."""
        self._active.add(call.id)
        head = call.head["input"]
        body = bytes(call.buffers[0]) if call.buffers else b""
        call.buffers = []
        exchange = ForwardedExchange(self._calls, call, body)
        current_result.set([])
        streams: list[Any] = []
        current_streams.set(streams)
        try:
            await self._app(scope_of(head), exchange.receive, exchange.send)
            exchange.end()
        except BaseException as error:
            await close_all(streams)
            # Its 500 is sent, if the answer had not begun: then this changes nothing.
            self._calls.fail_with(call, error)
        finally:
            self._active.discard(call.id)
            self._calls.worker.check_finished()

    async def _run_sync(self, job: Callable[[], Any]) -> Any:
        """Run a sync function in a thread, as FastAPI does: others are answered meanwhile."""
        run = partial(contextvars.copy_context().run, outcome, job)
        result, error = await asyncio.get_running_loop().run_in_executor(self._calls.executor(), run)
        if error is not None:
            raise error
        return result


class ForwardedExchange(Exchange):
    """One whose answer goes to the parent while it is made."""

    def __init__(self, calls: Calls, call: Call, body: bytes) -> None:
        super().__init__(body)
        self._calls = calls
        self._call = call

    async def send(self, message: Any) -> None:
        """Send a part of the answer."""
        link, call_id = self._calls.link, self._call.id
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            link.http_start(call_id, message["status"], headers)
        elif message["type"] == "http.response.body":
            if message.get("body"):
                link.http_chunk(call_id, message["body"])
            if not message.get("more_body", False):
                self.end()
            else:
                # A generator that never waits must not keep the loop to itself.
                await asyncio.sleep(0)

    def end(self) -> None:
        """End the answer; what runs in the background goes on."""
        self.ended.set()
        self._calls.finish(self._call, lambda: self._calls.link.answer(self._call.id, "http", []))


def _ping() -> dict[str, str]:
    return {"status": "healthy"}
