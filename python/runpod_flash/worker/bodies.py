"""Makes the FastAPI endpoint of a route: which parameter comes from where.

The rules are those of the deployed handler. A `GET`, and a function that names a pydantic model or
a FastAPI or Starlette type, is FastAPI's own business. Otherwise a `bytes` parameter makes the
body a multipart form, and else all parameters that are not in the path are one JSON object.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import File, Form, params
from fastapi.security import SecurityScopes
from pydantic import BaseModel
from starlette.background import BackgroundTasks
from starlette.datastructures import UploadFile
from starlette.requests import HTTPConnection
from starlette.responses import Response

from .validation import Inputs

#: Types that FastAPI fills in or reads by itself.
FASTAPI_TYPES = (BackgroundTasks, HTTPConnection, Response, SecurityScopes, UploadFile)
#: Defaults and annotations that say where FastAPI finds a parameter.
FASTAPI_MARKS = (params.Param, params.Body, params.Depends)
BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")

Invoke = Callable[[Callable[..., Any], list[Any], dict[str, Any]], Awaitable[Any]]


def endpoint(method: str, path: str, function: Callable[..., Any], invoke: Invoke) -> Callable[..., Any]:
    """Return what FastAPI is to serve; ``invoke`` calls the function where it belongs."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        # FastAPI streams what it yields.
        return function
    inputs = Inputs(function, f"{function.__name__}_body", suffix="")
    in_path = {name for name, _ in re.findall(r"{([^}:]+)(:[^}]+)?}", path)}
    others = [each for each in inputs.parameters if each.name not in in_path]
    is_own = method not in BODY_METHODS or not (others or inputs.takes_more) or _is_fastapi(others)
    if is_own:
        return _as_it_is(function, inputs, invoke)
    if any(_bare(each.annotation) is bytes for each in others):
        return _multipart(function, inputs, in_path, invoke)
    return _json_object(function, inputs, in_path, invoke)


def _is_fastapi(parameters: list[inspect.Parameter]) -> bool:
    return any(
        isinstance(each.default, FASTAPI_MARKS)
        or any(isinstance(mark, FASTAPI_MARKS) for mark in getattr(each.annotation, "__metadata__", ()))
        or _is_class(_bare(each.annotation), BaseModel)
        or any(_is_class(part, *FASTAPI_TYPES) for part in _members(each.annotation))
        for each in parameters
    )


def _bare(annotation: Any) -> Any:
    """Return an annotation without the marks of ``Annotated``."""
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _members(annotation: Any) -> list[Any]:
    """Return a type, or those inside ``Optional[...]``, ``list[...]`` and the like."""
    bare = _bare(annotation)
    found = [bare]
    for part in typing.get_args(bare):
        found += _members(part)
    return found


def _is_class(value: Any, *classes: type) -> bool:
    return isinstance(value, type) and typing.get_origin(value) is None and issubclass(value, classes)


def _as_it_is(function: Callable[..., Any], inputs: Inputs, invoke: Invoke) -> Callable[..., Any]:
    positional_only = [each.name for each in inputs.parameters if each.kind is each.POSITIONAL_ONLY]

    async def call(**values: Any) -> Any:
        positional = [values.pop(name) for name in positional_only]
        return await invoke(function, positional, values)

    return _dress(call, function, inputs, inputs.parameters)


def _multipart(function: Callable[..., Any], inputs: Inputs, in_path: set[str], invoke: Invoke) -> Callable[..., Any]:
    marked = []
    for each in inputs.parameters:
        if each.name not in in_path:
            mark = File if _bare(each.annotation) is bytes else Form
            annotation = str if each.annotation is each.empty else each.annotation
            each = each.replace(
                default=mark(... if each.default is each.empty else each.default), annotation=annotation
            )
        marked.append(each)
    inputs.parameters = marked
    return _as_it_is(function, inputs, invoke)


def _json_object(function: Callable[..., Any], inputs: Inputs, in_path: set[str], invoke: Invoke) -> Callable[..., Any]:
    path_parameters = [each for each in inputs.parameters if each.name in in_path]
    everything = inputs.parameters
    inputs.parameters = [each for each in everything if each.name not in in_path]
    body_name = "body"
    while any(each.name == body_name for each in path_parameters):
        body_name += "_"
    body = inspect.Parameter(body_name, inspect.Parameter.KEYWORD_ONLY, annotation=inputs.model)

    async def call(**values: Any) -> Any:
        positional, named = inputs.arguments(values.pop(body_name))
        named.update(values)
        leading = [named.pop(each.name) for each in path_parameters if each.kind is each.POSITIONAL_ONLY]
        return await invoke(function, leading + positional, named)

    return _dress(call, function, inputs, [*path_parameters, body])


def _dress(
    call: Callable[..., Any], function: Callable[..., Any], inputs: Inputs, parameters: list[inspect.Parameter]
) -> Callable[..., Any]:
    """Give the endpoint the function's name, text and types, by which FastAPI describes it."""
    call.__name__ = function.__name__
    call.__qualname__ = function.__qualname__
    call.__doc__ = function.__doc__
    call.__module__ = function.__module__
    named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        named, return_annotation=inputs.signature.return_annotation
    )
    return call
