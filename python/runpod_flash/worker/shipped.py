"""Answers one HTTP request where a live worker runs a shipped route.

It travels to that worker with what it imports, as a package of its own: the worker may be
Runpod's, which has FastAPI but nothing of ours. `/execute` takes a function and its arguments and
gives its result, once; so a request goes as JSON text and bytes, and so does its answer.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from .functions import outcome
from .routes import Exchange, Routes, close_all, current_result, current_streams, scope_of

#: Bytes of an answer's body: in base64 it must stay below what a load-balanced endpoint may answer.
MOST = 22 << 20
TOO_MUCH = (
    "the route's answer is larger than 22 MB, or has no end: a live worker answers at once, so stream it from "
    "this machine or from a deployed endpoint"
)


class AnswerTooLargeError(Exception):
    """The answer does not fit, or never ends."""


class KeptExchange(Exchange):
    """One whose answer is kept."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.head: dict[str, Any] = {"status": 500, "headers": []}
        self.pieces: list[bytes] = []
        self._size = 0

    @property
    def is_ended(self) -> bool:
        """Whether the answer is whole."""
        return self.ended.is_set()

    async def send(self, message: Any) -> None:
        """Keep a part of the answer."""
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            self.head = {
                "status": message["status"],
                "headers": [[bytes(name).decode("latin-1"), bytes(value).decode("latin-1")] for name, value in headers],
            }
        elif message["type"] == "http.response.body":
            piece = bytes(message.get("body") or b"")
            self._size += len(piece)
            if self._size > MOST:
                raise AnswerTooLargeError(TOO_MUCH)
            self.pieces.append(piece)
            if not message.get("more_body", False):
                self.ended.set()


async def answer(method: str, path: str, function: Callable[..., Any], head: str, body: bytes) -> bytes:
    """Return a route's answer to a request.

    ``head`` is the JSON of the request's head, values of headers as Latin-1. The answer is the
    length of its head in 4 bytes (the highest first), its head as JSON, its body.
    """
    request = json.loads(head)
    request["headers"] = [(name, value.encode("latin-1")) for name, value in request["headers"]]
    exchange = KeptExchange(body)
    current_result.set([])
    streams: list[Any] = []
    current_streams.set(streams)
    _complete_models(getattr(inspect.unwrap(function), "__globals__", {}))
    try:
        routes = Routes("live", _run_sync)
        routes.add(method, path, function)
        await routes.app(scope_of(request), exchange.receive, exchange.send)
    except AnswerTooLargeError as error:
        await close_all(streams)
        exchange.head = {"status": 500, "headers": [["content-type", "application/json"]]}
        exchange.pieces = [json.dumps({"detail": str(error)}).encode()]
    except Exception:
        # Starlette raises it again after its handler's answer; one that broke off is none.
        if not exchange.is_ended:
            raise
    told = json.dumps(exchange.head).encode()
    return b"".join([len(told).to_bytes(4, "big"), told, *exchange.pieces])


def _complete_models(names: dict[str, Any]) -> None:
    """Finish models whose annotations are text: pydantic looks in their module, which is not this text."""
    for found in list(names.values()):
        is_model = isinstance(found, type) and issubclass(found, BaseModel) and found is not BaseModel
        if is_model and not found.__pydantic_complete__:
            found.model_rebuild(raise_errors=False, _types_namespace=names)


async def _run_sync(job: Callable[[], Any]) -> Any:
    """Run a sync function in a thread, as FastAPI does."""
    context = contextvars.copy_context()
    result, error = await asyncio.to_thread(context.run, outcome, job)
    if error is not None:
        raise error
    return result
