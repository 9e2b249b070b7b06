"""Describes the callables of a queue-based endpoint: JSON Schemas, docstrings, kinds."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
import warnings
from collections.abc import Callable
from typing import Any

from . import loader
from .validation import Inputs, methods_of

ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)


def callables(program: loader.Program, inputs: Callable[[Callable[..., Any], str], Inputs]) -> list[dict[str, Any]]:
    """Return one ``CallableDescription`` for each function and each public method."""
    found = []
    for name, value in program.callables.items():
        if isinstance(value, type):
            for method in methods_of(value):
                function = getattr(value, method)
                # A method's first parameter is bound when it is called.
                bound = types.MethodType(function, object())
                doc = inspect.cleandoc(function.__doc__ or value.__doc__ or "")
                found.append(_describe(f"{name}.{method}", function, inputs(bound, f"{name}.{method}"), doc))
        else:
            found.append(_describe(name, value, inputs(value, name), inspect.cleandoc(value.__doc__ or "")))
    return found


def _describe(name: str, function: Callable[..., Any], inputs: Inputs, doc: str) -> dict[str, Any]:
    is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return {
        "name": name,
        "input_schema": inputs.schema(),
        "output_schema": output_schema(inputs.signature.return_annotation, is_generator),
        "doc": doc or None,
        "is_generator": is_generator,
    }


def output_schema(annotation: Any, is_generator: bool) -> dict[str, Any] | None:
    """Return the JSON Schema of a result, where it is annotated with something JSON has."""
    if annotation is inspect.Signature.empty:
        return None
    items = None
    if is_generator:
        if typing.get_origin(annotation) not in ITERATORS:
            return {"type": "array"}
        items = (typing.get_args(annotation) or (Any,))[0]
    from pydantic import TypeAdapter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adapter = TypeAdapter(annotation if items is None else items)
            schema = adapter.json_schema(mode="serialization")
        except Exception:
            # An annotation that is no type says nothing about the result.
            return None
    return schema if items is None else {"type": "array", "items": schema}
