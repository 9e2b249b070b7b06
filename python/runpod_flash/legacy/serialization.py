"""Values as base64 of a cloudpickle, as live calls carry them."""

import base64
import pickle
from typing import Any

from .. import _official

DESERIALIZE_TIMEOUT_SECONDS = 30
MAX_PAYLOAD_SIZE = 10 * 1024 * 1024


def serialize_arg(arg: Any) -> str:
    """Return a value as text."""
    import cloudpickle

    from ..errors import SerializationError

    try:
        data = cloudpickle.dumps(arg)
    except Exception as error:
        raise SerializationError(f"cannot serialize a {type(arg).__name__}: {error}") from error
    text = base64.b64encode(data).decode("ascii")
    _check_size(text)
    return text


def serialize_args(args: tuple[Any, ...]) -> list[str]:
    """Return values as texts."""
    return [serialize_arg(arg) for arg in args]


def serialize_kwargs(kwargs: dict[str, Any]) -> dict[str, str]:
    """Return named values as texts."""
    return {name: serialize_arg(value) for name, value in kwargs.items()}


def deserialize_arg(arg_b64: str) -> Any:
    """Return the value of a text. It runs what the text says: only for texts of one's own workers."""
    from ..errors import SerializationError

    _check_size(arg_b64)
    try:
        return pickle.loads(base64.b64decode(arg_b64))
    except Exception as error:
        raise SerializationError(f"cannot deserialize: {error}") from error


def deserialize_args(args_b64: list[str]) -> list[Any]:
    """Return the values of texts."""
    return [deserialize_arg(text) for text in args_b64]


def deserialize_kwargs(kwargs_b64: dict[str, str]) -> dict[str, Any]:
    """Return the values of named texts."""
    return {name: deserialize_arg(text) for name, text in kwargs_b64.items()}


def _check_size(text: str) -> None:
    if len(text) > MAX_PAYLOAD_SIZE:
        from ..errors import PayloadTooLargeError

        size, most = len(text) / 1024**2, MAX_PAYLOAD_SIZE // 1024**2
        raise PayloadTooLargeError(f"payload is {size:.1f} MB of base64, over the {most} MB that a job takes")


_official.adopt("legacy.serialization")
