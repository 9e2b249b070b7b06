"""Imports one project file and prints what it declares, for files that cannot be read statically.

Run as a short-lived process of its own: ``python -m runpod_flash._inspect <root> <file> <module>``.
The answer is one line of JSON on standard output; what the file prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from typing import Any


def encode(value: Any) -> dict[str, Any]:
    """A value in the form that the reader of projects takes."""
    if isinstance(value, enum.Enum) and type(value).__module__.partition(".")[0] == "runpod_flash":
        return {"t": "member", "class": type(value).__name__, "v": value.name}
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if value is None:
        return {"t": "none"}
    if isinstance(value, bool):
        return {"t": "bool", "v": value}
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return {"t": "int", "v": int(value)}
    if isinstance(value, float) and value - value == 0:
        return {"t": "float", "v": float(value)}
    if isinstance(value, str):
        return {"t": "str", "v": str(value)}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {"t": kind, "v": [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"t": "dict", "v": [[encode(key), encode(item)] for key, item in value.items()]}
    names = {base.__name__ for base in type(value).__mro__}
    for model in ("NetworkVolume", "PodTemplate", "KeyValuePair"):
        if model in names and hasattr(value, "model_dump"):
            fields = value.model_dump(mode="json", exclude_unset=True)
            return {"t": "object", "class": model, "v": [[name, encode(item)] for name, item in fields.items()]}
    return {"t": "other", "v": type(value).__name__}


def describe(function: Any) -> dict[str, Any]:
    """A function, for the case that its ``def`` is not in the file (made by ``exec``, say)."""
    original = inspect.unwrap(function)
    parameters = []
    takes_kwargs = False
    with contextlib.suppress(TypeError, ValueError):
        for parameter in inspect.signature(original).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                takes_kwargs = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                annotation = parameter.annotation
                parameters.append(
                    {
                        "name": parameter.name,
                        "annotation": None
                        if annotation is parameter.empty
                        else annotation
                        if isinstance(annotation, str)
                        else inspect.formatannotation(annotation),
                        "default": None if parameter.default is parameter.empty else repr(parameter.default),
                    }
                )
    return {
        "is_async": inspect.iscoroutinefunction(original) or inspect.isasyncgenfunction(original),
        "is_generator": inspect.isgeneratorfunction(original) or inspect.isasyncgenfunction(original),
        "parameters": parameters,
        "takes_kwargs": takes_kwargs,
        "doc": inspect.getdoc(original),
    }


def line_of(item: Any) -> int:
    """The first line of a function or class in its file, decorators included; 0 where there is none."""
    original = inspect.unwrap(item) if not inspect.isclass(item) else item
    code = getattr(original, "__code__", None)
    if code is not None:
        return int(code.co_firstlineno)
    line = getattr(original, "__firstlineno__", None)
    if line is not None:
        return int(line)
    try:
        return inspect.getsourcelines(original)[1]
    except (OSError, TypeError):
        return 0


def collect(module: Any) -> list[dict[str, Any]]:
    """All endpoints that a module's attributes lead to."""
    import runpod_flash

    endpoint_class: Any = runpod_flash.Endpoint
    found: dict[int, dict[str, Any]] = {}

    def entry(endpoint: Any) -> dict[str, Any]:
        endpoint = getattr(endpoint, "_group", endpoint)
        known = found.get(id(endpoint))
        if known is None:
            arguments = [[name, encode(value)] for name, value in endpoint._arguments.items()]
            known = {"arguments": arguments, "variable": None, "items": [], "keep": endpoint}
            found[id(endpoint)] = known
        return known

    for name in dir(module):
        value = getattr(module, name, None)
        if isinstance(value, endpoint_class):
            entry(value)["variable"] = name
    seen: set[int] = set()
    for name in dir(module):
        value = getattr(module, name, None)
        config = getattr(value, "__remote_config__", None)
        endpoint = getattr(value, "__flash_endpoint__", None)
        if not isinstance(config, dict) or endpoint is None or id(value) in seen:
            continue
        original = getattr(value, "_wrapped_class", value)
        if getattr(original, "__module__", module.__name__) != module.__name__:
            continue
        seen.add(id(value))
        is_class = inspect.isclass(original)
        defined = getattr(original, "__name__", name)
        item: dict[str, Any] = {
            # A worker finds it by the module's name for it.
            "name": defined if getattr(module, defined, None) is value else name,
            "defined": defined,
            "line": line_of(original),
            "is_class": is_class,
            "method": config.get("method"),
            "path": config.get("path"),
        }
        item.update(describe(original) if not is_class else {})
        entry(endpoint)["items"].append(item)
    for known in found.values():
        del known["keep"]
    return list(found.values())


def load(path: str, name: str) -> Any:
    """Run a file as the module that it is in the project."""
    from runpod_flash import _context

    parent = name.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # A decorated call while the file loads ends the loading; what was bound until then counts.
    with contextlib.suppress(_context.LoadStopped):
        spec.loader.exec_module(module)
    return module


def failure(error: BaseException, path: str) -> dict[str, Any]:
    """What went wrong, and the last line of the user's file that was running."""
    line = 0
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.realpath(frame.filename) == path:
            line = frame.lineno or 0
    if isinstance(error, SyntaxError) and error.filename and os.path.realpath(error.filename) == path:
        line = error.lineno or 0
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    return {"error": text, "line": line}


def main() -> None:
    """Import, describe, answer."""
    root, path, name = sys.argv[1:4]
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[0] = root
    sys.argv = [path]
    from runpod_flash import _context

    _context.loading = True
    result: dict[str, Any]
    try:
        result = {"endpoints": collect(load(os.path.join(root, path), name))}
    except BaseException as error:  # `sys.exit` at import is an answer, too
        result = failure(error, os.path.realpath(os.path.join(root, path)))
    answer.write(json.dumps(result) + "\n")
    answer.close()
    # Threads and exit handlers of the user's code have no say any more.
    os._exit(0)


if __name__ == "__main__":
    main()
