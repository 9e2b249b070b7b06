"""Turns results into bytes, and pickled arguments into objects."""

from __future__ import annotations

import json
import math
import pickle
import sys
import types
from collections.abc import Mapping
from typing import Any

from .report import RefusedError, failure, message_of

#: Buffers smaller than this are cheaper inside the pickle.
OUT_OF_BAND = 4096
#: The frame counts its buffers in 16 bits.
BUFFER_LIMIT = 60_000
#: How deep the search for an unencodable value goes.
DEPTH = 60


def load_pickle(buffers: list[bytearray]) -> Any:
    """Return what buffer 0 pickles; the next ones are its out-of-band buffers."""
    return pickle.loads(buffers[0], buffers=buffers[1:])


def to_pickle(result: Any) -> list[Any]:
    """Return a pickle and its out-of-band buffers, which stay where the result has them."""
    try:
        return _dump(pickle, result)
    except Exception:
        # Lambdas, local classes and the like: cloudpickle takes them by value.
        pass
    try:
        import cloudpickle

        return _dump(cloudpickle, result)
    except Exception as error:
        raise RefusedError(
            failure(
                "unencodable",
                "PicklingError",
                f"the result ({type(result).__name__}) cannot be pickled: {message_of(error)}",
                hint="return plain data, arrays, or objects without open files, locks or connections",
            )
        ) from None


def _dump(module: Any, result: Any) -> list[Any]:
    buffers: list[memoryview] = []

    def keep_out(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND or len(buffers) >= BUFFER_LIMIT:
            return True
        buffers.append(view)
        return False

    if "torch" in sys.modules:
        from .._tensors import dumps

        return [dumps(result, module, protocol=5, buffer_callback=keep_out), *buffers]
    pickled = module.dumps(result, protocol=5, buffer_callback=keep_out)
    return [pickled, *buffers]


def to_json(result: Any) -> bytes:
    """Return a result as JSON text: plain values directly, others by FastAPI's encoder."""
    try:
        return _dump_json(result)
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise RefusedError(_unencodable(result, error)) from None


def refuse_not_finite(result: Any) -> None:
    """Raise `RefusedError` for NaN and infinities, which FastAPI would turn into null, or fail on."""
    try:
        json.dumps(result, allow_nan=False, skipkeys=True, default=_inside)
    except ValueError as error:
        if "JSON compliant" in str(error):
            raise RefusedError(_unencodable(result, error)) from None
    except Exception:
        # What FastAPI makes of it is FastAPI's business.
        return


def _inside(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump() if dump is not None and not isinstance(value, type) else None


def _dump_json(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except TypeError:
        # Keys that JSON has no form for; the encoder converts them, too.
        text = json.dumps(_encode(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json", by_alias=True)
    return _encode(value)


def _encode(value: Any) -> Any:
    from fastapi.encoders import jsonable_encoder

    return jsonable_encoder(value, custom_encoder=dict.fromkeys(_NO_DATA, _refuse))


#: FastAPI's encoder makes an empty object of these.
_NO_DATA = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type)


def _refuse(value: Any) -> Any:
    raise TypeError(f"a {type(value).__name__} is no data")


def _unencodable(result: Any, error: Exception) -> dict[str, Any]:
    path, value = _find(result, "output", DEPTH)
    if isinstance(error, RecursionError) or "Circular reference" in str(error):
        what = "is nested too deeply or contains itself"
    elif isinstance(value, float) and not math.isfinite(value):
        what = f"is {value}, which JSON has no form for"
    elif isinstance(value, str):
        what = "is text that UTF-8 cannot carry"
    else:
        kind = type(value)
        what = (
            f"is a `{kind.__qualname__}`"
            if kind.__module__ == "builtins"
            else f"is a `{kind.__module__}.{kind.__qualname__}`"
        )
    hint = "convert it before returning it"
    if hasattr(value, "tolist"):
        hint = "return `.tolist()` of it"
    elif isinstance(value, float):
        hint = "return None, or text, in its place"
    return failure("unencodable", "ValueError", f"the result cannot be sent as JSON: `{path}` {what}", hint=hint)


def _find(value: Any, path: str, depth: int) -> tuple[str, Any]:
    """Return the path and value of the first part that cannot be encoded by itself."""
    if depth == 0:
        return path, value
    for step, part in _parts(value):
        try:
            _dump_json(part)
        except (TypeError, ValueError, RecursionError, AttributeError):
            return _find(part, path + step, depth - 1)
    return path, value


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [
            (f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]", part)
            for key, part in value.items()
        ]
    if isinstance(value, (list, tuple)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    fields = getattr(type(value), "model_fields", None) or getattr(type(value), "__dataclass_fields__", None)
    if fields:
        return [(f".{name}", getattr(value, name, None)) for name in fields]
    return []
