"""Values as JSON text, for jobs: what JSON has no form for is refused before anything is sent."""

from __future__ import annotations

import json
from typing import Any

_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=False)
_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def encode(value: Any, label: str) -> bytes:
    """Return a value as JSON text.

    Args:
        value: What is to be sent.
        label: What the caller knows it as, for the error.

    Raises:
        ArgumentEncodingError: JSON has no form for it, or for something in it; names place and type.

    """
    try:
        text = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise _refusal(value, label, error) from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # Half of a surrogate pair: JSON can say it in escapes alone.
        return _ascii.encode(value).encode()


def _refusal(value: Any, label: str, error: Exception) -> Exception:
    from .errors import ArgumentEncodingError

    found = _first_refused(value, label, set())
    if found is None:
        return ArgumentEncodingError(f"{label} cannot be sent as JSON: {error}")
    place, reason = found
    hint = (
        "jobs and calls of deployed endpoints carry JSON; send lists (`array.tolist()`), numbers, texts, "
        "or base64 text for bytes"
    )
    return ArgumentEncodingError(f"{place} cannot be sent as JSON: it is {reason}", hint=hint)


def _first_refused(value: Any, place: str, parents: set[int]) -> tuple[str, str] | None:
    if value is None or isinstance(value, (bool, int, str)):
        return None
    if isinstance(value, float):
        return (place, f"{value}, which JSON has no number for") if value - value != 0 else None
    if not isinstance(value, (dict, list, tuple)):
        kind = type(value)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return place, f"of type `{name}`"
    if id(value) in parents:
        return place, "contained in itself"
    if len(parents) > 900:
        return place, "nested too deeply"
    below = parents | {id(value)}
    if isinstance(value, dict):
        for key, item in value.items():
            if not (key is None or isinstance(key, (str, int, float, bool))):
                return place, f"a dict with a key of type `{type(key).__qualname__}`"
            if (found := _first_refused(item, f"{place}[{key!r}]", below)) is not None:
                return found
        return None
    for index, item in enumerate(value):
        if (found := _first_refused(item, f"{place}[{index}]", below)) is not None:
            return found
    return None
