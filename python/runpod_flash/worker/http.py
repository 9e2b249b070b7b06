"""Serves a load-balanced endpoint: one FastAPI app, run on the requests that the parent forwards.

Parsing, coercion, 422s, streaming and uploads are FastAPI's own. What is ours: a body is read as
JSON whatever its Content-Type says, sync functions run in threads whose output is known to be the
request's, and an exception of user code is told with the user's frames.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import sys
import urllib.parse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import FastAPIError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import bodies, encoding, loader, report
from .report import RefusedError, innermost_user_frame

if TYPE_CHECKING:
    from .calls import Call, Calls

FORM = "application/x-www-form-urlencoded"


class HandlerExitError(Exception):
    """A handler raised what would end the event loop (``SystemExit``, ``KeyboardInterrupt``)."""


class BodyRoute(APIRoute):
    """A route whose body may be JSON under any Content-Type, or form fields without one."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return FastAPI's handler, behind a look at the body where the route has one."""
        handle = super().get_route_handler()
        field = self.body_field
        if field is None or isinstance(field.field_info, Form):
            return handle

        async def handle_body(request: Request) -> Response:
            return await handle(await as_json(request))

        return handle_body


class HttpServer:
    """The app of an endpoint and the requests that run in it."""

    def __init__(self, calls: Calls, program: loader.Program) -> None:
        self._calls = calls
        self._program = program
        self._active: set[int] = set()
        self._app = FastAPI(title=program.endpoint, docs_url=None, redoc_url=None, openapi_url=None)
        self._app.router.route_class = BodyRoute
        self._app.add_exception_handler(Exception, self._on_error)
        for method, path, function in program.routes:
            self._add(method, path, function)
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
        exchange = Exchange(self._calls, call, body)
        current_exchange.set(exchange)
        try:
            await self._app(scope_of(head), exchange.receive, exchange.send)
            exchange.end()
        except BaseException as error:
            # Its 500 is sent, if the answer had not begun: then this changes nothing.
            self._calls.fail_with(call, error)
        finally:
            self._active.discard(call.id)
            self._calls.worker.check_finished()

    def _add(self, method: str, path: str, function: Callable[..., Any]) -> None:
        endpoint = bodies.endpoint(method, path, function, self._invoke)
        summary, description = split_doc(function.__doc__)
        add = partial(
            self._app.add_api_route, path, endpoint, methods=[method], summary=summary, description=description
        )
        try:
            add()
        except FastAPIError:
            # An annotation of the result that says nothing to pydantic.
            add(response_model=None)

    async def _invoke(self, function: Callable[..., Any], positional: list[Any], named: dict[str, Any]) -> Any:
        from .calls import is_async

        job = partial(function, *positional, **named)
        try:
            if is_async(function):
                result = await job()
            else:
                result = await self._run_sync(job)
                if inspect.isawaitable(result):
                    result = await result
        except (SystemExit, KeyboardInterrupt) as error:
            raise HandlerExitError from error
        if not isinstance(result, Response):
            exchange = current_exchange.get()
            if exchange is not None:
                exchange.result = result
            encoding.refuse_not_finite(result)
        return result

    async def _run_sync(self, job: Callable[[], Any]) -> Any:
        """Run a sync function in a thread, as FastAPI does: others are answered meanwhile."""
        run = partial(contextvars.copy_context().run, _outcome, job)
        result, error = await asyncio.get_running_loop().run_in_executor(self._calls.executor(), run)
        if error is not None:
            raise error
        return result

    async def _on_error(self, _request: Request, error: Exception) -> Response:
        if isinstance(error, HandlerExitError) and error.__cause__ is not None:
            found = self._calls.report_of(error.__cause__)
        else:
            found = self._calls.report_of(error)
        if innermost_user_frame(error.__traceback__) is None:
            found = _unencodable() or found
        content = {
            "detail": f"{found['error_type']}: {found['message']}",
            "error_type": found["error_type"],
            "error_message": found["message"],
            "error_traceback": found["traceback"],
        }
        if found["hint"]:
            content["hint"] = found["hint"]
        return JSONResponse(report.clean(content), status_code=500)


class Exchange:
    """The two ASGI channels of one request."""

    def __init__(self, calls: Calls, call: Call, body: bytes) -> None:
        self._calls = calls
        self._call = call
        self._body: bytes | None = body
        #: What the handler returned, to say which part of it could not be encoded.
        self.result: Any = None
        self._ended = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """Give the body once, then the end of the exchange."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._ended.wait()
        return {"type": "http.disconnect"}

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
        self._ended.set()
        self._calls.finish(self._call, lambda: self._calls.link.answer(self._call.id, "http", []))


#: The exchange that this context serves.
current_exchange: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("flash_exchange", default=None)


def scope_of(head: dict[str, Any]) -> dict[str, Any]:
    """Return the ASGI scope of a request."""
    path = head["root_path"] + head["path"]
    host, _, port = (head["client"] or "").rpartition(":")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": head["method"],
        "scheme": "http",
        "path": urllib.parse.unquote(path),
        "raw_path": path.encode(),
        "query_string": head["query"].encode(),
        "root_path": head["root_path"],
        "headers": [(name.encode("latin-1"), bytes(value)) for name, value in head["headers"]],
        "client": (host.strip("[]"), int(port)) if host and port.isdigit() else None,
        "server": None,
        "state": {},
    }


async def as_json(request: Request) -> Request:
    """Return the request with its body marked as JSON where it is JSON, or made JSON of a form."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json" or content_type.endswith("+json") or content_type.startswith("multipart/"):
        return request
    body = await request.body()
    start = body.lstrip()[:1]
    if start in (b"{", b"["):
        return _with_body(request, body)
    if content_type in ("", FORM):
        try:
            fields = urllib.parse.parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True)
        except ValueError:
            fields = {}
        if fields:
            values = {name: found[0] if len(found) == 1 else found for name, found in fields.items()}
            return _with_body(request, json.dumps(values).encode())
    return _with_body(request, body) if body and content_type != "application/octet-stream" else request


def _with_body(request: Request, body: bytes) -> Request:
    kept = [
        (name, value) for name, value in request.scope["headers"] if name not in (b"content-type", b"content-length")
    ]
    headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    request.scope["headers"] = headers
    changed = Request(request.scope, request.receive)
    changed._body = body
    return changed


def split_doc(doc: str | None) -> tuple[str | None, str | None]:
    """Return a docstring's first line and the rest."""
    summary, _, description = inspect.cleandoc(doc or "").partition("\n")
    return summary.strip() or None, description.strip() or None


def _unencodable() -> dict[str, Any] | None:
    """Return the report of a result that FastAPI's encoder refused."""
    exchange = current_exchange.get()
    if exchange is None:
        return None
    try:
        encoding.to_json(exchange.result)
    except RefusedError as refused:
        return refused.report
    return None


def _outcome(job: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Run a job; its exception is a value, as a future cannot carry each of them."""
    try:
        return job(), None
    except BaseException as error:
        return None, error


def _ping() -> dict[str, str]:
    return {"status": "healthy"}
