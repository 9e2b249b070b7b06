"""The FastAPI app of a load-balanced endpoint's routes.

Parsing, coercion, 422s, streaming and uploads are FastAPI's own. What is ours: a body is read as
JSON whatever its Content-Type says, sync functions run in threads whose output is known to be the
request's, and an exception of user code is told with the user's frames.

Used by the workers of this machine, and shipped to live workers with what it imports: it must get
by with FastAPI, pydantic and the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import urllib.parse
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import FastAPIError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from . import bodies, encoding, report
from .functions import is_async
from .report import RefusedError, innermost_user_frame

FORM = "application/x-www-form-urlencoded"

#: Runs a sync function away from the event loop.
RunSync = Callable[[Callable[[], Any]], Awaitable[Any]]


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


class Exchange:
    """What an ASGI app receives of one request."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        #: Set once the answer is whole.
        self.ended = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """Give the body once, then the end of the exchange."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.ended.wait()
        return {"type": "http.disconnect"}


class Routes:
    """Routes of one endpoint, as an ASGI app."""

    def __init__(self, title: str, run_sync: RunSync) -> None:
        self.app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
        self.app.router.route_class = BodyRoute
        self.app.add_exception_handler(Exception, self._on_error)
        self._run_sync = run_sync

    def add(self, method: str, path: str, function: Callable[..., Any]) -> None:
        """Serve a route."""
        endpoint = bodies.endpoint(method, path, function, self._invoke)
        summary, description = split_doc(function.__doc__)
        add = partial(
            self.app.add_api_route, path, endpoint, methods=[method], summary=summary, description=description
        )
        try:
            add()
        except FastAPIError:
            # An annotation of the result that says nothing to pydantic.
            add(response_model=None)

    async def _invoke(self, function: Callable[..., Any], positional: list[Any], named: dict[str, Any]) -> Any:
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
            returned = current_result.get()
            if returned is not None:
                returned.append(result)
            encoding.refuse_not_finite(result)
        elif isinstance(result, StreamingResponse):
            streams = current_streams.get()
            if streams is not None:
                streams.append(result.body_iterator)
        return result

    async def _on_error(self, _request: Request, error: Exception) -> Response:
        if isinstance(error, HandlerExitError) and error.__cause__ is not None:
            found = report.of(error.__cause__)
        else:
            found = report.of(error)
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


#: What this context's request streams.
current_streams: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("flash_streams", default=None)


async def close_all(streams: list[Any]) -> None:
    """Close what was streamed to a reader that is gone: at once, not when it is collected."""
    for stream in streams:
        close = getattr(stream, "aclose", None)
        if close is not None:
            with contextlib.suppress(Exception):
                await close()


#: What the handler of this context's request returned, to say which part of it could not be encoded.
current_result: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("flash_result", default=None)


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
    for result in current_result.get() or ():
        try:
            encoding.to_json(result)
        except RefusedError as refused:
            return refused.report
    return None
